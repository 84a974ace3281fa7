// Package proof has a device's answers to challenges, a file each kind of answer: by
// possession of a secret, or by whoever knows what was asked. Package agent decides
// whether to answer at all.
//
// It holds no secret itself and sends nothing. It stays small: firmware links it.
package proof

import (
	"context"
	"errors"
	"fmt"

	"github.com/signetd/signet/protocol"
	"github.com/signetd/signet/protocol/challenge"
)

// Errors of this package, wrapped.
var (
	// ErrUnexpected: the challenge makes no sense for this device at this point.
	ErrUnexpected = errors.New("unexpected reply")
	// ErrNoSolver: a custom challenge came and nobody is there to answer it.
	ErrNoSolver = errors.New("no answer to the challenge")
)

// A FlowError says that a challenge is for a secret that this device has not. It wraps
// ErrUnexpected.
type FlowError struct {
	Asks, Has string // kinds of challenges: challenge.Key, challenge.PSK
}

// Error names both.
func (e *FlowError) Error() string {
	return fmt.Sprintf("%v, of another flow: the flow of its client asks for %s, and this device has a %s", ErrUnexpected, e.Asks, e.Has)
}

// Unwrap gives ErrUnexpected.
func (e *FlowError) Unwrap() error { return ErrUnexpected }

// A Prover holds the device's secret and proves possession of it.
type Prover interface {
	// Kind is challenge.Key or challenge.PSK.
	Kind() string
	// PublicKey is the COSE_Key to enroll (RFC 9052, section 7); nil for a shared key.
	PublicKey() []byte
	// Prove signs input (ES256 as r and s of 32 bytes each, or Ed25519), or
	// computes its HMAC-SHA-256 under a shared key.
	Prove(input []byte) ([]byte, error)
}

// A Solver answers a challenge that is no proof: kind is its name, params are
// its public parameters. The answer is sent sealed to the broker.
type Solver func(ctx context.Context, kind string, params map[string]string) (answer []byte, err error)

// A Turn is a challenge that is to be answered.
type Turn struct {
	Kind   string
	Params map[string]string
	SealTo []byte // key to seal a secret answer to, vouched for; nil: there is none
	// Transcript ends with the challenge.
	Transcript protocol.Transcript
	Enrolling  bool                  // the call is an enrollment
	Token      *protocol.EnrollToken // that admits it; may be nil
}

// A Method answers challenges of one kind.
type Method interface {
	// Guessable tells that a wrong answer may be followed by another.
	Guessable() bool
	// Answer fills in what m needs beside session and opening.
	Answer(ctx context.Context, t *Turn, m *protocol.Answer) error
}

// Methods finds the method for a challenge.
type Methods struct {
	named map[string]Method
	rest  Method
}

// New gives the methods of a device with that secret. solve may be nil.
func New(own Prover, solve Solver) *Methods {
	p := possession{own}
	named := map[string]Method{challenge.Key: p, challenge.PSK: p, challenge.Enroll: newcomer{p}}
	return &Methods{named: named, rest: solver{own, solve}}
}

// For gives the method that answers challenges of a kind.
func (ms *Methods) For(kind string) Method {
	if m := ms.named[kind]; m != nil {
		return m
	}
	return ms.rest
}
