package fleet

import (
	"context"
	"crypto/x509"
	"errors"
	"net"
	"sync"

	"github.com/signetd/signet/agent"
	"github.com/signetd/signet/firmware-sim/fault"
	"github.com/signetd/signet/firmware-sim/firmware"
	"github.com/signetd/signet/protocol"
)

// A tally counts outcomes while a fleet is at work.
type tally struct {
	mu      sync.Mutex // protects the fields below: each outcome is counted whole
	report  Report
	latency map[string]*histogram
}

func newTally() *tally {
	return &tally{
		latency: map[string]*histogram{},
		report: Report{
			Version: reportVersion, Failures: map[string]int{}, InjectedFailures: map[fault.Kind]int{}, Faults: map[fault.Kind]int{}, Latency: map[string]Latency{},
		},
	}
}

// count adds one attempt and tells whether its failure, if it failed, was injected.
func (t *tally) count(op firmware.Op, o firmware.Outcome) (injected bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	r := &t.report
	r.Attempts++
	r.Lost += one(o.Lost)
	r.Stale += one(o.Stale)
	r.Breaches += one(o.Breach)
	if o.Fault != "" {
		r.Faults[o.Fault]++
	}
	if o.Dial > 0 {
		t.measure("connect", o)
	}
	if o.Err != nil {
		if o.Fault.Excuses() {
			r.InjectedFailures[o.Fault]++
			return true
		}
		r.Failures[reason(o.Err)]++
		return false
	}
	r.WithoutTime += one(!o.Timely)
	switch op {
	case firmware.Enroll:
		r.Enrolled++
	case firmware.Authenticate:
		r.Authentications++
	case firmware.Refresh:
		r.Refreshes++
	}
	t.measure(string(op), o)
	return false
}

// measure keeps what was disturbed apart, so that faults do not pass for slowness.
func (t *tally) measure(what string, o firmware.Outcome) {
	d := o.Call
	switch {
	case what == "connect":
		d = o.Dial
	case o.Fault != "" && o.Fault != fault.Clock1970 && o.Fault != fault.Clock2099:
		what += " with faults"
	}
	h := t.latency[what]
	if h == nil {
		h = new(histogram)
		t.latency[what] = h
	}
	h.add(d)
}

func (t *tally) granted() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.report.Enrolled + t.report.Authentications + t.report.Refreshes
}

func one(yes bool) int {
	if yes {
		return 1
	}
	return 0
}

// distrusted tells the failures by which a certificate is not believed.
func distrusted(err error) bool {
	var unknown x509.UnknownAuthorityError
	var host x509.HostnameError
	var invalid x509.CertificateInvalidError
	return errors.As(err, &unknown) || errors.As(err, &host) || errors.As(err, &invalid)
}

// reason puts an error into one of a few words, to be counted by.
func reason(err error) string {
	var refusal *protocol.Refusal
	var network net.Error
	switch {
	case errors.Is(err, agent.ErrGrant):
		return "grant not acceptable"
	case errors.As(err, &refusal):
		return "refused: " + refusal.Problem.Signet.Code.String()
	case errors.Is(err, agent.ErrCredential):
		return "login refused"
	case errors.Is(err, context.Canceled):
		return "run ended"
	case errors.Is(err, context.DeadlineExceeded):
		return "no reply in time"
	case errors.Is(err, agent.ErrUnexpected):
		return "unexpected reply"
	case errors.Is(err, agent.ErrNoAnchor):
		return "no anchor"
	case errors.Is(err, agent.ErrNoSolver):
		return "custom challenge"
	case distrusted(err):
		return FailedCertificate
	case errors.As(err, &network):
		return FailedNetwork
	}
	return FailedConnection
}
