package mqttfront_test

import (
	"slices"
	"testing"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/broker/mqttd"
)

// TestConnectionsHaveOneSetOfWords: packages broker and mqttd, which stand apart, call orders and
// admissions the same; Connections passes them on as they are.
func TestConnectionsHaveOneSetOfWords(t *testing.T) {
	if got, want := []string{mqttd.OrderAge, mqttd.OrderDevice, mqttd.OrderSource, mqttd.OrderQueue, mqttd.OrderSilent}, broker.ConnectionOrders(); !slices.Equal(got, want) {
		t.Errorf("orders %q and %q", got, want)
	}
	ways := []string{broker.AdmittedLogin, broker.AdmittedToken, broker.AdmittedPassword, broker.AdmittedEnhanced}
	if got := []string{mqttd.AdmittedLogin, mqttd.AdmittedToken, mqttd.AdmittedPassword, mqttd.AdmittedEnhanced}; !slices.Equal(got, ways) {
		t.Errorf("admissions %q and %q", got, ways)
	}
}
