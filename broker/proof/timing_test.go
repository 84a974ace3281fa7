package proof_test

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"math"
	mathrand "math/rand/v2"
	"net/netip"
	"os"
	"runtime/debug"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/broker/auth"
	"github.com/signetd/signet/broker/exchange"
	"github.com/signetd/signet/broker/exchange/wrap"
	"github.com/signetd/signet/broker/mint"
	"github.com/signetd/signet/broker/proof"
	"github.com/signetd/signet/protocol"
	"github.com/signetd/signet/protocol/challenge"
	"github.com/signetd/signet/protocol/detcbor"
	"github.com/signetd/signet/protocol/ident"
	"github.com/signetd/signet/protocol/token"
	"github.com/signetd/signet/test/harness"
)

// How many samples of each kind, and how far the means may be apart:
//
//	SIGNET_TIMING_SAMPLES=20000 SIGNET_TIMING_T=4.5 go test ./broker/proof -run TestTiming -v
//
// The default finds gross differences only, whatever else the machine is doing.
const (
	samplesEnv = "SIGNET_TIMING_SAMPLES"
	limitEnv   = "SIGNET_TIMING_T"
	samples    = 400
	limit      = 20.0
)

func setting(t *testing.T, name string, unset float64) float64 {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return unset
	}
	v, err := strconv.ParseFloat(text, 64)
	if err != nil || v <= 0 {
		t.Fatalf("%s=%q: want a number above 0", name, text)
	}
	return v
}

// timed is a broker and two kinds of names: of devices whose key the caller does
// not have, and of nobody.
type timed struct {
	*exchange.Responder
	auth  *auth.Flows
	kinds [2][]ident.Device
	wrong agent
}

type agent interface {
	PublicKey() []byte
	Prove(input []byte) ([]byte, error)
}

