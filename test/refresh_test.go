package test

import (
	"bytes"
	"fmt"
	"math/big"
	"sync"
	"testing"
	"time"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/broker/exchange"
	"github.com/signetd/signet/protocol"
	"github.com/signetd/signet/protocol/ident"
	"github.com/signetd/signet/test/harness"
)

// A family is a device with a session, refreshed by hand.
type family struct {
	t       *testing.T
	s       *harness.Signet
	id      ident.Device
	key     harness.Key
	session ident.UUID
	token   []byte // the newest
}

func newFamily(t *testing.T, key harness.Key) *family {
	t.Helper()
	s := harness.New(t)
	f := &family{t: t, s: s, id: s.Name(t, "lamp-1"), key: key}
	register(t, s, f.id, key)
	k := newTalk(t, s.Exchange, f.id)
	k.start()
	g := k.opened(k.answer(k.proof(key)))
	f.session, f.token = g.Session, g.Refresh
	return f
}

// request makes a refresh of token; the talk can open its grant.
func (f *family) request(token []byte) (*talk, []byte) {
	f.t.Helper()
	k := newTalk(f.t, f.s.Exchange, f.id)
	return k, k.refresh(f.key, f.session, token)
}

// rotate refreshes with the newest token, and gives the request that did it.
func (f *family) rotate() []byte {
	f.t.Helper()
	k, raw := f.request(f.token)
	f.token = k.opened(ask(f.t, f.s.Exchange, raw)).Refresh
	return raw
}

func (f *family) ended() bool {
	f.t.Helper()
	x, err := f.s.Store.Session(f.t.Context(), f.session)
	if err != nil {
		f.t.Fatal(err)
	}
	return x.Revoked
}

// TestRefreshNeedsTheKey: the token alone, with another's proof or a proof of
// something else, brings nothing and ends nothing.
func TestRefreshNeedsTheKey(t *testing.T) {
	f := newFamily(t, harness.NewEd25519(t))
	other := harness.NewEd25519(t)
	k := newTalk(t, f.s.Exchange, f.id)
	wantCode(t, ask(t, f.s.Exchange, k.refresh(other, f.session, f.token)), protocol.CodeDenied, "another key's proof")
	register(t, f.s, f.s.Name(t, "lamp-2"), other)
	k = newTalk(t, f.s.Exchange, f.s.Name(t, "lamp-2"))
	wantCode(t, ask(t, f.s.Exchange, k.refresh(other, f.session, f.token)), protocol.CodeDenied, "another device")
	k, raw := f.request(f.token)
	m, err := protocol.Decode(raw)
	if err != nil {
		t.Fatal(err)
	}
	body := m.(*protocol.Refresh)
	_, second := f.request(f.token)
	m, err = protocol.Decode(second)
	if err != nil {
		t.Fatal(err)
	}
	wantCode(t, ask(t, f.s.Exchange, k.encode(&protocol.Refresh{Head: protocol.Head{ID: k.id}, Body: body.Body, Proof: m.(*protocol.Refresh).Proof})), protocol.CodeDenied, "the proof of another request")
	if f.ended() {
		t.Error("a stranger ended the session")
	}
	f.rotate()
}

// TestStoreBehindItsDevices: of a store of which an older copy was put back, a device
// goes on with the token that it has. No theft is seen in it, and a token that was never
// given is one still.
func TestStoreBehindItsDevices(t *testing.T) {
	for _, lost := range []int{1, 2, 100} {
		f := newFamily(t, harness.NewEd25519(t))
		f.rotate()
		before, err := f.s.Store.Session(t.Context(), f.session)
		if err != nil {
			t.Fatal(err)
		}
		for range lost {
			f.rotate()
		}
		putBack := func(s *broker.Session, _ *broker.Device) error { *s = before; return nil }
		if _, err := f.s.Store.UpdateSession(t.Context(), broker.By{Actor: broker.ActorLocal}, f.session, putBack); err != nil {
			t.Fatal(err)
		}
		old := f.token
		first := f.rotate()
		if f.ended() {
			t.Fatalf("%d tokens behind: the session was ended", lost)
		}
		if _, ok := ask(t, f.s.Exchange, first).(*protocol.Grant); !ok {
			t.Errorf("%d tokens behind: the same request again was refused", lost)
		}
		f.rotate()
		f.s.Offset = time.Hour
		_, raw := f.request(old)
		wantCode(t, ask(t, f.s.Exchange, raw), protocol.CodeDenied, "a token from before")
		if !f.ended() {
			t.Errorf("%d tokens behind: a token that was replaced long ago ends nothing", lost)
		}
	}
	f := newFamily(t, harness.NewEd25519(t))
	_, raw := f.request(bytes.Repeat([]byte{1}, 32))
	wantCode(t, ask(t, f.s.Exchange, raw), protocol.CodeDenied, "a token that was never given")
	if !f.ended() {
		t.Error("a token that was never given ends nothing")
	}
}

