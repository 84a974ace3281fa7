package test

import (
	"sync"
	"testing"

	"github.com/signetd/signet/broker/exchange"
	"github.com/signetd/signet/protocol"
	"github.com/signetd/signet/test/harness"
)

// wantBusy checks that m is a refusal that says how many seconds to wait, at most so many.
func wantBusy(t *testing.T, m protocol.Message, most uint32, what string) {
	t.Helper()
	wantCode(t, m, protocol.CodeBusy, what)
	if r, ok := m.(*protocol.Refusal); ok && (r.Problem.Signet.RetryAfter == 0 || r.Problem.Signet.RetryAfter > most) {
		t.Errorf("%s: told to wait %d s, want up to %d", what, r.Problem.Signet.RetryAfter, most)
	}
}

// TestOneDeviceIsPaced: what one device proves and is granted is bounded, by login and by renewal, and
// the refusal says how long to wait. Whoever cannot prove it uses nothing of that up, nor
// does whoever sends what the device sent again; and other devices go on.
func TestOneDeviceIsPaced(t *testing.T) {
	s := harness.New(t)
	s.Exchange = s.Paced(t, exchange.Pace{PerSecond: 0.01, Burst: 4})
	key, other := harness.NewEd25519(t), harness.NewEd25519(t)
	id, neighbour := s.Name(t, "lamp-1"), s.Name(t, "lamp-2")
	register(t, s, id, key)
	register(t, s, neighbour, other)
	var answered []byte
	begin := func() (*talk, protocol.Message) {
		k := newTalk(t, s.Exchange, id)
		k.start()
		answered = k.proof(key)
		return k, k.answer(answered)
	}
	for range 20 { // strangers in its name
		k := newTalk(t, s.Exchange, id)
		k.start()
		wantCode(t, k.answer(k.proof(other)), protocol.CodeDenied, "another's key")
	}
	k, m := begin()
	g := k.opened(m)
	for range 20 { // the same answer again
		wantCode(t, ask(t, s.Exchange, answered), protocol.CodeReplayed, "the same answer")
	}
	f := &family{t: t, s: s, id: id, key: key, session: g.Session, token: g.Refresh}
	f.rotate()
	f.rotate()
	k, m = begin()
	g = k.opened(m)
	_, m = begin()
	wantBusy(t, m, 100, "a fifth grant")
	f.session, f.token = g.Session, g.Refresh
	_, again := f.request(f.token)
	wantBusy(t, ask(t, s.Exchange, again), 100, "a renewal after it")
	n := newTalk(t, s.Exchange, neighbour)
	n.start()
	n.opened(n.answer(n.proof(other)))
}

// TestRepeatsArePaced: a renewal is answered again a few times, because the answer may be
// lost, and then no more for a while. That is by session and beside what the device has, because
// a repeat takes no key; what shows the token before with the key comes out of what the device has.
func TestRepeatsArePaced(t *testing.T) {
	f := newFamily(t, harness.NewEd25519(t))
	f.s.Exchange = f.s.Paced(t, exchange.Pace{PerSecond: 0.01, Burst: 4})
	before := f.token
	raw := f.rotate()
	for range 10 {
		if _, ok := ask(t, f.s.Exchange, raw).(*protocol.Grant); !ok {
			t.Fatal("a renewal that is sent again gets another answer")
		}
	}
	for range 20 {
		wantBusy(t, ask(t, f.s.Exchange, raw), 60, "the eleventh repeat")
	}
	for range 2 { // the answer was lost, and it asks anew
		k, anew := f.request(before)
		k.opened(ask(t, f.s.Exchange, anew))
	}
	before = f.token
	f.rotate() // the device has all that it had
	_, anew := f.request(before)
	wantBusy(t, ask(t, f.s.Exchange, anew), 100, "a fifth renewal, with the token before")
	if f.ended() {
		t.Error("the session was ended")
	}
}

// TestPaceHoldsAtOnce: what is in work at the same time does not get past the bound together,
// and what fails uses nothing up.
func TestPaceHoldsAtOnce(t *testing.T) {
	s := harness.New(t)
	s.Exchange = s.Paced(t, exchange.Pace{PerSecond: 0.001, Burst: 1})
	key, id := harness.NewEd25519(t), s.Name(t, "lamp-1")
	register(t, s, id, key)
	answers := make([][]byte, 60)
	for i := range answers {
		k := newTalk(t, s.Exchange, id)
		k.start()
		answers[i] = k.proof(key)
	}
	granted := make([]bool, len(answers))
	var all sync.WaitGroup
	for i, raw := range answers {
		all.Go(func() { granted[i] = s.Exchange.Respond(t.Context(), exchange.Caller{}, raw).Admitted != nil })
	}
	all.Wait()
	n := 0
	for _, g := range granted {
		if g {
			n++
		}
	}
	if n != 1 {
		t.Errorf("%d granted at once, want 1", n)
	}
}
