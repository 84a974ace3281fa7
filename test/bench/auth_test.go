package bench

import (
	"crypto"
	"crypto/ecdh"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hpke"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"testing"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/broker/access"
	"github.com/signetd/signet/broker/control"
	"github.com/signetd/signet/broker/exchange"
	"github.com/signetd/signet/protocol"
	"github.com/signetd/signet/protocol/challenge"
	"github.com/signetd/signet/protocol/ident"
	"github.com/signetd/signet/protocol/token"
	"github.com/signetd/signet/test/harness"
)

const (
	batch   = 2048 // devices, each authenticated once in a window
	windows = 3    // in which the broker and the floor take turns
	callers = 64   // that wait at the same time
)

// BenchmarkAuthentication is the broker's CPU for one authentication, start and
// answer with the login durable in a real store, against its crypto floor: one
// check of the device's signature, two signatures (access and ID token) and, when
// the grant is sealed, one seal by HPKE, called from as many goroutines with the standard
// library. The seal has an X25519 key, an agreement, and the eight steps of HKDF that
// RFC 9180 makes a key of that by (sections 4.1 and 5.1).
//
// The device's share is off the clock: its messages are made, and its challenges
// signed, between the windows in which the broker runs.
func BenchmarkAuthentication(b *testing.B) {
	for _, c := range []authCase{
		{token.EdDSA, token.EdDSA, false}, {token.EdDSA, token.EdDSA, true},
		{token.ES256, token.ES256, false}, {token.ES256, token.ES256, true},
	} {
		b.Run(c.String(), c.bench)
	}
}

type authCase struct {
	device, pool token.Alg
	sealed       bool
}

func (c authCase) String() string {
	how := "open"
	if c.sealed {
		how = "sealed"
	}
	return fmt.Sprintf("device=%s/pool=%s/%s", c.device, c.pool, how)
}

func (c authCase) bench(b *testing.B) {
	s := harness.New(b)
	s.Rotate(b, c.pool)
	devices := newFleet(b, s, c)
	floor := newFloor(b, c)
	var signet, bare meter
	window := func() {
		starts := make([][]byte, batch)
		for i, d := range devices {
			starts[i] = d.start(b)
		}
		replies := make([][]byte, batch)
		caller := exchange.Caller{Channel: access.Channel{Name: oneChannel()}}
		signet.run(b, batch, callers, func(i int) { replies[i] = s.Exchange.Respond(b.Context(), caller, starts[i]).Message })
		answers := make([][]byte, batch)
		spread(batch, callers, func(i int) { answers[i] = devices[i].answer(b, starts[i], replies[i]) })
		var admitted [batch]bool
		signet.run(b, batch, callers, func(i int) {
			admitted[i] = s.Exchange.Respond(b.Context(), caller, answers[i]).Admitted != nil
		})
		bare.run(b, batch, callers, floor)
		for i, ok := range admitted {
			if !ok {
				b.Fatalf("device %d was refused", i)
			}
		}
	}
	window() // opens the pool's keys, warms the caches
	signet, bare = meter{}, meter{}
	for range windows {
		window()
	}
	auths := float64(bare.ops)
	b.ReportMetric(float64(signet.spent)/float64(bare.spent), "x-floor")
	b.ReportMetric(float64(signet.spent.Microseconds())/auths, "cpu-us/auth")
	b.ReportMetric(float64(bare.spent.Microseconds())/auths, "floor-us/auth")
	b.ReportMetric(float64(signet.bytes)/auths, "B/auth")
	b.ReportMetric(0, "ns/op") // the device's share and the floor are in it: says nothing
}

// A device is a device without an agent: it makes messages and checks nothing.
type device struct {
	name      ident.Device
	signer    *token.Signer
	sealTo    []byte // nil: open grants
	statement []byte
}

func newFleet(b *testing.B, s *harness.Signet, c authCase) []*device {
	b.Helper()
	ring, err := s.Keys.Ring(b.Context(), s.Pool)
	if err != nil {
		b.Fatal(err)
	}
	devices := make([]*device, batch)
	spread(batch, callers, func(i int) {
		d := &device{name: s.Name(b, fmt.Sprintf("lamp-%d", i)), signer: newSigner(b, c.device), statement: ring.StatementID}
		if c.sealed {
			key, err := ecdh.X25519().GenerateKey(rand.Reader)
			if err != nil {
				b.Error(err)
				return
			}
			d.sealTo = key.PublicKey().Bytes()
		}
		n := control.NewDevice{ID: d.name, Key: hex.EncodeToString(d.signer.Key().MarshalCOSE())}
		if _, err := s.Control.CreateDevice(b.Context(), broker.By{Actor: broker.ActorLocal}, n); err != nil {
			b.Error(err)
		}
		devices[i] = d
	})
	if b.Failed() {
		b.FailNow()
	}
	return devices
}

