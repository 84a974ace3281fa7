package auth

import (
	"context"
	"fmt"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/protocol"
	"github.com/signetd/signet/protocol/ident"
	"github.com/signetd/signet/protocol/token"
)

// A Method is one kind of challenge: how it is asked, and how its answer is checked.
// Package proof has them. A Method keeps nothing between the two; what it asked for
// in private comes back with the Turn.
type Method interface {
	// Name is the flow's step and the challenge's kind on the wire. Of the method that
	// asks all custom challenges it is a word for logs.
	Name() string
	// Guessable tells that answers can be found by trying: each is counted before it
	// is looked at, and a wrong one may be followed by another.
	Guessable() bool
	// Ask makes the challenge. A device that is not there is asked like any other.
	Ask(ctx context.Context, t *Turn) (Params, error)
	// Check judges the answer. A proof that does not fit is ErrProof; a guessable
	// answer that is wrong is no error, but a Result that is not OK.
	Check(ctx context.Context, t *Turn, m *protocol.Answer) (Result, error)
}

// A Possession is a Method by which a device proves that it has the secret behind one
// of its authenticators. Such a proof also carries refreshes and the device's other
// answers, and tokens are bound to it.
type Possession interface {
	Method
	// Prover gives the authenticator of d's that proof over input is by. d is nil for
	// an unknown device: the proof is checked against a key that nobody has, which
	// depends on the name that is claimed, and refused like a wrong one: ErrProof.
	Prover(d *broker.Device, claimed ident.Device, input, proof []byte) (*broker.Authenticator, error)
	// Confirmation is what tokens name an authenticator of d's by.
	Confirmation(d ident.Device, by *broker.Authenticator) (token.Confirmation, error)
}

// Params are a challenge's parameters.
type Params struct {
	Public  map[string]string
	Private map[string]string // come back in the Turn that checks the answer
	Meta    string            // goes into the challenge's result
	Seals   bool              // the answer is a secret and comes sealed to the pool's answer key
}

// A Result is the outcome of one challenge, as hooks see it.
type Result struct {
	Name string `cbor:"1,keyasint" json:"challengeName"`
	OK   bool   `cbor:"2,keyasint" json:"challengeResult"`
	Meta string `cbor:"3,keyasint,omitempty" json:"challengeMetadata,omitempty"`
	AMR  string `cbor:"4,keyasint,omitempty" json:"-"` // how it was shown, an Authentication Method Reference (RFC 8176)

	// By is the device's authenticator that the answer proves, of a Possession.
	By *broker.Authenticator `cbor:"-" json:"-"`
	// Step numbers a code that is good once: later ones have greater numbers. 0: none.
	Step uint64 `cbor:"-" json:"-"`
}

// Authentication Method References (RFC 8176) of results.
const (
	AMRPossession = "pop"
	AMRCode       = "otp"
	AMRCustom     = "" // what a hook asks is the operator's to name
)

// ErrProof is wrapped by the one answer to a wrong proof and to an unknown device,
// to an enrolment by a key that nobody registered, and by a token that nobody has.
var ErrProof = fmt.Errorf("proof does not fit: %w", protocol.CodeDenied)

// methods are those that flows may name, and the one for custom challenges.
type methods struct {
	named       map[string]Method
	possessions []Possession // in the order in which a refresh tries them
	custom      Method       // nil: none is set up
}

func newMethods(named []Method, custom Method) (methods, error) {
	ms := methods{named: make(map[string]Method, len(named)), custom: custom}
	for _, m := range named {
		if ms.named[m.Name()] != nil || m.Name() == protocol.KindEnrol {
			return methods{}, fmt.Errorf("auth: two methods are called %q", m.Name())
		}
		ms.named[m.Name()] = m
		if p, ok := m.(Possession); ok {
			ms.possessions = append(ms.possessions, p)
		}
	}
	if len(ms.possessions) == 0 {
		return methods{}, fmt.Errorf("auth: no method proves possession of a device's key")
	}
	return ms, nil
}

// of gives the method of a challenge: hook is the one that asks it, "" if none does.
func (ms *methods) of(challenge, hook string) (Method, error) {
	m := ms.named[challenge]
	if hook != "" {
		m = ms.custom
	}
	if m == nil {
		return nil, fmt.Errorf("challenge %q: nothing is set up to ask it: %w", challenge, protocol.CodeInternal)
	}
	return m, nil
}

// possession gives the method that proves authenticators of that kind.
func (ms *methods) possession(kind string) (Possession, error) {
	p, ok := ms.named[kind].(Possession)
	if !ok {
		return nil, fmt.Errorf("authenticator of kind %q proves no possession: %w", kind, protocol.CodeInternal)
	}
	return p, nil
}