// newTimed makes them so that both kinds are checked with P-256.
func newTimed(t *testing.T, names int) *timed {
	t.Helper()
	s := harness.New(t)
	secret := make([]byte, 32)
	if _, err := rand.Read(secret); err != nil {
		t.Fatal(err)
	}
	a, err := proof.New(auth.Config{Reads: s.Store, Tries: s.Store, Secrets: noSecrets{}, Answers: s.Keys, SessionKey: secret})
	if err != nil {
		t.Fatal(err)
	}
	decoy, err := proof.Decoys(secret)
	if err != nil {
		t.Fatal(err)
	}
	m, err := mint.New(mint.Config{Rings: s.Keys, RefreshKey: secret})
	if err != nil {
		t.Fatal(err)
	}
	x, err := wrap.Exchange(exchange.New(a, m, s.Store, exchange.Pace{PerSecond: -1}), wrap.Config{Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	w := &timed{Responder: x, auth: a, wrong: harness.NewP256(t)}
	for i := 0; len(w.kinds[0]) < names || len(w.kinds[1]) < names; i++ {
		id := s.Name(t, fmt.Sprintf("lamp-%06d", i))
		if len(w.kinds[0]) < names {
			var sub ident.UUID
			sub[15], sub[14], sub[6] = byte(i), byte(i>>8), 0x70
			err := s.Store.CreateDevice(t.Context(), broker.By{Actor: broker.ActorLocal}, broker.Device{
				ID: id, Subject: sub, Status: broker.StatusActive, Created: time.Now(), Updated: time.Now(),
				Authenticators: []broker.Authenticator{harness.Registered(t, harness.NewP256(t).PublicKey())},
			})
			if err != nil {
				t.Fatal(err)
			}
			w.kinds[0] = append(w.kinds[0], id)
		} else if decoy(id) == token.ES256 {
			w.kinds[1] = append(w.kinds[1], id)
		}
	}
	return w
}

type noSecrets struct{}

func (noSecrets) Open(broker.Purpose, []byte) ([]byte, error) { return nil, broker.ErrNotFound }

// whole has an answer refused as it would be over a network.
func (w *timed) whole(t *testing.T, raw []byte) (time.Duration, []byte) {
	ctx := t.Context()
	began := time.Now()
	reply := w.Respond(ctx, exchange.Caller{}, raw).Message
	return time.Since(began), reply
}

// work has it refused without what hides the work.
func (w *timed) work(t *testing.T, raw []byte) (time.Duration, []byte) {
	m, err := protocol.Decode(raw)
	if err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	began := time.Now()
	_, _, err = w.auth.Answer(ctx, netip.Addr{}, m.(*protocol.Answer))
	took := time.Since(began)
	if !errors.Is(err, auth.ErrProof) {
		t.Fatalf("%v, want ErrProof", err)
	}
	return took, nil // why is the log's alone
}

// request is of a call about d.
func request(d ident.Device) (protocol.Head, protocol.Request) {
	return protocol.Head{ID: protocol.CallID{1}}, protocol.Request{Pool: d.Pool, Name: d.Name, Nonce: make([]byte, protocol.NonceLen), SealTo: make([]byte, 32)}
}

// answer makes d's answer by a key that is not its own.
func (w *timed) answer(t *testing.T, d ident.Device) []byte {
	t.Helper()
	head, request := request(d)
	return w.prove(t, &protocol.Start{Head: head, Request: request}, challenge.Key)
}

// enrollment makes the answer of an enrollment as d by a key that nobody registered,
// without a token.
func (w *timed) enrollment(t *testing.T, d ident.Device) []byte {
	t.Helper()
	head, request := request(d)
	return w.prove(t, &protocol.Enroll{Head: head, Request: request, Key: w.wrong.PublicKey()}, protocol.PurposeEnroll)
}

// refresh makes a refresh of d's by a key that is not its own.
func (w *timed) refresh(t *testing.T, d ident.Device) []byte {
	t.Helper()
	head, request := request(d)
	body, err := detcbor.Marshal(&protocol.RefreshBody{Request: request, Session: ident.UUID{6: 0x70, 8: 0x80}, Handle: make([]byte, 32)})
	if err != nil {
		t.Fatal(err)
	}
	proof, err := w.wrong.Prove(protocol.ProofInput(protocol.PurposeRefresh, protocol.Transcript{}.Add(body)))
	if err != nil {
		t.Fatal(err)
	}
	raw, err := protocol.Encode(&protocol.Refresh{Head: head, Body: body, Proof: proof})
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// prove opens an exchange and answers its challenge by the wrong key.
func (w *timed) prove(t *testing.T, opening protocol.Message, purpose string) []byte {
	t.Helper()
	raw, err := protocol.Encode(opening)
	if err != nil {
		t.Fatal(err)
	}
	said := protocol.Transcript{}.Add(raw)
	m, err := protocol.Decode(w.Respond(t.Context(), exchange.Caller{}, raw).Message)
	if err != nil {
		t.Fatal(err)
	}
	c, ok := m.(*protocol.Challenge)
	if !ok {
		t.Fatalf("not a challenge: %v", m)
	}
	proof, err := w.wrong.Prove(protocol.ProofInput(purpose, said.Add(c.Body)))
	if err != nil {
		t.Fatal(err)
	}
	if raw, err = protocol.Encode(&protocol.Answer{Head: protocol.Head{ID: opening.Call()}, Session: c.Session, Proof: proof, Opening: opening.Bytes()}); err != nil {
		t.Fatal(err)
	}
	return raw
}

// TestTiming: how long a refusal takes does not tell a device's name from nobody's
// (T-26), whichever way it is asked: samples interleaved at random, the slowest
// tenth left out, Welch's t. Beneath what hides it the work is nearly the same, too.
func TestTiming(t *testing.T) {
	w := newTimed(t, 32)
	n, most := int(setting(t, samplesEnv, samples)), setting(t, limitEnv, limit)
	t.Run("answer", func(t *testing.T) { w.compare(t, w.answer, w.whole, n, most) })
	t.Run("enrollment", func(t *testing.T) { w.compare(t, w.enrollment, w.whole, n, most) })
	t.Run("refresh", func(t *testing.T) { w.compare(t, w.refresh, w.whole, n, most) })
	t.Run("work", func(t *testing.T) { w.compare(t, w.answer, w.work, samples, limit) })
}

// TestTimingHidden: every refusal whose work depends on a device takes the time that
// hides it, and says the same.
func TestTimingHidden(t *testing.T) {
	w := newTimed(t, 1)
	for name, ask := range map[string]func(*testing.T, ident.Device) []byte{"answer": w.answer, "enrollment": w.enrollment, "refresh": w.refresh} {
		for kind, names := range w.kinds {
			m, err := protocol.Decode(ask(t, names[0]))
			if err != nil {
				t.Fatal(err)
			}
			switch m := m.(type) {
			case *protocol.Answer:
				_, _, err = w.auth.Answer(t.Context(), netip.Addr{}, m)
			case *protocol.Refresh:
				_, _, err = w.auth.Refresh(t.Context(), m)
			}
			if !errors.Is(err, auth.ErrProof) || !errors.Is(err, protocol.CodeDenied) {
				t.Errorf("%s of kind %d: %v, want ErrProof", name, kind, err)
			}
		}
	}
}

func (w *timed) compare(t *testing.T, ask func(*testing.T, ident.Device) []byte, refuse func(*testing.T, []byte) (time.Duration, []byte), n int, most float64) {
	for range 4 { // warm both
		for _, names := range w.kinds {
			for _, d := range names {
				refuse(t, ask(t, d))
			}
		}
	}
	defer debug.SetGCPercent(debug.SetGCPercent(400))
	var times [2][]float64
	var said [2][]byte
	for len(times[0]) < n || len(times[1]) < n {
		kind := mathrand.IntN(2)
		raw := ask(t, w.kinds[kind][mathrand.IntN(len(w.kinds[kind]))])
		took, reply := refuse(t, raw)
		times[kind], said[kind] = append(times[kind], float64(took)), reply
	}
	if !bytes.Equal(said[0], said[1]) {
		t.Errorf("a device is refused with %q, nobody with %q", said[0], said[1])
	}
	score := welch(trim(times[0]), trim(times[1]))
	t.Logf("a device takes %.0f ns, nobody %.0f ns, t = %.1f over 2 x %d samples", mean(times[0]), mean(times[1]), score, n)
	if math.Abs(score) > most {
		t.Errorf("|t| = %.1f, want at most %.1f", math.Abs(score), most)
	}
}

// trim drops the slowest tenth: what else the machine did.
func trim(x []float64) []float64 {
	slices.Sort(x)
	return x[:len(x)*9/10]
}

func mean(x []float64) (sum float64) {
	for _, v := range x {
		sum += v
	}
	return sum / float64(len(x))
}

func variance(x []float64) (sum float64) {
	m := mean(x)
	for _, v := range x {
		sum += (v - m) * (v - m)
	}
	return sum / float64(len(x)-1)
}

func welch(a, b []float64) float64 {
	return (mean(a) - mean(b)) / math.Sqrt(variance(a)/float64(len(a))+variance(b)/float64(len(b)))
}
