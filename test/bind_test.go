package test

import (
	"encoding/hex"
	"fmt"
	"testing"
	"time"

	"github.com/signetd/signet/agent"
	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/broker/control"
	"github.com/signetd/signet/broker/control/controltest"
	"github.com/signetd/signet/broker/exchange"
	"github.com/signetd/signet/protocol"
	"github.com/signetd/signet/protocol/challenge"
	"github.com/signetd/signet/protocol/ident"
	"github.com/signetd/signet/protocol/ident/identtest"
	"github.com/signetd/signet/test/harness"
)

// TestChallengesAreNotRelayed: 4 pools with 4 devices each, all with one key, which
// is as bad as it can be. Whose challenge somebody shows to which device: a proof
// is good for the device's own call alone (T-03, T-05).
func TestChallengesAreNotRelayed(t *testing.T) {
	const pools, devices = 4, 4
	s, key := harness.New(t), harness.NewEd25519(t)
	var talks []*talk
	for p := range pools {
		pool := identtest.Pool(t, fmt.Sprint("pool-", p))
		if _, err := s.Control.CreatePool(t.Context(), broker.By{Actor: broker.ActorLocal}, pool); err != nil {
			t.Fatal(err)
		}
		for d := range devices {
			name := identtest.Name(t, fmt.Sprint("lamp-", d))
			id := ident.Device{Pool: pool, Name: name}
			one := agent.Prover(key)
			if d > 0 { // keys are unique in a pool; the others of it have their own
				one = harness.NewEd25519(t)
			}
			register(t, s, id, one)
			k := newTalk(t, s.Exchange, id)
			k.start()
			talks = append(talks, k)
		}
	}
	good := 0
	for i, device := range talks {
		for j, stranger := range talks {
			// The device i is shown the challenge of the call j, and signs what it has said itself.
			shown := *device
			shown.said = protocol.Transcript{}.Add(device.opening).Add(stranger.challenge.Body)
			shown.body = stranger.body
			proof, err := key.Prove(protocol.ProofInput(challenge.Key, shown.said))
			if err != nil {
				t.Fatal(err)
			}
			for _, call := range []*talk{device, stranger} {
				raw := shown.encode(&protocol.Answer{Head: protocol.Head{ID: call.id}, Session: stranger.challenge.Session, Proof: proof, Opening: call.opening})
				admitted := s.Exchange.Respond(t.Context(), exchange.Caller{}, raw).Admitted != nil
				if admitted {
					good++
				}
				if admitted && i != j {
					t.Errorf("%s answered the challenge of %s", device.request.Device(), stranger.request.Device())
				}
			}
		}
	}
	if good != pools { // one device of each pool has the key, and its answer is good once
		t.Errorf("%d honest answers were good, want %d", good, pools)
	}
}

// TestNothingSaidCanBeChanged: a proof covers every field of the opening message
// and the challenge; the session of another call of the same device fits none.
func TestNothingSaidCanBeChanged(t *testing.T) {
	s, key := harness.New(t), harness.NewEd25519(t)
	id := s.Name(t, "lamp-1")
	register(t, s, id, key)
	for name, change := range map[string]func(*protocol.Request){
		"nonce":     func(w *protocol.Request) { w.Nonce = append([]byte{w.Nonce[0] ^ 1}, w.Nonce[1:]...) },
		"seal key":  func(w *protocol.Request) { w.SealTo = newTalk(t, s.Exchange, id).request.SealTo },
		"audience":  func(w *protocol.Request) { w.Audience = "demo" },
		"format":    func(w *protocol.Request) { w.Format = protocol.FormatJWT },
		"client":    func(w *protocol.Request) { w.Client = "default" },
		"metadata":  func(w *protocol.Request) { w.Metadata = map[string]string{"a": "b"} },
		"statement": func(w *protocol.Request) { w.Statement = make([]byte, 8) },
	} {
		k := newTalk(t, s.Exchange, id)
		honest := k.encode(&protocol.Start{Head: protocol.Head{ID: k.id}, Request: k.request})
		change(&k.request)
		k.start() // what the broker was given
		k.said = protocol.Transcript{}.Add(honest).Add(k.challenge.Body)
		wantCode(t, k.answer(k.proof(key)), protocol.CodeDenied, name+" changed on the way")
	}
	one, two := newTalk(t, s.Exchange, id), newTalk(t, s.Exchange, id)
	one.start()
	two.id = one.id // a planted session: even under the call's own id
	two.start()
	one.challenge.Session = two.challenge.Session
	wantCode(t, one.answer(one.proof(key)), protocol.CodeDenied, "another call's session")
}

// TestAlgorithmIsTheEnrolledOne: whatever a device is enrolled with, no proof of
// another kind passes for it, not even an HMAC keyed with its public key (T-06).
func TestAlgorithmIsTheEnrolledOne(t *testing.T) {
	s := harness.New(t)
	shared := harness.Shared("0123456789abcdef0123456789abcdef")
	provers := map[string]agent.Prover{"ES256": harness.NewP256(t), "EdDSA": harness.NewEd25519(t), "HMAC": shared}
	for alg, client := range map[string]string{"key": "keys", "psk": "shared"} {
		if _, err := controltest.PutFlow(t.Context(), s.Control, broker.By{Actor: broker.ActorLocal}, broker.Flow{Pool: s.Pool, Name: client, Steps: []string{alg}}, true); err != nil {
			t.Fatal(err)
		}
		if _, err := controltest.PutClient(t.Context(), s.Control, broker.By{Actor: broker.ActorLocal}, broker.Client{Pool: s.Pool, ID: client, Flow: client, AccessLife: time.Hour}, true); err != nil {
			t.Fatal(err)
		}
	}
	for enrolled, p := range provers {
		id := s.Name(t, "lamp-"+enrolled)
		if enrolled == "HMAC" {
			if _, err := s.Control.CreateDevice(t.Context(), broker.By{Actor: broker.ActorLocal}, control.NewDevice{ID: id, PSK: hex.EncodeToString(shared)}); err != nil {
				t.Fatal(err)
			}
		} else {
			register(t, s, id, p)
		}
		offers := map[string]agent.Prover{
			"ES256": provers["ES256"], "EdDSA": provers["EdDSA"], "HMAC": shared,
			"HMAC with the COSE key": harness.Shared(p.PublicKey()), "HMAC with nothing": harness.Shared(nil),
		}
		for offered, q := range offers {
			for _, client := range []string{"keys", "shared"} {
				k := newTalk(t, s.Exchange, id)
				k.request.Client = client
				k.start()
				_, granted := k.answer(k.proof(q)).(*protocol.Grant)
				want := enrolled == offered && (client == "shared") == (enrolled == "HMAC")
				if granted != want {
					t.Errorf("enrolled with %s, proved with %s in flow %s: granted %v, want %v", enrolled, offered, client, granted, want)
				}
			}
		}
	}
}
