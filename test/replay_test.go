package test

import (
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/broker/control/controltest"
	"github.com/signetd/signet/broker/exchange"
	"github.com/signetd/signet/protocol"
	"github.com/signetd/signet/test/harness"
)

// encodings are the forms in which bytes might be found in a log.
func encodings(b []byte) []string {
	return []string{string(b), hex.EncodeToString(b), base64.StdEncoding.EncodeToString(b), base64.RawURLEncoding.EncodeToString(b), fmt.Sprint(b)}
}

// cluster gives n replicas over one store.
func cluster(t testing.TB, s *harness.Signet, n int) []*exchange.Responder {
	t.Helper()
	replicas := make([]*exchange.Responder, n)
	for i := range replicas {
		c, err := s.Replica(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(c.Close)
		replicas[i] = c.Exchange
	}
	return replicas
}

// TestOneGrantWhateverIsReplayed: each of many answers, delivered ten times to all
// of three replicas at once, is granted once (T-01).
func TestOneGrantWhateverIsReplayed(t *testing.T) {
	const answers, replicas, copies = 50, 3, 10
	s, key := harness.New(t), harness.NewEd25519(t)
	register(t, s, s.Name(t, "lamp-1"), key)
	several := broker.NewClient(s.Pool, broker.DefaultClient)
	several.MaxSessions = 0 // all exchanges are open at once
	if _, err := controltest.PutClient(t.Context(), s.Control, broker.By{Actor: broker.ActorLocal}, several, false); err != nil {
		t.Fatal(err)
	}
	cluster := cluster(t, s, replicas)
	var raw [answers][]byte
	for i := range raw {
		k := newTalk(t, cluster[i%replicas], s.Name(t, "lamp-1"))
		k.start()
		raw[i] = k.proof(key)
	}
	var granted [answers]atomic.Int32
	var wg sync.WaitGroup
	for c := range copies {
		for r := range cluster {
			wg.Go(func() {
				for i := range raw {
					at := (i*7 + c*11 + r*13) % answers // no two in the same order
					if cluster[r].Respond(t.Context(), exchange.Caller{}, raw[at]).Admitted != nil {
						granted[at].Add(1)
					}
				}
			})
		}
	}
	wg.Wait()
	for i := range granted {
		if n := granted[i].Load(); n != 1 {
			t.Errorf("answer %d was granted %d times", i, n)
		}
	}
}

// TestOnlyRequestsAreAnswered: replies, events and rubbish that are sent to a broker
// bring a refusal at most.
func TestOnlyRequestsAreAnswered(t *testing.T) {
	s := harness.New(t)
	id := protocol.CallID{1}
	for what, m := range map[string]protocol.Message{
		"grant":     &protocol.Grant{Head: protocol.Head{ID: id}, Open: []byte{0xa0}},
		"challenge": &protocol.Challenge{Head: protocol.Head{ID: id}, Session: []byte{1}, Body: []byte{0xa0}},
		"refusal":   protocol.Refuse(id, protocol.ProblemDetail{}),
		"event":     &protocol.Event{Head: protocol.Head{ID: id}, Name: protocol.EventDisabled},
	} {
		raw, err := protocol.Encode(m)
		if err != nil {
			t.Fatal(err)
		}
		wantCode(t, ask(t, s.Exchange, raw), protocol.CodeMalformed, what)
	}
	for _, raw := range [][]byte{nil, {}, {0xff}, []byte("hello"), make([]byte, 64<<10)} {
		if r := s.Exchange.Respond(t.Context(), exchange.Caller{}, raw); r.Message != nil || r.Admitted != nil {
			t.Errorf("%d bytes of rubbish: %x", len(raw), r.Message)
		}
	}
}
