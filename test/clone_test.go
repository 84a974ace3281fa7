package test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/signetd/signet/agent"
	"github.com/signetd/signet/agent/keyfile"
	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/broker/control"
	"github.com/signetd/signet/broker/control/controltest"
	"github.com/signetd/signet/broker/exchange"
	"github.com/signetd/signet/protocol"
	"github.com/signetd/signet/protocol/ident"
	"github.com/signetd/signet/test/harness"
)

// lines are what a broker logs. They are safe for concurrent use.
type lines struct {
	mu   sync.Mutex // guards said
	said bytes.Buffer
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.said.Write(b)
}

// with gives the lines in which text is.
func (l *lines) with(text string) (found []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for line := range strings.Lines(l.said.String()) {
		if strings.Contains(line, text) {
			found = append(found, line)
		}
	}
	return found
}

const cloned = "a device was cloned"

// A home is where devices keep their folders, with the broker that they talk to.
type home struct {
	*harness.Signet
	t   *testing.T
	log *lines
	id  ident.Device
}

// newHome makes a broker whose refresh tokens have no grace, so that copies part at once.
func newHome(t *testing.T, policy broker.Clones) *home {
	t.Helper()
	h := &home{t: t, log: &lines{}}
	h.Signet = harness.NewLogging(t, slog.NewTextHandler(h.log, nil))
	h.id = h.Name(t, "lamp-1")
	client := broker.NewClient(h.Pool, broker.DefaultClient)
	client.Grace = 0
	if _, err := controltest.PutClient(t.Context(), h.Control, broker.By{Actor: broker.ActorLocal}, client, false); err != nil {
		t.Fatal(err)
	}
	if _, err := h.Control.ChangePool(t.Context(), broker.By{Actor: broker.ActorLocal}, h.Pool, control.PoolChange{Clones: &policy}, nil); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) { // the broker's parts hear of it
		p, err := h.Store.Pool(t.Context(), h.Pool)
		c, err2 := h.Store.Client(t.Context(), h.Pool, broker.DefaultClient)
		if err == nil && err2 == nil && p.Clones == policy && c.Grace == 0 {
			return h
		}
		if time.Now().After(end) {
			t.Fatalf("the settings are not heard of: clones %s, %v, grace %s, %v", p.Clones, err, c.Grace, err2)
		}
	}
}

// boot starts the agent of a folder.
func (h *home) boot(path string, hook keyfile.Hook) (*agent.Agent, *keyfile.Dir) {
	h.t.Helper()
	dir, err := keyfile.Open(path, hook)
	if err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { _ = dir.Close() })
	key, err := dir.Key(h.t.Context(), keyfile.Ed25519)
	if err != nil {
		h.t.Fatal(err)
	}
	a, err := agent.New(h.t.Context(), agent.Config{Device: h.id, Prover: key, State: dir})
	if err != nil {
		h.t.Fatal(err)
	}
	return a, dir
}

// enrolled gives the folder of a device that is in.
func (h *home) enrolled() string {
	h.t.Helper()
	path := filepath.Join(h.t.TempDir(), "device")
	a, dir := h.boot(path, nil)
	if _, err := a.Enroll(h.t.Context(), h, agent.Admission{Token: h.Token(h.t, 1)}); err != nil {
		h.t.Fatal(err)
	}
	if err := dir.Close(); err != nil {
		h.t.Fatal(err)
	}
	return path
}

// copy copies a folder.
func (h *home) copy(path string) string {
	h.t.Helper()
	to := filepath.Join(h.t.TempDir(), "copy")
	if err := os.CopyFS(to, os.DirFS(path)); err != nil {
		h.t.Fatal(err)
	}
	if err := os.Chmod(to, 0o700); err != nil {
		h.t.Fatal(err)
	}
	files, err := os.ReadDir(to)
	if err != nil {
		h.t.Fatal(err)
	}
	for _, f := range files {
		if err := os.Chmod(filepath.Join(to, f.Name()), 0o600); err != nil {
			h.t.Fatal(err)
		}
	}
	return to
}