// TestClockAheadLeavesNoSession: a session that began while the clock was years ahead
// would live on for years. It is over, and logging in anew goes well.
func TestClockAheadLeavesNoSession(t *testing.T) {
	key := harness.NewEd25519(t)
	s := harness.New(t)
	s.Offset = 10 * 365 * 24 * time.Hour
	f := &family{t: t, s: s, id: s.Name(t, "lamp-1"), key: key}
	register(t, s, f.id, key)
	login := func() {
		k := newTalk(t, s.Exchange, f.id)
		k.start()
		g := k.opened(k.answer(k.proof(key)))
		f.session, f.token = g.Session, g.Refresh
	}
	login()
	if _, err := s.Control.RevokeSessions(t.Context(), broker.By{Actor: broker.ActorLocal}, f.id); err != nil {
		t.Fatal(err)
	}
	login()
	f.rotate()
	s.Offset = 0
	_, raw := f.request(f.token)
	wantCode(t, ask(t, s.Exchange, raw), protocol.CodeExpired, "a session of ten years from now")
	login()
	f.rotate()
	if f.ended() {
		t.Error("a session that began when the clock was right again has ended")
	}
}

// TestSameSuccessor: whoever asks again within grace, and the same request at any
// time, gets the same successor, until that is used; also at once, on three replicas.
func TestSameSuccessor(t *testing.T) {
	f := newFamily(t, harness.NewP256(t))
	old := f.token
	first := f.rotate()
	k, again := f.request(old)
	if g := k.opened(ask(t, f.s.Exchange, again)); !bytes.Equal(g.Refresh, f.token) {
		t.Error("another call within grace got another successor")
	}
	f.s.Offset = broker.DefaultGrace + time.Minute
	for _, raw := range [][]byte{first, again} {
		if _, ok := ask(t, f.s.Exchange, raw).(*protocol.Grant); !ok {
			t.Error("the same request after grace, with the successor unused, was refused")
		}
	}
	replicas := cluster(t, f.s, 3)
	var wg sync.WaitGroup
	successors := make(chan []byte, 60)
	for i := range 60 {
		k, raw := f.request(f.token)
		wg.Go(func() { successors <- k.opened(ask(t, replicas[i%3], raw)).Refresh })
	}
	wg.Wait()
	close(successors)
	next := <-successors
	for s := range successors {
		if !bytes.Equal(s, next) {
			t.Fatal("one token has two successors")
		}
	}
	f.token = next
	f.rotate()
}

// TestReuseEndsTheFamily: a token that was replaced, presented anew after grace or
// after its successor was used, ends the session for everybody.
func TestReuseEndsTheFamily(t *testing.T) {
	for name, offset := range map[string]time.Duration{"successor used": 0, "after grace": broker.DefaultGrace + time.Second} {
		f := newFamily(t, harness.NewEd25519(t))
		old := f.token
		f.rotate()
		if offset == 0 {
			f.rotate()
		}
		f.s.Offset = offset
		_, thief := f.request(old)
		wantCode(t, ask(t, f.s.Exchange, thief), protocol.CodeDenied, name)
		if !f.ended() {
			t.Errorf("%s: the session lives", name)
		}
		_, honest := f.request(f.token)
		wantCode(t, ask(t, f.s.Exchange, honest), protocol.CodeDenied, name+", then the newest token")
	}
}

