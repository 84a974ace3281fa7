package command

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/signetd/signet/agent"
	"github.com/signetd/signet/agent/keyfile"
	"github.com/signetd/signet/agent/localapi"
	"github.com/signetd/signet/protocol"
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
	w := newWatch(v, newDesk(), p.log())
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
	restarted := newWatch(v, newDesk(), p.log())
	restarted.recallDemands()
	restarted.link = w.link
	if wait := restarted.freshen(t.Context()); len(restarted.special) != 2 || wait < 29*time.Minute {
		t.Errorf("after a restart %d forms are kept, due in %v", len(restarted.special), wait)
	}
	b.mqtt.Close()
	if text, _, err := restarted.token(t.Context(), localapi.Request{Op: "token", Format: "jwt", Audience: "telemetry"}); err != nil || text == "" {
		t.Errorf("after a restart and without the broker: %q, %v", text, err)
	}
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
	w := newWatch(nil, nil, slog.New(slog.DiscardHandler))
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

// What a device remembers of its programs' demands is bounded, and what is no demand is told.
func TestDemandsComeBack(t *testing.T) {
	dir, err := keyfile.Open(folder(t), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer dir.Close()
	var said bytes.Buffer
	w := newWatch(&device{dir: dir}, nil, slog.New(slog.NewTextHandler(&said, nil)))
	w.recallDemands() // there is none
	jwt := protocol.FormatJWT
	for i := range 2 * maxDemands {
		key := demand(localapi.Request{Format: "jwt", Audience: fmt.Sprint("a ", i)})
		w.kept(key)
		w.keep(key, agent.Ask{Format: &jwt, Audience: fmt.Sprint("a ", i)}, &agent.Tokens{})
		w.kept(key)
	}
	w.keep("MQTT password", mqttPassword(), &agent.Tokens{})
	w.saveDemands()
	again := newWatch(&device{dir: dir}, nil, w.log)
	again.recallDemands()
	if len(again.special) != maxDemands || said.Len() > 0 {
		t.Fatalf("%d demands came back: %s", len(again.special), said.String())
	}
	for i := range maxDemands {
		n := 2*maxDemands - 1 - i
		s := again.special[fmt.Sprint("jwt a ", n)]
		if s == nil || s.ask.Audience != fmt.Sprint("a ", n) || *s.ask.Format != protocol.FormatJWT || s.asked != uint64(maxDemands-i) {
			t.Errorf("demand %d came back as %+v", n, s)
		}
	}
	for _, damaged := range []string{"jwt\n", "xml \n", "\x00\n", " \n", strings.Repeat("jwt x\n", maxDemands+1)} {
		said.Reset()
		if err := dir.WriteFile(demandsName, []byte(damaged)); err != nil {
			t.Fatal(err)
		}
		w := newWatch(&device{dir: dir}, nil, w.log)
		if w.recallDemands(); len(w.special) != 0 || !strings.Contains(said.String(), demandsName) {
			t.Errorf("%.20q gives %d demands: %s", damaged, len(w.special), said.String())
		}
	}
}
