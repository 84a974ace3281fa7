package auth

import (
	"context"
	"fmt"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/protocol"
	"github.com/signetd/signet/protocol/challenge"
	"github.com/signetd/signet/protocol/ident"
	"github.com/signetd/signet/protocol/token"
)

// A Method is one kind of challenge: how it is asked, and how its answer is checked.
// Package proof has the implementations. A Method keeps nothing between the two; the
// private parameters that Ask gave come back in Check's Turn.
type Method interface {
	// Name is what flows and messages call the challenge. The method that asks all
	// custom challenges uses it for logs only.
	Name() string
	// Guessable reports whether answers can be found by trying. If so, each is counted
	// before it is checked, and the device may try again after a wrong one.
	Guessable() bool
	// Ask makes the challenge. An unknown device is asked like any other.
	Ask(ctx context.Context, t *Turn) (Params, error)
	// Check checks the answer. A wrong proof is ErrProof. A wrong guessable answer is no
	// error, but a Result that is not OK.
	Check(ctx context.Context, t *Turn, m *protocol.Answer) (Result, error)
}

// A Possession is a Method by which a device proves that it has the secret behind one
// of its authenticators. The same kind of proof also authenticates refreshes and the
// answers to other challenges, and tokens are bound to that authenticator.
type Possession interface {
	Method
	// Prover gives the authenticator of d that made proof over input; ErrProof if none
	// did. d is nil for an unknown device: then the proof is checked against a key that
	// nobody has, chosen by the claimed name, so that the refusal takes as long.
	Prover(d *broker.Device, claimed ident.Device, input, proof []byte) (*broker.Authenticator, error)
	// Confirmation is how tokens name an authenticator of d (cnf, RFC 7800).
	Confirmation(d ident.Device, prover *broker.Authenticator) (token.Confirmation, error)
}

// Params are a challenge's parameters.
type Params struct {
	Public  map[string]string
	Private map[string]string // never shown to the device; back in the Turn that checks the answer
	Meta    string            // a hook's note, kept in the challenge's result
	Seals   bool              // the answer is a secret: the device seals it to the pool's answer key
}

// A Result is the outcome of one challenge, as hooks see it.
type Result struct {
	Name string `cbor:"1,keyasint" json:"challengeName"`
	OK   bool   `cbor:"2,keyasint" json:"challengeResult"`
	Meta string `cbor:"3,keyasint,omitempty" json:"challengeMetadata,omitempty"`
	AMR  string `cbor:"4,keyasint,omitempty" json:"-"` // Authentication Method Reference (RFC 8176); "": none
	// Claims are what the method found out that later policy may need, such as a version of
	// firmware or a digest of registers: few and short, for they share MaxDetail.
	Claims map[string]string `cbor:"5,keyasint,omitempty" json:"-"`
	// Hook is the hook that asked and judged, "" if a method did. The exchange fills it in.
	Hook string `cbor:"6,keyasint,omitempty" json:"-"`

	// Prover is the authenticator whose possession the answer proves; nil: it proves none.
	Prover *broker.Authenticator `cbor:"-" json:"-"`
	// Step is the number of a code that may be used once; later codes have greater
	// numbers. 0: the answer is no such code.
	Step uint64 `cbor:"-" json:"-"`
}

// Authentication Method References (RFC 8176) of results. A method that alone has another
// one says so itself.
const (
	AMRPossession = "pop"
	AMRCustom     = "" // what a hook asks is the operator's to name
)

// ErrProof is wrapped by every refusal that must not tell a stranger what is stored: of a
// wrong proof, of an unknown device, of an enrollment by a key that nobody registered or
// by an unknown token.
var ErrProof = fmt.Errorf("proof does not fit: %w", protocol.CodeDenied)

// What the log tells apart, for an operator who is asked why; the device hears the same of all, after as long.
var (
	ErrNoDevice = fmt.Errorf("the pool has no device of that name: %w", ErrProof)
	ErrNoSecret = fmt.Errorf("the device has nothing of the kind that is to be proved: %w", ErrProof)
)

// methods finds the method of a challenge.
type methods struct {
	named       map[string]Method
	possessions []Possession // in the order in which a refresh tries them
	custom      Method       // asks all challenges of hooks; nil: none is set up
}

func newMethods(named []Method, custom Method) (methods, error) {
	ms := methods{named: make(map[string]Method, len(named)), custom: custom}
	for _, m := range named {
		if err := checkMethod(m); err != nil {
			return methods{}, err
		}
		if ms.named[m.Name()] != nil {
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

// checkMethod refuses a method that flows cannot name, and one that is not what the
// protocol says of its challenge.
func checkMethod(m Method) error {
	kind, ok := challenge.Of(m.Name())
	_, possession := m.(Possession)
	switch {
	case !ok || !kind.Step:
		return fmt.Errorf("auth: a method is called %q, which no flow can ask", m.Name())
	case possession != kind.Possession || m.Guessable() != kind.Guessable:
		return fmt.Errorf("auth: method %q: proof of possession %v, guessable %v; want %v, %v", m.Name(), possession, m.Guessable(), kind.Possession, kind.Guessable)
	}
	return nil
}

// of gives the method of a challenge; hook is the hook that asks it, or "".
func (ms *methods) of(kind, hook string) (Method, error) {
	m := ms.named[kind]
	if hook != "" {
		m = ms.custom
	}
	if m == nil {
		return nil, fmt.Errorf("challenge %q: nothing is set up to ask it: %w", kind, protocol.CodeInternal)
	}
	return m, nil
}

// possession gives the method that proves possession of authenticators of that kind.
func (ms *methods) possession(kind string) (Possession, error) {
	p, ok := ms.named[kind].(Possession)
	if !ok {
		return nil, fmt.Errorf("authenticator of kind %q proves no possession: %w", kind, protocol.CodeInternal)
	}
	return p, nil
}
