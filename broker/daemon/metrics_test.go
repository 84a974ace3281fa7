package daemon_test

import (
	"fmt"
	"net"
	"testing"
	"time"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/broker/config"
	"github.com/signetd/signet/broker/daemon"
	"github.com/signetd/signet/protocol/ident/identtest"
	"github.com/signetd/signet/protocol/token"
)

// TestMetricsAreDocumented: the table has every metric with its labels and nothing else, and
// all are named as Prometheus wants it.
func TestMetricsAreDocumented(t *testing.T) {
	s := newSite(t)
	s.certs.lives = []daemon.Life{{Certificate: "server", Expires: time.Now().Add(time.Hour)}}
	d, _ := s.serve(t)
	ready(t, d)
	daemon.CheckMetrics(t, d.Metrics())
	daemon.CheckLimits(t, d.Metrics())
}

// TestFiguresAreTrue: what is counted is what there is.
func TestFiguresAreTrue(t *testing.T) {
	s := newSite(t)
	s.cfg.Limits = config.Limits{Connections: 50, PerDevice: -1}
	d, _ := s.serve(t)
	for range 3 {
		s.stranger(t, "", d.Addrs.MQTT)
	}
	silent, err := net.Dial("tcp", d.Addrs.HTTPS.String())
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	for name, want := range map[string]string{
		"signet_mqtt_connections":                                          "3",
		`signet_connections{listener="mqtt"}`:                              "3",
		`signet_connections_strangers{listener="mqtt"}`:                    "3",
		`signet_connections{listener="https"}`:                             "1",
		`signet_connections_limit{bound="all",listener="mqtt"}`:            "50",
		`signet_connections_limit{bound="strangers",listener="mqtt"}`:      "25",
		`signet_connections_limit{bound="device",listener="mqtt"}`:         "nowhere",
		`signet_connections_limit{bound="all",listener="https"}`:           "10",
		`signet_mqtt_ended_total{reason="quota"}`:                          "0",
		`signet_mqtt_sessions`:                                             "3",
		`signet_mqtt_subscriptions`:                                        "0",
		`signet_mqtt_queued_messages`:                                      "0",
		`signet_mqtt_retained_bytes`:                                       "0",
		`signet_mqtt_messages_dropped_total{cause="full"}`:                 "0",
		`signet_connections_refused_total{cause="device",listener="mqtt"}`: "0",
		`signet_store_changes_waiting`:                                     "0",
		`signet_store_clock_doubt_seconds`:                                 "0",
		`signet_mqtt_packets_throttled_total`:                              "0",
		fmt.Sprintf(`signet_mqtt_requests_unread_total{cause=%q}`, "rate"): "0",
	} {
		if got := s.metric(t, d.Addrs.Health, name); got != want {
			t.Errorf("%s: got %s, want %s", name, got, want)
		}
	}
	if got := s.metric(t, d.Addrs.Health, "signet_store_commits_total"); got == "0" || got == "nowhere" {
		t.Errorf("%s commits", got)
	}
}

// TestSigningKeysByPhase: how many keys a pool has in each phase, how old they are, and when the
// next step of a rotation is due.
func TestSigningKeysByPhase(t *testing.T) {
	s := newSite(t)
	d, _ := s.serve(t)
	pool, by, ctx := identtest.Pool(t, "demo"), broker.By{Actor: broker.ActorLocal}, t.Context()
	must := func(_ any, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(d.Control.CreatePool(ctx, by, pool))
	has := func(next, active, verifying string, retirable bool) {
		t.Helper()
		for phase, want := range map[string]string{"next": next, "active": active, "verifying": verifying} {
			labels := fmt.Sprintf("{phase=%q,pool=%q}", phase, "demo")
			if got := s.metric(t, d.Addrs.Health, "signet_signing_keys"+labels); got != want {
				t.Errorf("%s: %s keys, want %s", phase, got, want)
			}
			if got := s.metric(t, d.Addrs.Health, "signet_signing_key_created_timestamp_seconds"+labels); (got == "nowhere") != (want == "0") {
				t.Errorf("%s: made at %s", phase, got)
			}
		}
		if got := s.metric(t, d.Addrs.Health, `signet_signing_key_retirable_timestamp_seconds{pool="demo"}`); (got != "nowhere") != retirable {
			t.Errorf("retirable from %s", got)
		}
	}
	has("0", "1", "0", false)
	first, err := d.Control.ListKeys(ctx, pool)
	must(nil, err)
	next, err := d.Control.RotateKey(ctx, by, pool, token.ES256, false)
	must(nil, err)
	has("1", "1", "0", false)
	must(d.Control.ActivateKey(ctx, by, pool, next.ID))
	has("0", "1", "1", true)
	must(d.Control.RetireKey(ctx, by, pool, first[0].ID, true))
	has("0", "1", "0", false)
}
