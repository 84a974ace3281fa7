package daemon_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/signetd/signet/broker/adminapi"
	"github.com/signetd/signet/broker/daemon"
	"github.com/signetd/signet/broker/localapi"
)

// TestCertificatesEndAnnounced: from a third of its life on, the log, the operators' API
// and, always, the metric tell when a certificate ends, and what to do.
func TestCertificatesEndAnnounced(t *testing.T) {
	s := newSite(t)
	day := 24 * time.Hour
	now := time.Now()
	s.certs.lives = []daemon.Life{
		{Certificate: "root", Expires: now.Add(600 * day), Due: now.Add(day), Renew: "nothing yet"},
		{Certificate: "intermediate", Expires: now.Add(30 * day), Due: now.Add(-day), Renew: "signetd ca renew"},
		{Certificate: "server", Expires: now.Add(day)}, // renews itself
	}
	d, stop := s.serve(t)
	ready(t, d)
	st, err := localapi.Client(s.cfg.Data).Status(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]adminapi.Certificate{}
	for _, c := range st.Certificates {
		got[c.Name] = c
	}
	if w := got["intermediate"].Warning; !strings.Contains(w, "signetd ca renew") || !strings.Contains(w, now.Add(30*day).UTC().Format(time.DateOnly)) {
		t.Errorf("status warns of the intermediate: %q", w)
	}
	if len(got) != 3 || got["root"].Warning != "" || got["server"].Warning != "" {
		t.Errorf("status says %+v", got)
	}
	_, metrics := get(t, http.DefaultClient, "GET", "http://"+d.Addrs.Health.String()+"/metrics")
	for _, name := range []string{"root", "intermediate", "server"} {
		if !strings.Contains(metrics, `signet_certificate_expiry_timestamp_seconds{certificate="`+name+`"} `) {
			t.Errorf("no metric of %s", name)
		}
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
	if log := s.log.String(); strings.Count(log, "signetd ca renew") != 1 || strings.Contains(log, "nothing yet") {
		t.Errorf("it logs %s", log)
	}
}

// TestTheLastAdminsEndIsAnnounced: in the log and the metric, and to who asks on the machine.
func TestTheLastAdminsEndIsAnnounced(t *testing.T) {
	s := newSite(t)
	s.certs.lives = []daemon.Life{{Certificate: "server", Expires: time.Now().Add(time.Hour)}}
	d, stop := s.serve(t)
	ready(t, d)
	if got := s.metric(t, d.Addrs.Health, "signet_admin_expiry_timestamp_seconds"); got != "0" {
		t.Errorf("without any: %s", got)
	}
	c := localapi.Client(s.cfg.Data)
	made, err := c.CreateOperator(t.Context(), adminapi.NewOperator{Name: "ada", Scope: "admin"})
	if err != nil || !strings.Contains(made.Warning, "token of ada, the last admin") {
		t.Errorf("the only one: %q, %v", made.Warning, err)
	}
	if made, err = c.CreateOperator(t.Context(), adminapi.NewOperator{Name: "bob", Scope: "write"}); err != nil || made.Warning != "" {
		t.Errorf("a writer: %q, %v", made.Warning, err)
	}
	if got := s.metric(t, d.Addrs.Health, "signet_admin_expiry_timestamp_seconds"); got == "0" || got == "nowhere" {
		t.Errorf("with one: %s", got)
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
	if log := s.log.String(); strings.Count(log, "there is no admin of all pools") != 1 {
		t.Errorf("it logs %s", log)
	}
}

func TestWarning(t *testing.T) {
	end := time.Date(2036, 1, 1, 0, 0, 0, 0, time.UTC)
	l := daemon.Life{Certificate: "intermediate", Expires: end, Due: end.Add(-time.Hour), Renew: "renew it"}
	for at, want := range map[time.Time]string{
		l.Due.Add(-1): "", l.Due: "ends on 2036-01-01", end.Add(-1): "ends on 2036-01-01", end: "ended on 2036-01-01",
	} {
		got := l.Warning(at)
		if want == "" && got != "" || !strings.Contains(got, want) || want != "" && !strings.HasSuffix(got, "renew it") {
			t.Errorf("at %v: %q, want %q", at, got, want)
		}
	}
}