func newSigner(b *testing.B, alg token.Alg) *token.Signer {
	b.Helper()
	s, err := token.NewSigner(newKey(b, alg))
	if err != nil {
		b.Fatal(err)
	}
	return s
}

func newKey(b *testing.B, alg token.Alg) crypto.Signer {
	b.Helper()
	var key crypto.Signer
	var err error
	if alg == token.EdDSA {
		_, key, err = ed25519.GenerateKey(rand.Reader)
	} else {
		key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	}
	if err != nil {
		b.Fatal(err)
	}
	return key
}

// oneChannel stands for the name of a TLS connection: every device has one of its own, to the broker itself.
func oneChannel() []byte { return make([]byte, protocol.ChannelLen) }

// start opens an authentication as an enrolled device does, which knows the key statement.
func (d *device) start(b *testing.B) []byte {
	b.Helper()
	m := &protocol.Start{Request: protocol.Request{
		Pool: d.name.Pool, Name: d.name.Name, Nonce: make([]byte, protocol.NonceLen), SealTo: d.sealTo, Statement: d.statement, Channel: oneChannel(),
	}}
	_, _ = rand.Read(m.ID[:])
	_, _ = rand.Read(m.Nonce)
	raw, err := protocol.Encode(m)
	if err != nil {
		b.Fatal(err)
	}
	return raw
}

// answer is nil when reply is no challenge; the broker will not admit that.
func (d *device) answer(b *testing.B, start, reply []byte) []byte {
	m, err := protocol.Decode(reply)
	if err != nil {
		b.Error(err)
		return nil
	}
	c, ok := m.(*protocol.Challenge)
	if !ok {
		b.Errorf("%s: no challenge but message type %d", d.name, m.Type())
		return nil
	}
	var t protocol.Transcript
	proof, err := d.signer.Sign(protocol.ProofInput(challenge.Key, t.Add(start).Add(c.Body)))
	if err != nil {
		b.Error(err)
		return nil
	}
	raw, err := protocol.Encode(&protocol.Answer{Head: protocol.Head{ID: c.ID}, Session: c.Session, Proof: proof, Opening: start})
	if err != nil {
		b.Error(err)
	}
	return raw
}

// newFloor gives the bare operations of one authentication, on the standard library.
func newFloor(b *testing.B, c authCase) func(int) {
	b.Helper()
	msg := make([]byte, 160)
	_, _ = rand.Read(msg)
	dev, pool := newKey(b, c.device), newKey(b, c.pool)
	sig := bareSign(b, dev, msg)
	own, err := hpke.DHKEM(ecdh.X25519()).GenerateKey()
	if err != nil {
		b.Fatal(err)
	}
	peer, grant := own.PublicKey(), make([]byte, 512)
	return func(int) {
		if !bareVerify(dev.Public(), msg, sig) {
			b.Error("bare verify failed")
		}
		bareSign(b, pool, msg)
		bareSign(b, pool, msg)
		if c.sealed {
			if _, err := hpke.Seal(peer, hpke.HKDFSHA256(), hpke.AES128GCM(), nil, grant); err != nil {
				b.Error(err)
			}
		}
	}
}

func bareSign(b *testing.B, key crypto.Signer, msg []byte) []byte {
	opts := crypto.SignerOpts(crypto.Hash(0))
	if _, ok := key.(*ecdsa.PrivateKey); ok {
		sum := sha256.Sum256(msg)
		msg, opts = sum[:], crypto.SHA256
	}
	sig, err := key.Sign(rand.Reader, msg, opts)
	if err != nil {
		b.Error(err)
	}
	return sig
}

func bareVerify(key crypto.PublicKey, msg, sig []byte) bool {
	switch key := key.(type) {
	case ed25519.PublicKey:
		return ed25519.Verify(key, msg, sig)
	case *ecdsa.PublicKey:
		sum := sha256.Sum256(msg)
		return ecdsa.VerifyASN1(key, sum[:], sig)
	}
	return false
}
