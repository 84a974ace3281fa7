package wrap

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/broker/access"
	"github.com/signetd/signet/broker/auth"
	"github.com/signetd/signet/broker/auth/level"
	"github.com/signetd/signet/broker/exchange"
	"github.com/signetd/signet/protocol"
	"github.com/signetd/signet/protocol/ident"
)

// always is a Handler that comes to the same, whatever it is asked.
type always struct {
	exchange.Outcome
	asked int
}

func (a *always) Handle(context.Context, exchange.Caller, protocol.Message) exchange.Outcome {
	a.asked++
	return a.Outcome
}

func device(t *testing.T, name string) ident.Device {
	t.Helper()
	d, err := ident.ParseDevice(name)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// refused is the outcome of a message from id that was refused.
func refused(id ident.Device, err error, code protocol.Code) exchange.Outcome {
	return exchange.Outcome{Claimed: id, Err: err, Code: code, Reply: protocol.Refuse(protocol.CallID{1}, protocol.ProblemDetail{Code: code})}
}

func granted(id ident.Device, a exchange.Admission) exchange.Outcome {
	a.Standing = access.Standing{Device: id}
	return exchange.Outcome{Claimed: id, Reply: &protocol.Grant{}, Admitted: &a}
}

// scrape gives the metrics as Prometheus reads them.
func scrape(t *testing.T, reg *prometheus.Registry) string {
	t.Helper()
	w := httptest.NewRecorder()
	promhttp.HandlerFor(reg, promhttp.HandlerOpts{}).ServeHTTP(w, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	return w.Body.String()
}

func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }

// TestLog: one line for each message that is worth one, at the level that fits.
func TestLog(t *testing.T) {
	id := device(t, "demo:lamp")
	for name, c := range map[string]struct {
		out  exchange.Outcome
		want []string // pieces of lines; none: no line
	}{
		"refused":       {refused(id, auth.ErrProof, protocol.CodeDenied), []string{"level=INFO msg=refused device=demo:lamp code=denied", "remote=192.0.2.1:7", "call=" + strings.Repeat("0", 32), "type=1"}},
		"full":          {refused(id, broker.ErrFull, protocol.CodeBusy), []string{"level=ERROR msg=refused", "code=busy"}},
		"broken":        {refused(id, errors.New("disk on fire"), protocol.CodeInternal), []string{"level=ERROR", "disk on fire"}},
		"enrolled":      {granted(id, exchange.Admission{Enrolled: true}), []string{"level=INFO msg=enrolled device=demo:lamp", "remote=192.0.2.1:7"}},
		"authenticated": {granted(id, exchange.Admission{}), []string{"level=DEBUG msg=authenticated device=demo:lamp"}},
		"refreshed":     {granted(id, exchange.Admission{Refreshed: true}), nil},
		"challenged":    {exchange.Outcome{Reply: &protocol.Challenge{}, Claimed: id}, nil},
		"reused": {func() exchange.Outcome {
			out := refused(id, auth.ErrProof, protocol.CodeDenied)
			out.Ended = ident.UUID{0xab}
			return out
		}(), []string{"level=INFO msg=\"refresh token used again", "session=ab000000-", "msg=refused"}},
		"cloned": {func() exchange.Outcome {
			out := granted(id, exchange.Admission{})
			out.Cloned = &exchange.Clone{Other: ident.UUID{0xcd}, OtherFrom: "192.0.2.9"}
			return out
		}(), []string{"level=WARN msg=\"a device was cloned: two copies of its key are in use\" device=demo:lamp remote=192.0.2.1:7 other=cd000000-", "other_remote=192.0.2.9 session=", "msg=authenticated"}},
		"quarantined": {func() exchange.Outcome {
			out := refused(id, broker.ErrInactive, protocol.CodeDisabled)
			out.Cloned = &exchange.Clone{Other: ident.UUID{0xcd}, Quarantined: true}
			return out
		}(), []string{"level=WARN msg=\"a device was cloned", "quarantined=true release=\"signet device enable lamp --pool demo\"", "msg=refused"}},
	} {
		var said bytes.Buffer
		h := Log(&always{Outcome: c.out}, slog.New(slog.NewTextHandler(&said, &slog.HandlerOptions{Level: slog.LevelDebug})))
		h.Handle(t.Context(), exchange.Caller{Remote: netip.MustParseAddrPort("192.0.2.1:7")}, &protocol.Start{Head: protocol.Head{Kind: protocol.TypeStart}})
		for _, piece := range c.want {
			if !strings.Contains(said.String(), piece) {
				t.Errorf("%s: no %q in %q", name, piece, said.String())
			}
		}
		if len(c.want) == 0 && said.Len() > 0 {
			t.Errorf("%s: %q", name, said.String())
		}
	}
}

// TestManyStrangersAreOneLine: whatever names strangers claim, and from however many sources,
// of each kind of refusal there is one line, and then a sum. So it is with guesses at what a
// device must tell, and with the broker's own trouble, which is another line at its own level.
func TestManyStrangersAreOneLine(t *testing.T) {
	for _, c := range []struct {
		err  error
		code protocol.Code
	}{{auth.ErrProof, protocol.CodeDenied}, {auth.ErrProof, protocol.CodeReplayed}, {broker.ErrFull, protocol.CodeBusy}, {errors.New("disk on fire"), protocol.CodeInternal}} {
		var said bytes.Buffer
		core := &always{}
		h := Log(core, slog.New(slog.NewTextHandler(&said, nil)))
		for i := range 200 {
			core.Outcome = refused(device(t, fmt.Sprintf("demo:lamp-%d", i)), fmt.Errorf("%w: %d", c.err, i), c.code)
			m := &protocol.Start{Head: protocol.Head{Kind: protocol.TypeStart, ID: protocol.CallID{byte(i)}}}
			h.Handle(t.Context(), exchange.Caller{Remote: netip.MustParseAddrPort(fmt.Sprintf("192.0.2.%d:%d", i, 1000+i))}, m)
		}
		if n := strings.Count(said.String(), "\n"); n != 1 {
			t.Errorf("%v: %d lines for 200 strangers: %.500s", c.code, n, said.String())
		}
	}
}

// TestCounted: each message is counted once, by what it asked and came to.
func TestCounted(t *testing.T) {
	reg := prometheus.NewRegistry()
	m, err := newMetrics(reg)
	if err != nil {
		t.Fatal(err)
	}
	id := device(t, "demo:lamp")
	for _, c := range []struct {
		m   protocol.Message
		out exchange.Outcome
	}{
		{&protocol.Start{}, exchange.Outcome{Reply: &protocol.Challenge{}}}, {&protocol.Answer{}, granted(id, exchange.Admission{})},
		{&protocol.Answer{}, granted(id, exchange.Admission{})}, {&protocol.Refresh{}, refused(id, auth.ErrProof, protocol.CodeReplayed)},
		{&protocol.Enroll{}, refused(id, auth.ErrProof, protocol.CodeDenied)}, {&protocol.Grant{}, refused(id, auth.ErrProof, protocol.CodeMalformed)},
	} {
		Counted(&always{Outcome: c.out}, m).Handle(t.Context(), exchange.Caller{}, c.m)
	}
	want := `signet_exchange_messages_total{outcome="already-used",step="refresh"} 1
signet_exchange_messages_total{outcome="challenge",step="start"} 1
signet_exchange_messages_total{outcome="denied",step="enroll"} 1
signet_exchange_messages_total{outcome="grant",step="answer"} 2
signet_exchange_messages_total{outcome="malformed-message",step="other"} 1
`
	if got := scrape(t, reg); !strings.Contains(got, want) {
		t.Errorf("%s, want %s", got, want)
	}
	if _, err := newMetrics(reg); err == nil {
		t.Error("registered twice")
	}
}

// TestLevelled: refused proofs alone wait; beyond the bound they get no answer, which
// tells nothing, and what succeeds is never held up.
func TestLevelled(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		id := device(t, "demo:lamp")
		took := func(out exchange.Outcome, l *level.Level) (time.Duration, exchange.Outcome) {
			began := time.Now()
			got := Levelled(&always{Outcome: out}, l).Handle(t.Context(), exchange.Caller{}, &protocol.Answer{})
			return time.Since(began), got
		}
		wrong := refused(id, fmt.Errorf("of lamp: %w", auth.ErrProof), protocol.CodeDenied)
		l := level.New(level.Clock{Nap: time.Sleep}, 1)
		if d, out := took(wrong, l); d != level.Time || out.Reply == nil {
			t.Errorf("a wrong proof was refused after %v: %v", d, out.Reply)
		}
		go took(wrong, l)
		synctest.Wait()
		for what, out := range map[string]exchange.Outcome{"a grant": granted(id, exchange.Admission{}), "another refusal": refused(id, broker.ErrFull, protocol.CodeBusy)} {
			if d, out := took(out, l); d != 0 || out.Reply == nil {
				t.Errorf("%s, while the level is full: after %v, %v", what, d, out.Reply)
			}
		}
		if d, out := took(wrong, l); d != 0 || out.Reply != nil || out.Err == nil {
			t.Errorf("a wrong proof, while the level is full: after %v, %v", d, out.Reply)
		}
	})
}

