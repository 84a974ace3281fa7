package agent_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"fmt"
	"log"
	"log/slog"
	"os"
	"time"

	"github.com/signetd/signet/agent"
	"github.com/signetd/signet/agent/keyfile"
	"github.com/signetd/signet/agent/mqttlink"
	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/broker/control"
	"github.com/signetd/signet/protocol"
	"github.com/signetd/signet/protocol/challenge"
	"github.com/signetd/signet/protocol/ident"
	"github.com/signetd/signet/protocol/token"
	"github.com/signetd/signet/test/harness"
)

// A chipKey is a prover of one's own: it proves possession with a private key that
// stays in a TPM, an HSM or a secure element, whose driver gives a crypto.Signer of
// P-256 or Ed25519. token.Signer turns that into signatures as Signet wants them.
type chipKey struct{ signer *token.Signer }

func newChipKey(chip crypto.Signer) (chipKey, error) {
	signer, err := token.NewSigner(chip)
	if err != nil {
		return chipKey{}, err
	}
	return chipKey{signer}, signer.Key().CheckDevice()
}

func (k chipKey) Kind() string                       { return challenge.Key }
func (k chipKey) PublicKey() []byte                  { return k.signer.Key().MarshalCOSE() }
func (k chipKey) Prove(input []byte) ([]byte, error) { return k.signer.Sign(input) }

// A device with a key of its own enrolls once, with the token that an operator made,
// and from then on renews its access token with nothing but its key.
func Example() {
	ctx := context.Background()
	link, admission, end := demoBroker(ctx)
	defer end()

	chip, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader) // in place of a chip's driver
	if err != nil {
		log.Fatal(err)
	}
	key, err := newChipKey(chip)
	if err != nil {
		log.Fatal(err)
	}
	name, err := ident.ParseDevice("demo:lamp-1")
	if err != nil {
		log.Fatal(err)
	}
	device, err := agent.New(ctx, agent.Config{Device: name, Prover: key, State: new(agent.Memory)})
	if err != nil {
		log.Fatal(err)
	}
	tokens, err := device.Enroll(ctx, link, admission)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("enrolled; may publish to", tokens.Publish)

	tokens, err = device.Renew(ctx, link, agent.Ask{})
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("renewed; the token is good for", tokens.Life)
	// Output:
	// enrolled; may publish to [devices/demo/lamp-1/#]
	// renewed; the token is good for 1h0m0s
}

// A device for real: key and state in a folder, MQTT to the broker, and Run, which
// stays logged in until ctx ends. (Compiled only: it needs a broker to connect to.)
func ExampleAgent_Run() {
	ctx := context.Background()
	dir, err := keyfile.Open("/var/lib/my-device", nil)
	if err != nil {
		log.Fatal(err)
	}
	key, err := dir.Key(ctx, keyfile.P256)
	if err != nil {
		log.Fatal(err)
	}
	name, err := ident.ParseDevice("demo:lamp-1")
	if err != nil {
		log.Fatal(err)
	}
	device, err := agent.New(ctx, agent.Config{Device: name, Prover: key, State: dir})
	if err != nil {
		log.Fatal(err)
	}
	dial := func(ctx context.Context, c *agent.Credential) (agent.Connection, error) {
		return mqttlink.Dial(ctx, mqttlink.Options{Broker: "mqtts://signet.example", Credential: c})
	}
	if err := device.Run(ctx, dial); err != nil {
		log.Fatal(err)
	}
}

// demoBroker is a broker in this process, in place of mqttlink.Dial's, and an admission
// with the enrollment token that an operator would hand over.
func demoBroker(ctx context.Context) (link agent.Link, v agent.Admission, end func()) {
	dir, err := os.MkdirTemp("", "signet-example")
	if err != nil {
		log.Fatal(err)
	}
	s, err := harness.Open(ctx, dir, slog.New(slog.DiscardHandler))
	if err != nil {
		log.Fatal(err)
	}
	_, text, err := s.Control.CreateEnrollToken(ctx, broker.By{Actor: broker.ActorLocal}, control.NewEnrollToken{Pool: s.Pool, Uses: 1, Life: time.Hour})
	if err != nil {
		log.Fatal(err)
	}
	tok, err := protocol.ParseEnrollToken(text)
	if err != nil {
		log.Fatal(err)
	}
	return s, agent.Admission{Token: &tok}, func() {
		_ = s.Close()
		_ = os.RemoveAll(dir)
	}
}