// run boots a folder's agent, which renews so often, and stops it.
func (h *home) run(path string, times int) (err error) {
	h.t.Helper()
	a, dir := h.boot(path, nil)
	defer dir.Close()
	for range times {
		_, err = a.Renew(h.t.Context(), h, agent.Ask{})
	}
	return err
}

// A place is where a device's messages come from.
type place struct {
	*home
	remote string
}

// RoundTrip carries a message from there.
func (p place) RoundTrip(ctx context.Context, request []byte) ([]byte, error) {
	return p.Exchange.Respond(ctx, exchange.Caller{Remote: netip.MustParseAddrPort(p.remote)}, request).Message, nil
}

// TestCloneSaysWhereTheCopiesAre: the log, the journal and the sessions have the addresses of both
// copies, and the first sign stays in the device's history however often the thief logs in.
func TestCloneSaysWhereTheCopiesAre(t *testing.T) {
	h := newHome(t, broker.ClonesNote)
	one := h.enrolled()
	two := h.copy(one)
	from := func(folder, remote string) {
		a, dir := h.boot(folder, nil)
		defer dir.Close()
		if _, err := a.Authenticate(t.Context(), place{h, remote}, agent.Ask{}); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		from(one, "192.0.2.1:4711")
		from(two, "[2001:db8::66]:4712")
	}
	told := h.log.with(cloned)
	if len(told) == 0 || !strings.Contains(told[0], "192.0.2.1") || !strings.Contains(told[0], "2001:db8::66") || !strings.Contains(told[0], "other_remote=") {
		t.Errorf("the log says %q", told)
	}
	if s := h.sessions()[0]; s.From != "2001:db8::66" {
		t.Errorf("the newest session is from %q", s.From)
	}
	d, err := h.Control.Device(t.Context(), h.id)
	if err != nil || d.ClonedSince.IsZero() {
		t.Errorf("the device is noted as cloned since %v, %v", d.ClonedSince, err)
	}
	for range broker.MaxKeptSessions + 5 {
		from(two, "[2001:db8::66]:4712")
	}
	history, err := h.Store.History(t.Context(), h.id, 0, broker.MaxList)
	if err != nil {
		t.Fatal(err)
	}
	history = slices.DeleteFunc(history, func(r broker.Record) bool { return r.What != broker.WhatClone })
	if len(history) != 1 || !strings.Contains(history[0].By.Reason, "192.0.2.1") || !strings.Contains(history[0].By.Reason, "2001:db8::66") {
		t.Errorf("after many logins of the thief the history has of it %+v", history)
	}
	if _, err := h.Control.RevokeSessions(t.Context(), broker.By{Actor: broker.ActorLocal}, h.id); err != nil {
		t.Fatal(err)
	}
	if d, err := h.Control.Device(t.Context(), h.id); err != nil || !d.ClonedSince.IsZero() {
		t.Errorf("dealt with, the device is noted as cloned since %v, %v", d.ClonedSince, err)
	}
}

func (h *home) sessions() []broker.Session {
	h.t.Helper()
	all, err := h.Control.ListSessions(h.t.Context(), h.id)
	if err != nil {
		h.t.Fatal(err)
	}
	return all
}

