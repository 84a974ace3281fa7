package test

import (
	"testing"

	"github.com/signetd/signet/broker/exchange"
	"github.com/signetd/signet/protocol"
	"github.com/signetd/signet/test/harness"
)

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
	raw := f.rotate()
	for range 20 { // and the same renewal
		if _, ok := ask(t, s.Exchange, raw).(*protocol.Grant); !ok {
			t.Fatal("a renewal that is sent again gets another answer")
		}
	}
	f.rotate()
	k, m = begin()
	k.opened(m)
	_, m = begin()
	wantCode(t, m, protocol.CodeBusy, "a fifth grant")
	if r := m.(*protocol.Refusal).Problem.Signet.RetryAfter; r == 0 || r > 100 {
		t.Errorf("told to wait %d s, want up to 100", r)
	}
	_, again := f.request(f.token)
	wantCode(t, ask(t, s.Exchange, again), protocol.CodeBusy, "a renewal after it")
	n := newTalk(t, s.Exchange, neighbour)
	n.start()
	n.opened(n.answer(n.proof(other)))
}