// TestReplayedRequestsEndNothing: an MQTT broker that sends old requests again,
// whole or with what no proof covers changed, is refused, and the device goes on.
func TestReplayedRequestsEndNothing(t *testing.T) {
	for name, key := range map[string]harness.Key{"ES256": harness.NewP256(t), "EdDSA": harness.NewEd25519(t)} {
		t.Run(name, func(t *testing.T) {
			f := newFamily(t, key)
			var heard [][]byte
			for range 5 {
				k, raced := f.request(f.token)
				heard = append(heard, f.rotate(), raced)
				k.opened(ask(t, f.s.Exchange, raced)) // within grace, its successor unused
			}
			f.rotate()
			f.s.Offset = broker.DefaultGrace + time.Hour/4
			for _, raw := range heard {
				for what, copy := range map[string][]byte{"whole": raw, "another call": edited(t, raw, false), "another form of the proof": edited(t, raw, name == "ES256")} {
					wantCode(t, ask(t, f.s.Exchange, copy), protocol.CodeReplayed, what)
				}
			}
			if f.ended() {
				t.Error("the session is over")
			}
			f.rotate()
		})
	}
}

// edited changes what a refresh's proof does not cover.
func edited(t *testing.T, raw []byte, proof bool) []byte {
	t.Helper()
	m, err := protocol.Decode(raw)
	if err != nil {
		t.Fatal(err)
	}
	r := m.(*protocol.Refresh)
	out := &protocol.Refresh{Head: protocol.Head{ID: protocol.CallID{9}}, Body: r.Body, Proof: bytes.Clone(r.Proof)}
	if proof { // r and n-s is as good a signature
		n, _ := new(big.Int).SetString("ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551", 16)
		n.Sub(n, new(big.Int).SetBytes(out.Proof[32:])).FillBytes(out.Proof[32:])
	}
	b, err := protocol.Encode(out)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestRequestsAreRememberedInBounds: a session remembers so many requests and no more.
func TestRequestsAreRememberedInBounds(t *testing.T) {
	f := newFamily(t, harness.NewEd25519(t))
	var heard [][]byte
	for range broker.MaxRequests + 10 {
		heard = append(heard, f.rotate())
	}
	x, err := f.s.Store.Session(t.Context(), f.session)
	if err != nil {
		t.Fatal(err)
	}
	if n := len(x.Requests); n != broker.MaxRequests*broker.RequestMark {
		t.Errorf("%d bytes are kept", n)
	}
	for i, raw := range heard[11 : len(heard)-1] {
		wantCode(t, ask(t, f.s.Exchange, raw), protocol.CodeReplayed, fmt.Sprint("request ", i+11))
	}
}

// TestThiefAndOwner: whatever the order in which a thief with the key and the owner
// use a copied token, past each other's grace, the family ends as soon as the
// second of them uses it, and nobody is granted anything afterwards (T-17).
func TestThiefAndOwner(t *testing.T) {
	const steps = 6
	for order := range 1 << steps {
		f := newFamily(t, harness.NewEd25519(t))
		held := [2][]byte{f.token, f.token}
		for step := range steps {
			who := order >> step & 1
			k, raw := f.request(held[who])
			f.s.Offset += broker.DefaultGrace + time.Second
			m := ask(t, f.s.Exchange, raw)
			live := !f.ended()
			g, granted := m.(*protocol.Grant)
			if granted != live {
				t.Fatalf("order %06b, step %d: granted %v in a session that lives: %v", order, step, granted, live)
			}
			if !granted {
				break
			}
			held[who] = k.opened(g).Refresh
		}
		if both := order != 0 && order != 1<<steps-1; f.ended() != both {
			t.Errorf("order %06b: the family ended: %v, both used the token: %v", order, f.ended(), both)
		}
	}
}

// TestRefreshOfADisabledDevice: nothing after a disable, and enabling does not revive the session.
func TestRefreshOfADisabledDevice(t *testing.T) {
	f := newFamily(t, harness.NewEd25519(t))
	if _, err := f.s.Control.DisableDevice(t.Context(), broker.By{Actor: broker.ActorLocal}, f.id); err != nil {
		t.Fatal(err)
	}
	_, raw := f.request(f.token)
	wantCode(t, ask(t, f.s.Exchange, raw), protocol.CodeDisabled, "disabled")
	if _, err := f.s.Control.EnableDevice(t.Context(), broker.By{Actor: broker.ActorLocal}, f.id); err != nil {
		t.Fatal(err)
	}
	if f.s.Exchange.Respond(t.Context(), exchange.Caller{}, raw).Admitted != nil {
		t.Error("a session outlived the disabling of its device")
	}
}
