package protocol

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"time"

	"github.com/signetd/signet/protocol/detcbor"
	"github.com/signetd/signet/protocol/token"
)

// StatementIDLen is the length of a key statement's id, in bytes.
const StatementIDLen = 8

// A Statement is a pool's word about its own keys (signet.cddl, key-statement). The
// pool's anchor signs it, and a device that knows the anchor believes it.
type Statement struct {
	Issuer string       // the pool's, as tokens name it
	Keys   []*token.Key // what tokens are signed with, now and soon
	SealTo []byte       // X25519 key that answers to custom challenges are sealed to
	Issued time.Time    // when what it says last changed, in whole milliseconds
	Epoch  uint64       // which life of the pool's store it is of: raised when an older copy of the store is put back
}

// Before reports whether s is older than o. The epoch decides before the time: a store
// that was put back knows nothing of what was signed after its copy was taken.
func (s *Statement) Before(o *Statement) bool {
	if s.Epoch != o.Epoch {
		return s.Epoch < o.Epoch
	}
	return s.Issued.Before(o.Issued)
}

// statementMap is a Statement on the wire. Later versions may add members.
type statementMap struct {
	Issuer string             `cbor:"1,keyasint"`
	Keys   detcbor.RawMessage `cbor:"2,keyasint"` // COSE_KeySet
	SealTo []byte             `cbor:"3,keyasint"`
	Issued int64              `cbor:"4,keyasint"` // Unix milliseconds
	Epoch  uint64             `cbor:"5,keyasint,omitempty"`
}

func (s *statementMap) check() error {
	switch {
	case s.Issuer == "":
		return fmt.Errorf("key statement without issuer")
	case len(s.SealTo) != 32:
		return fmt.Errorf("key statement: X25519 key of %d bytes, want 32", len(s.SealTo))
	case s.Issued <= 0:
		return fmt.Errorf("key statement does not say of when it is")
	}
	return nil
}

// EncodeStatement signs s with the pool's anchor and gives the COSE_Sign1.
func EncodeStatement(s *Statement, anchor *token.Signer) ([]byte, error) {
	keys := make([]detcbor.RawMessage, 0, len(s.Keys))
	for _, k := range s.Keys {
		keys = append(keys, k.MarshalCOSE())
	}
	set, err := detcbor.Marshal(keys)
	if err != nil {
		return nil, fmt.Errorf("encode key statement: %w", err)
	}
	m := statementMap{Issuer: s.Issuer, Keys: set, SealTo: s.SealTo, Issued: s.Issued.UnixMilli(), Epoch: s.Epoch}
	if err := m.check(); err != nil {
		return nil, err
	}
	payload, err := detcbor.Marshal(m)
	if err != nil {
		return nil, fmt.Errorf("encode key statement: %w", err)
	}
	raw, err := token.Sign1(token.KeyStatement, payload, nil, anchor)
	if err != nil {
		return nil, fmt.Errorf("sign key statement: %w", err)
	}
	return raw, nil
}

// DecodeStatement reads a key statement once anchor's signature of it is verified.
// Whether anchor is the right one is for the caller to know. Errors wrap those of
// token.OpenSign1 and token.ErrKey.
func DecodeStatement(raw []byte, anchor *token.Key) (*Statement, error) {
	payload, err := token.OpenSign1(raw, token.KeyStatement, anchor, nil)
	if err != nil {
		return nil, fmt.Errorf("key statement: %w", err)
	}
	var m statementMap
	if err := unmarshal(payload, shapes.statement, &m); err != nil {
		return nil, fmt.Errorf("key statement: %w", err)
	}
	if err := m.check(); err != nil {
		return nil, err
	}
	keys, err := token.ParseCOSEKeySet(m.Keys)
	if err != nil {
		return nil, fmt.Errorf("key statement: %w", err)
	}
	return &Statement{Issuer: m.Issuer, Keys: keys, SealTo: m.SealTo, Issued: time.UnixMilli(m.Issued), Epoch: m.Epoch}, nil
}

// StatementID names an encoded statement: a device that has it says so in its
// request, and is not sent it again.
func StatementID(raw []byte) []byte {
	sum := sha256.Sum256(raw)
	return sum[:StatementIDLen]
}

// Key gives the key that kid names in a CWT. It is a token.Lookup.
func (s *Statement) Key(kid []byte) (*token.Key, error) {
	for _, k := range s.Keys {
		if bytes.Equal(k.COSEKID(), kid) {
			return k, nil
		}
	}
	return nil, fmt.Errorf("%w: the key statement does not have it", token.ErrUnknownKey)
}
