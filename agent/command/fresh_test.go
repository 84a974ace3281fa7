package command

import (
	"context"
	"path/filepath"
	"testing"
	"time"

	"github.com/signetd/signet/agent"
	"github.com/signetd/signet/agent/localapi"
)

// What programs have asked for once is fresh when the broker goes away, and the pool by
// its name is the default audience, not another one.
func TestFormsStayFresh(t *testing.T) {
	b, m, dir := newBroker(t), &machine{t: t}, folder(t)
	m.must(enrollArgs(b, dir, "--ca", b.ca(t))...)
	p := &program{getenv: func(string) string { return "" }, err: &m.said, now: func() time.Time { return time.Now().Add(time.Duration(m.shift.Load())) }}
	v, err := p.openDevice(t.Context(), dir, filepath.Join(dir, socketName))
	if err != nil {
		t.Fatal(err)
	}
	defer v.dir.Close()
	w := newWatch(v, newDesk())
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ran := make(chan error, 1)
	go func() { ran <- v.agent.Run(ctx, w.connect) }()
	ask := func(format, audience string) string {
		t.Helper()
		text, _, err := w.token(t.Context(), localapi.Request{Op: "token", Format: format, Audience: audience})
		if err != nil {
			t.Fatal(err)
		}
		return text
	}
	jwt, other := ask("jwt", ""), ask("jwt", "telemetry")
	if by := ask("jwt", "demo"); by != jwt {
		t.Error("the default audience by its name gives another token")
	}
	if cwt := ask("cwt", "demo"); cwt != ask("cwt", "") {
		t.Error("so it does in the other form")
	}
	if n := len(w.special); n != 2 {
		t.Errorf("%d forms are kept, want 2", n)
	}
	if wait := w.freshen(t.Context()); wait < 29*time.Minute || wait > 30*time.Minute {
		t.Errorf("due in %v, want half of an hour", wait)
	}
	m.shift.Store(int64(31 * time.Minute))
	w.freshen(t.Context())
	b.stop()
	again, third := ask("jwt", ""), ask("jwt", "telemetry")
	if again == jwt || third == other {
		t.Error("not renewed at half of their lives")
	}
	m.shift.Store(int64(80 * time.Minute)) // past the end of the first
	if ask("jwt", "") != again || ask("jwt", "telemetry") != third {
		t.Error("without the broker there is another token")
	}
	if wait := w.freshen(t.Context()); wait > freshRetry {
		t.Errorf("tries again in %v", wait)
	}
	cancel()
	if err := <-ran; err != nil {
		t.Error(err)
	}
}

// Of too many forms the one goes that nobody asked for the longest.
func TestFormsAreBounded(t *testing.T) {
	w := newWatch(nil, nil)
	for i := range 3 * maxSpecial {
		w.kept("often")
		if i == 0 {
			w.keep("often", agent.Ask{}, &agent.Tokens{})
		}
		key := string(rune('A' + i))
		w.kept(key)
		w.keep(key, agent.Ask{}, &agent.Tokens{})
	}
	if len(w.special) != maxSpecial || w.special["often"] == nil {
		t.Errorf("%d forms, and often: %v", len(w.special), w.special["often"])
	}
}