// TestCopiedFolder: of a device whose folder was copied, either copy authenticates twice at
// most until it is told, whatever the copies do in between. A flood of it is summed up.
func TestCopiedFolder(t *testing.T) {
	for _, between := range []int{1, 5} {
		t.Run(fmt.Sprintf("note, %d renewals in between", between), func(t *testing.T) {
			h := newHome(t, broker.ClonesNote)
			one := h.enrolled()
			two := h.copy(one)
			for round := range 4 {
				if n, want := len(h.log.with(cloned)), 0; round < 2 && n != want || round >= 2 && n == 0 {
					t.Fatalf("round %d: told %d times", round, n)
				}
				for _, folder := range []string{one, two} {
					if err := h.run(folder, between); err != nil {
						t.Fatal(err)
					}
				}
			}
			all := h.sessions()
			line := h.log.with(cloned)[0]
			first := -1
			for i := range all {
				if all[i].Cloned {
					first = i
				}
			}
			if first < 0 || first+1 >= len(all) {
				t.Fatalf("of %d sessions the first that was seen to be a clone's is %d", len(all), first)
			}
			for _, part := range []string{"level=WARN", "device=demo:lamp-1", "session=" + all[first].ID.String(), "other=" + all[first+1].ID.String()} {
				if !strings.Contains(line, part) {
					t.Errorf("no %q in %q", part, line)
				}
			}
			history, err := h.Store.History(t.Context(), h.id, 0, 100)
			if err != nil {
				t.Fatal(err)
			}
			seen := 0
			for _, r := range history {
				if r.What == broker.WhatClone {
					seen++
				}
			}
			if seen < 3 {
				t.Errorf("%d times in the device's history", seen)
			}
			for range 40 {
				_, _ = h.run(one, 1), h.run(two, 1)
			}
			if n := len(h.log.with(cloned)); n > 10 {
				t.Errorf("%d lines for a flood", n)
			}
		})
	}
	t.Run("quarantine", func(t *testing.T) {
		h := newHome(t, broker.ClonesQuarantine)
		one := h.enrolled()
		two := h.copy(one)
		for range 2 {
			_, _ = h.run(one, 1), h.run(two, 1)
		}
		var refused *protocol.Refusal
		for _, folder := range []string{one, two} {
			if err := h.run(folder, 1); !errors.As(err, &refused) || refused.Problem.Signet.Code != protocol.CodeDisabled {
				t.Errorf("%v, want disabled", err)
			}
		}
		told := h.log.with(cloned)
		if len(told) != 1 || !strings.Contains(told[0], `quarantined=true release="signet device enable lamp-1 --pool demo"`) {
			t.Errorf("told %q", told)
		}
		by := broker.By{Actor: broker.ActorLocal}
		if _, err := h.Control.EnableDevice(t.Context(), by, h.id); err != nil {
			t.Fatal(err)
		}
		for range 5 { // what was before is over
			if err := h.run(one, 3); err != nil {
				t.Error(err)
			}
		}
		for range 2 { // and the thief is found again
			_, _ = h.run(two, 1), h.run(one, 1)
		}
		if d, err := h.Control.Device(t.Context(), h.id); err != nil || d.Status != broker.StatusQuarantined {
			t.Errorf("%s, %v", d.Status, err)
		}
		_, text, err := h.Control.CreateEnrollToken(t.Context(), by, control.NewEnrollToken{Pool: h.Pool, Uses: 1, Life: time.Hour, Replace: true, Name: h.id.Name})
		if err != nil {
			t.Fatal(err)
		}
		tok, err := protocol.ParseEnrollToken(text)
		if err != nil {
			t.Fatal(err)
		}
		anew := filepath.Join(t.TempDir(), "anew")
		a, dir := h.boot(anew, nil)
		if _, err := a.Enroll(t.Context(), h, agent.Admission{Token: &tok}); !errors.As(err, &refused) || refused.Problem.Signet.Code != protocol.CodeDisabled {
			t.Errorf("another key while in quarantine: %v, want disabled", err)
		}
		if _, err := h.Control.EnableDevice(t.Context(), by, h.id); err != nil {
			t.Fatal(err)
		}
		if _, err := a.Enroll(t.Context(), h, agent.Admission{Token: &tok}); err != nil {
			t.Error(err)
		}
		if err := dir.Close(); err != nil {
			t.Error(err)
		}
		for range 3 {
			if err := h.run(two, 1); !errors.As(err, &refused) || refused.Problem.Signet.Code != protocol.CodeDenied {
				t.Errorf("the copy of the key that was replaced: %v, want denied", err)
			}
			if err := h.run(anew, 1); err != nil {
				t.Error(err)
			}
		}
	})
}

