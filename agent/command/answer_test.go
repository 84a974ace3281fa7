package command

import (
	"context"
	"encoding/json"
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/signetd/signet/agent/localapi"
)

// newCounter serves a desk over a socket, as a running agent does.
func newCounter(t *testing.T) (d *desk, socket string) {
	t.Helper()
	d, socket = newDesk(), filepath.Join(filepath.Dir(folder(t)), "s")
	ln, err := localapi.Listen(t.Context(), socket, false)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- localapi.Serve(ctx, ln, nil, (&watch{desk: d}).answer) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return d, socket
}

type solved struct {
	answer string
	err    error
}

// solving has the agent ask for an answer.
func solving(ctx context.Context, d *desk, kind string, params map[string]string) <-chan solved {
	out := make(chan solved, 1)
	go func() {
		b, err := d.solve(ctx, kind, params)
		out <- solved{string(b), err}
	}()
	return out
}

// TestAnswerOverTheSocket: somebody sees what is asked, and answers.
func TestAnswerOverTheSocket(t *testing.T) {
	d, socket := newCounter(t)
	m := &machine{t: t}
	m.fails(4, "no challenge waits", "signet-agent status", "answer", "--socket", socket)
	got := solving(t.Context(), d, "totp", map[string]string{"hint": "the app"})
	var w waiting
	for d.pending() == nil {
		time.Sleep(time.Millisecond)
	}
	if err := json.Unmarshal([]byte(m.must("answer", "--socket", socket)), &w); err != nil || w.Kind != "totp" || w.ID == "" || w.Params["hint"] != "the app" {
		t.Errorf("shown %+v: %v", w, err)
	}
	m.must("answer", "123 456", "--socket", socket)
	if s := <-got; s.answer != "123 456" || s.err != nil {
		t.Errorf("the agent got %+v", s)
	}
	if d.pending() != nil {
		t.Error("a challenge waits that was answered")
	}
}

// TestAnswersGoToTheirChallenge: none to another one, none twice.
func TestAnswersGoToTheirChallenge(t *testing.T) {
	d, socket := newCounter(t)
	ctx, cancel := context.WithCancel(t.Context())
	first := solving(ctx, d, "door", nil)
	for d.pending() == nil {
		time.Sleep(time.Millisecond)
	}
	old := d.pending().ID
	cancel()
	if s := <-first; !errors.Is(s.err, context.Canceled) {
		t.Errorf("ended with %v", s.err)
	}
	second := solving(t.Context(), d, "door", nil)
	for d.pending() == nil {
		time.Sleep(time.Millisecond)
	}
	ask := func(id, text string) error {
		_, err := localapi.Call(t.Context(), socket, localapi.Request{Op: "answer", Challenge: id, Answer: text})
		return err
	}
	if err := ask(old, "late"); err == nil || !strings.Contains(err.Error(), "is over") {
		t.Errorf("an answer to the challenge before: %v", err)
	}
	id := d.pending().ID
	if err := ask(id, "right"); err != nil {
		t.Fatal(err)
	}
	if err := ask(id, "again"); err == nil {
		t.Error("a second answer was taken")
	}
	if s := <-second; s.answer != "right" {
		t.Errorf("the agent got %+v", s)
	}
}

// TestEarlyAnswersWait: who is quicker than the agent is waited with.
func TestEarlyAnswersWait(t *testing.T) {
	d, socket := newCounter(t)
	given := make(chan error, 1)
	go func() {
		_, err := localapi.Call(t.Context(), socket, localapi.Request{Op: "answer", Answer: "123456"})
		given <- err
	}()
	time.Sleep(20 * time.Millisecond)
	if s := <-solving(t.Context(), d, "totp", nil); s.answer != "123456" {
		t.Errorf("the agent got %+v", s)
	}
	if err := <-given; err != nil {
		t.Error(err)
	}
}

// TestAnswerUsage: what makes no sense is said at once.
func TestAnswerUsage(t *testing.T) {
	_, socket := newCounter(t)
	m := &machine{t: t}
	m.fails(2, "one answer", "", "answer", "1", "2", "--socket", socket)
	m.fails(2, "at most 2048", "", "answer", strings.Repeat("1", localapi.MaxAnswer+1), "--socket", socket)
}

// TestAnswerFromStandardInput: it is one line, whatever system ended it; several are no answer,
// of which one would cost a try.
func TestAnswerFromStandardInput(t *testing.T) {
	d, socket := newCounter(t)
	for given, want := range map[string]string{"123456\n": "123456", "123456\r\n": "123456", "12 34": "12 34", "": "", "\n": "", "1\n2\n": "", "\n1\n": ""} {
		m := &machine{t: t, in: given}
		if want == "" {
			m.fails(2, "", "", "answer", "-", "--socket", socket)
			continue
		}
		got := solving(t.Context(), d, "totp", nil)
		m.must("answer", "-", "--socket", socket)
		if s := <-got; s.answer != want || s.err != nil {
			t.Errorf("of %q the agent got %+v", given, s)
		}
	}
}
