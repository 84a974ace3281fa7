package daemon_test

import (
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/broker/adminapi"
	"github.com/signetd/signet/broker/control"
)

// TestOperatorsSeeConnections: those of the real server, over the real API; a kick ends one, and the
// journal has it.
func TestOperatorsSeeConnections(t *testing.T) {
	s := newSite(t)
	d, _ := s.serve(t)
	ready(t, d)
	_, token, err := d.Control.CreateOperator(t.Context(), broker.By{Actor: broker.ActorLocal}, control.NewOperator{Name: "ada", Life: time.Hour, Scope: broker.OperatorWrite})
	if err != nil {
		t.Fatal(err)
	}
	c, err := adminapi.NewClient(fmt.Sprint("https://localhost:", d.Addrs.HTTPS.(*net.TCPAddr).Port), token, s.client().Transport)
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		s.stranger(t, "", d.Addrs.MQTT)
	}
	some, from, err := c.Connections(t.Context(), adminapi.ConnectionQuery{Strangers: true}, 0)
	if err != nil || len(some) != 2 || from == "" || some[0].TLS != "TLS 1.3" || some[0].Transport != "tcp" || some[0].Admitted != "" {
		t.Fatalf("%+v of %q, %v", some, from, err)
	}
	if ended, err := c.Kick(t.Context(), []string{some[0].ID}); err != nil || len(ended) != 1 {
		t.Errorf("ended %v, %v", ended, err)
	}
	for end := time.Now().Add(patience); len(some) != 1; time.Sleep(time.Millisecond) {
		if some, _, err = c.Connections(t.Context(), adminapi.ConnectionQuery{Strangers: true}, 0); err != nil || time.Now().After(end) {
			t.Fatalf("%+v, %v", some, err)
		}
	}
	if n := s.metric(t, d.Addrs.Health, `signet_mqtt_ended_total{reason="administrative"}`); n != "1" {
		t.Errorf("%s counted", n)
	}
	trail, err := c.LatestAudit(t.Context(), adminapi.AuditQuery{Kind: "connection"}, 0, 10)
	if err != nil || len(trail.Items) != 1 || trail.Items[0].Action != "kick" || trail.Items[0].Actor != "operator:ada" {
		t.Errorf("the journal has %+v, %v", trail, err)
	}
}