// TestPowerCutsMakeNoClone: a device whose power fails at each step of each save is one.
func TestPowerCutsMakeNoClone(t *testing.T) {
	h := newHome(t, broker.ClonesQuarantine)
	path := h.enrolled()
	cut := errors.New("power fails")
	failed := 0
	for step := range 12 {
		for _, login := range []bool{true, false} {
			n := 0
			a, dir := h.boot(path, func(keyfile.Step) (int, error) {
				if n++; n > step {
					return 3, cut
				}
				return 0, nil
			})
			do := a.Renew
			if login {
				do = a.Authenticate
			}
			n = 0 // of the save alone
			if _, err := do(t.Context(), h, agent.Ask{}); err != nil && !errors.Is(err, cut) {
				t.Fatal(err)
			}
			if n > step {
				failed++
			}
			if err := dir.Close(); err != nil {
				t.Fatal(err)
			}
			if step%3 == 0 { // sometimes it renews in between, else it fails again
				if err := h.run(path, 2); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	if failed < 6 {
		t.Errorf("power failed in %d saves only", failed)
	}
	if told := h.log.with(cloned); len(told) > 0 {
		t.Errorf("told %q", told)
	}
}

// TestFolderPutBack: an older copy of its folder makes no clone of a device, once or at each
// boot, nor does the loss of its state. That the newer copy is used again then does.
func TestFolderPutBack(t *testing.T) {
	h := newHome(t, broker.ClonesNote)
	path := h.enrolled()
	older := h.copy(path)
	for range 3 {
		for range 3 {
			if err := h.run(path, 2); err != nil {
				t.Fatal(err)
			}
		}
		path = h.copy(older)
	}
	newest := h.copy(path)
	if err := h.run(path, 1); err != nil {
		t.Fatal(err)
	}
	forgetful := harness.NewEd25519(t) // a device that keeps its key alone
	register(t, h.Signet, h.Name(t, "lamp-2"), forgetful)
	for range 5 {
		a, err := agent.New(t.Context(), agent.Config{Device: h.Name(t, "lamp-2"), Prover: forgetful, State: &agent.Memory{}, Pin: h.Pin(t)})
		if err != nil {
			t.Fatal(err)
		}
		for range 2 {
			if _, err := a.Authenticate(t.Context(), h, agent.Ask{}); err != nil {
				t.Fatal(err)
			}
		}
	}
	if told := h.log.with(cloned); len(told) > 0 {
		t.Fatalf("told %q", told)
	}
	for range 2 {
		for _, folder := range []string{newest, path} {
			if err := h.run(folder, 1); err != nil {
				t.Fatal(err)
			}
		}
	}
	if len(h.log.with(cloned)) == 0 {
		t.Error("two that are both used are not told")
	}
}

// TestHeldBackLogin: whoever holds a device's answer back and lets it go when the device has
// begun another session ends nothing with it, and makes nobody look cloned.
func TestHeldBackLogin(t *testing.T) {
	h := newHome(t, broker.ClonesQuarantine)
	key := harness.NewEd25519(t)
	register(t, h.Signet, h.id, key)
	var last ident.UUID
	login := func(k *talk) {
		t.Helper()
		if !last.IsZero() {
			k.request.Last = last[:]
		}
		k.start()
		last = k.opened(k.answer(k.proof(key))).Session
	}
	login(newTalk(t, h.Exchange, h.id))
	var held [][]byte
	for range 5 {
		k := newTalk(t, h.Exchange, h.id)
		k.request.Last = last[:]
		k.start()
		held = append(held, k.proof(key))
		login(newTalk(t, h.Exchange, h.id))
		for _, raw := range held {
			if r := ask(t, h.Exchange, raw); r.Type() == protocol.TypeGrant {
				t.Error("a login that was held back until another began: granted")
			} else {
				wantCode(t, r, protocol.CodeExpired, "a login that was held back")
			}
		}
		if live := h.sessions()[0]; live.ID != last || live.Revoked {
			t.Errorf("session %s is %v, want %s", live.ID, live.Revoked, last)
		}
	}
	if told := h.log.with(cloned); len(told) > 0 {
		t.Errorf("told %q", told)
	}
}
