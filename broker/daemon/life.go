package daemon

import (
	"context"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/signetd/signet/broker/adminapi"
)

// A Life is how long a certificate lasts.
type Life struct {
	Certificate string    // "root", "intermediate" or "server"
	Expires     time.Time // when it ends
	Due         time.Time // from when on a warning is due, when a third of its life is left; zero for one that renews itself
	Renew       string    // what to do then
}

// Warning says that it is time to renew the certificate, or past it; "" while it is not.
func (l Life) Warning(now time.Time) string {
	on := l.Expires.UTC().Format(time.DateOnly)
	switch {
	case l.Due.IsZero() || now.Before(l.Due):
		return ""
	case now.Before(l.Expires):
		return fmt.Sprintf("the %s certificate ends on %s, and no device can connect then: %s", l.Certificate, on, l.Renew)
	}
	return fmt.Sprintf("the %s certificate ended on %s: %s", l.Certificate, on, l.Renew)
}

// warnEvery is how often the log repeats what nobody has done yet.
const warnEvery = 24 * time.Hour

// watchLives warns at once and each day, until ctx ends, of certificates that are to be
// renewed by hand, and of the end of the last admin's token.
func (d *Daemon) watchLives(ctx context.Context) error {
	tick := time.NewTicker(warnEvery)
	defer tick.Stop()
	for {
		for _, l := range d.certs.Lives() {
			if w := l.Warning(time.Now()); w != "" {
				d.log.WarnContext(ctx, w, "certificate", l.Certificate, "expires", l.Expires)
			}
		}
		if last, w, err := d.Control.AdminsEnd(ctx); err == nil && w != "" { // an error is told to who asks for operators
			d.log.WarnContext(ctx, w, "operator", last.Name)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// certificates is what the operators' API tells of them.
func (d *Daemon) certificates() (all []adminapi.Certificate) {
	for _, l := range d.certs.Lives() {
		all = append(all, adminapi.Certificate{Name: l.Certificate, Expires: l.Expires.UTC(), Warning: l.Warning(time.Now())})
	}
	return all
}

// expiries makes the metric of their ends.
func (d *Daemon) expiries() []prometheus.Collector {
	var all []prometheus.Collector
	for i, l := range d.certs.Lives() {
		all = append(all, prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "signet_certificate_expiry_timestamp_seconds", Help: "When a certificate ends, in Unix time.",
			ConstLabels: prometheus.Labels{"certificate": l.Certificate},
		}, func() float64 { return float64(d.certs.Lives()[i].Expires.Unix()) }))
	}
	return all
}