// TestUnread: what is no message is answered where it says whom, and counted.
func TestUnread(t *testing.T) {
	reg := prometheus.NewRegistry()
	core := &always{}
	r, err := Exchange(core, Config{Log: quiet(), Metrics: reg})
	if err != nil {
		t.Fatal(err)
	}
	start := &protocol.Start{Head: protocol.Head{ID: protocol.CallID{1}}, Request: protocol.Request{Pool: device(t, "demo:lamp").Pool}}
	raw, err := protocol.Encode(start)
	if err != nil {
		t.Fatal(err)
	}
	if out := r.Respond(t.Context(), exchange.Caller{}, []byte("junk")); out.Message != nil {
		t.Errorf("junk was answered with %x", out.Message)
	}
	raw = append(raw, 0)
	if m, err := protocol.Decode(r.Respond(t.Context(), exchange.Caller{}, raw).Message); err != nil {
		t.Logf("bytes after a message are not answered: %v", err)
	} else if m.Call() != start.ID {
		t.Errorf("answered %+v", m)
	}
	if core.asked > 0 {
		t.Error("what is no message was handled")
	}
	if got := scrape(t, reg); !strings.Contains(got, `step="unreadable"`) {
		t.Errorf("not counted: %s", got)
	}
}

// TestOlderIsTold: a device that has more than the store knows of is told of, with the
// command that mends it, and counted; who has no more is not.
func TestOlderIsTold(t *testing.T) {
	var said bytes.Buffer
	reg := prometheus.NewRegistry()
	m, err := newMetrics(reg)
	if err != nil {
		t.Fatal(err)
	}
	log := slog.New(slog.NewTextHandler(&said, nil))
	h := Older(&always{Outcome: granted(device(t, "demo:lamp"), exchange.Admission{})}, m.older, log)
	h.Handle(t.Context(), exchange.Caller{}, &protocol.Refresh{})
	if said.Len() > 0 {
		t.Errorf("told of nothing: %s", said.String())
	}
	h = Older(&always{Outcome: granted(device(t, "demo:lamp"), exchange.Admission{Newer: "a key statement of epoch 7"})}, m.older, log)
	h.Handle(t.Context(), exchange.Caller{}, &protocol.Refresh{})
	for _, want := range []string{"level=WARN", "signetd restore --in-place", "demo:lamp", "epoch 7"} {
		if !strings.Contains(said.String(), want) {
			t.Errorf("no %s in %s", want, said.String())
		}
	}
	if got := scrape(t, reg); !strings.Contains(got, "signet_store_older_total 1") {
		t.Errorf("metrics: %s", got)
	}
}
