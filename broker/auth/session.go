package auth

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/signetd/signet/protocol"
	"github.com/signetd/signet/protocol/detcbor"
	"github.com/signetd/signet/protocol/ident"
)

// SessionLife is how long a challenge may be answered.
const SessionLife = 3 * time.Minute

// pending is what must survive between a challenge and its answer.
type pending struct {
	Exchange   ident.UUID          `cbor:"1,keyasint"`
	Wish       protocol.Request    `cbor:"2,keyasint"`
	Transcript protocol.Transcript `cbor:"3,keyasint"` // up to and with the challenge
	Issued     int64               `cbor:"4,keyasint"` // Unix milliseconds
	Kind       string              `cbor:"5,keyasint"` // of the challenge
	Results    []Result            `cbor:"6,keyasint,omitempty"`
	Private    map[string]string   `cbor:"7,keyasint,omitempty"` // a custom challenge's private parameters
	Enrol      *enrolling          `cbor:"8,keyasint,omitempty"`
	Prover     []byte              `cbor:"9,keyasint,omitempty"` // the authenticator that proved the device, once one did
	Call       protocol.CallID     `cbor:"10,keyasint"`
	Meta       string              `cbor:"11,keyasint,omitempty"` // a custom challenge's metadata, for its result
}

// enrolling is what an enrolment brings along.
type enrolling struct {
	Key        []byte            `cbor:"1,keyasint"`
	TokenID    []byte            `cbor:"2,keyasint,omitempty"`
	Attributes map[string]string `cbor:"3,keyasint,omitempty"`
}

// A Result is the outcome of one challenge, as hooks see it.
type Result struct {
	Name string `cbor:"1,keyasint" json:"challengeName"`
	OK   bool   `cbor:"2,keyasint" json:"challengeResult"`
	Meta string `cbor:"3,keyasint,omitempty" json:"challengeMetadata,omitempty"`
}

// sealer seals sessions under a key that changes every hour, derived from the
// cluster's secret: replicas agree without talking, and no key seals more than an
// hour's sessions, far below AES-GCM's limit for random nonces.
type sealer struct {
	secret []byte
	random io.Reader

	mu    sync.Mutex // guards hours
	hours map[uint32]cipher.AEAD
}

const (
	hourLen  = 4
	nonceLen = 12
)

func newSealer(secret []byte, random io.Reader) *sealer {
	return &sealer{secret: secret, random: random, hours: make(map[uint32]cipher.AEAD)}
}

func (s *sealer) aead(hour uint32) (cipher.AEAD, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if a, ok := s.hours[hour]; ok {
		return a, nil
	}
	key, err := hkdf.Key(sha256.New, s.secret, nil, fmt.Sprintf("signet session v1 %d", hour), 32)
	if err != nil {
		return nil, err
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, err
	}
	a, err := cipher.NewGCM(block)
	if err != nil {
		return nil, err
	}
	clear(s.hours)
	s.hours[hour] = a
	return a, nil
}

func (s *sealer) seal(v *pending) ([]byte, error) {
	plain, err := detcbor.Marshal(v)
	if err != nil {
		return nil, err
	}
	hour := uint32(v.Issued / time.Hour.Milliseconds())
	a, err := s.aead(hour)
	if err != nil {
		return nil, fmt.Errorf("seal session: %w", err)
	}
	out := binary.BigEndian.AppendUint32(make([]byte, 0, hourLen+nonceLen+len(plain)+a.Overhead()), hour)
	out = out[:hourLen+nonceLen]
	if _, err := io.ReadFull(s.random, out[hourLen:]); err != nil {
		return nil, fmt.Errorf("seal session: %w", err)
	}
	out = a.Seal(out, out[hourLen:], plain, out[:hourLen])
	if len(out) > protocol.MaxSession {
		return nil, fmt.Errorf("session of %d bytes, at most %d: %w", len(out), protocol.MaxSession, protocol.CodeTooLarge)
	}
	return out, nil
}

// open refuses every session that is not ours or not of the last SessionLife.
func (s *sealer) open(b []byte, now time.Time) (*pending, error) {
	if len(b) < hourLen+nonceLen {
		return nil, fmt.Errorf("session cut short: %w", protocol.CodeDenied)
	}
	hour := binary.BigEndian.Uint32(b)
	// No key is derived for an hour that could not be answered anyway.
	if at := uint32(now.UnixMilli() / time.Hour.Milliseconds()); hour+1 < at || hour > at+1 {
		return nil, fmt.Errorf("session of another hour: %w", protocol.CodeExpired)
	}
	a, err := s.aead(hour)
	if err != nil {
		return nil, fmt.Errorf("open session: %w", err)
	}
	plain, err := a.Open(nil, b[hourLen:hourLen+nonceLen], b[hourLen+nonceLen:], b[:hourLen])
	if err != nil {
		return nil, fmt.Errorf("session is not ours or was changed: %w", protocol.CodeDenied)
	}
	var v pending
	if err := detcbor.Unmarshal(plain, &v); err != nil {
		return nil, fmt.Errorf("open session: %w", err)
	}
	if age := now.Sub(time.UnixMilli(v.Issued)); age > SessionLife || age < -SessionLife {
		return nil, fmt.Errorf("session is %v old: %w", age, protocol.CodeExpired)
	}
	return &v, nil
}
