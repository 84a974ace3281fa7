package auth

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"time"

	"github.com/signetd/signet/protocol"
	"github.com/signetd/signet/protocol/detcbor"
	"github.com/signetd/signet/protocol/ident"
)

// SessionLife is how long a challenge may be answered.
const SessionLife = 3 * time.Minute

// pending is the state of an exchange that waits for an answer. It travels sealed in the
// challenge and comes back with the answer.
type pending struct {
	// These have a fixed length each, and go before the rest as they are.
	Exchange   ident.UUID          `cbor:"-"`
	Opening    [sha256.Size]byte   `cbor:"-"` // hash of the opening message, which every answer repeats
	Transcript protocol.Transcript `cbor:"-"` // up to and with the challenge that waits
	Call       protocol.CallID     `cbor:"-"`
	Issued     int64               `cbor:"-"` // Unix milliseconds

	Kind    string            `cbor:"1,keyasint"` // name of the challenge
	Results []Result          `cbor:"2,keyasint,omitempty"`
	Private map[string]string `cbor:"3,keyasint,omitempty"` // a custom challenge's private parameters
	Hook    string            `cbor:"4,keyasint,omitempty"` // the hook that asks it, even if the flow is changed meanwhile
	Prover  []byte            `cbor:"5,keyasint,omitempty"` // id of the authenticator whose possession was proved; nil: none was yet
	Meta    string            `cbor:"6,keyasint,omitempty"` // a custom challenge's metadata, for its result
	Seen    uint64            `cbor:"7,keyasint,omitempty"` // the journal's last record when the exchange began
	SeenSum uint64            `cbor:"8,keyasint,omitempty"` // what that record came to

	// From the opening message. Not sealed, because each answer repeats that message.
	request *protocol.Request
	enroll  *protocol.Enroll // nil for an authentication
}

// fixedLen is how many bytes the members take that appendFixed writes.
const fixedLen = len(ident.UUID{}) + sha256.Size + len(protocol.Transcript{}) + protocol.IDLen + 8

func (s *pending) appendFixed(b []byte) []byte {
	b = append(append(append(append(b, s.Exchange[:]...), s.Opening[:]...), s.Transcript[:]...), s.Call[:]...)
	return binary.BigEndian.AppendUint64(b, uint64(s.Issued))
}

// takeFixed reads what appendFixed wrote, and gives the rest.
func (s *pending) takeFixed(b []byte) (rest []byte, err error) {
	if len(b) < fixedLen {
		return nil, fmt.Errorf("%d bytes, at least %d", len(b), fixedLen)
	}
	for _, into := range [][]byte{s.Exchange[:], s.Opening[:], s.Transcript[:], s.Call[:]} {
		b = b[copy(into, b):]
	}
	s.Issued = int64(binary.BigEndian.Uint64(b))
	return b[8:], nil
}

// What follows the fixed members is written and read by hand: by reflection it took as long as
// the seal.

// room is about how many bytes write appends, so that few have to move.
func (s *pending) room() int {
	return 64 + len(s.Kind) + len(s.Hook) + len(s.Meta) + len(s.Prover) + pairsLen(s.Private) + 48*len(s.Results)
}

func (s *pending) write(b []byte) []byte {
	w := detcbor.BeginMap(b)
	w.Text(1, s.Kind)
	results := packHooks(s.Results)
	w.SomeMaps(2, len(results), func(i int, w *detcbor.MapWriter) {
		r := &results[i]
		w.Text(1, r.Name)
		w.Bool(2, r.OK)
		w.SomeText(3, r.Meta)
		w.SomeText(4, r.AMR)
		w.SomeTextMap(5, r.Claims)
		w.SomeText(6, r.Hook)
	})
	w.SomeTextMap(3, s.Private)
	w.SomeText(4, s.Hook)
	w.SomeBytes(5, s.Prover)
	w.SomeText(6, s.Meta)
	w.SomeUint(7, s.Seen)
	w.SomeUint(8, s.SeenSum)
	return w.Done()
}

func (s *pending) read(b []byte) error {
	r, err := detcbor.NewItems(b)
	if err != nil {
		return err
	}
	r.Each(func(key int64) {
		switch key {
		case 1:
			s.Kind = r.Text()
		case 2:
			s.Results = readResults(&r)
		case 3:
			s.Private = r.TextMap()
		case 4:
			s.Hook = r.Text()
		case 5:
			s.Prover = r.Bytes()
		case 6:
			s.Meta = r.Text()
		case 7:
			s.Seen = r.Uint()
		case 8:
			s.SeenSum = r.Uint()
		default:
			r.Fail(errUnknown)
		}
	})
	unpackHooks(s.Results)
	return r.Err()
}

var errUnknown = errors.New("no member of a session")

func readResults(r *detcbor.Items) []Result {
	all := make([]Result, r.Want(detcbor.Array))
	for i := range all {
		one := &all[i]
		r.Each(func(key int64) {
			switch key {
			case 1:
				one.Name = r.Text()
			case 2:
				one.OK = r.Bool()
			case 3:
				one.Meta = r.Text()
			case 4:
				one.AMR = r.Text()
			case 5:
				one.Claims = r.TextMap()
			case 6:
				one.Hook = r.Text()
			default:
				r.Fail(errUnknown)
			}
		})
	}
	return all
}

// takeOpening notes what the opening message says, a *Start or *Enroll.
func (s *pending) takeOpening(m protocol.Message) error {
	switch m := m.(type) {
	case *protocol.Start:
		s.request = &m.Request
	case *protocol.Enroll:
		s.request, s.enroll = &m.Request, m
	default:
		return fmt.Errorf("message type %d opens nothing: %w", m.Type(), protocol.CodeMalformed)
	}
	return nil
}

// Bounds on what a sealed session holds, chosen so that all of it together always fits
// protocol.MaxSession.
const (
	MaxPrivate = 512 // bytes of names and values of a custom challenge's private parameters, at most protocol.MaxPairs
	MaxDetail  = 224 // bytes of all results' metadata, claims and hooks: see detailLen

	maxAMR = 4 // bytes
)

// detailLen is how many bytes of MaxDetail results take. A claim takes its name and value
// and what CBOR needs for them; a hook, its name wherever packHooks does not leave it out.
func detailLen(results []Result) (n int) {
	for i := range results {
		n += len(results[i].Meta)
		if len(results[i].Claims) > 0 {
			n += pairsLen(results[i].Claims) + claimHead*len(results[i].Claims) + claimHead
		}
	}
	for _, r := range packHooks(results) {
		if r.Hook != sameName && r.Hook != sameHook {
			n += len(r.Hook)
		}
	}
	return n
}

// claimHead is how many bytes CBOR needs at most around a claim, or around the map of them.
const claimHead = 6

// What packHooks says instead of a hook's name. No hook is called so.
const (
	sameName = "=" // the hook has the challenge's name
	sameHook = "^" // the hook that judged the custom challenge before
)

// packHooks gives results, or a copy with the names of hooks left out that the others tell: of a
// flow's steps all are, of a define hook all but the first.
func packHooks(results []Result) []Result {
	if !slices.ContainsFunc(results, func(r Result) bool { return r.Hook != "" }) {
		return results
	}
	out, before := slices.Clone(results), ""
	for i := range out {
		switch hook := out[i].Hook; hook {
		case "":
		case out[i].Name:
			out[i].Hook, before = sameName, hook
		case before:
			out[i].Hook = sameHook
		default:
			before = hook
		}
	}
	return out
}

// unpackHooks undoes packHooks in place.
func unpackHooks(results []Result) {
	before := ""
	for i := range results {
		r := &results[i]
		switch r.Hook {
		case "":
			continue
		case sameName:
			r.Hook = r.Name
		case sameHook:
			r.Hook = before
		}
		before = r.Hook
	}
}

// pairsLen is the length of all names and values in bytes.
func pairsLen(m map[string]string) (n int) {
	for k, v := range m {
		n += len(k) + len(v)
	}
	return n
}

// checkFit refuses a challenge, asked by hook if that is not "", that the sealed session
// has no room for once it has its result.
func (p *Params) checkFit(results []Result, name, hook string) error {
	if len(p.Private) > protocol.MaxPairs || pairsLen(p.Private) > MaxPrivate {
		return fmt.Errorf("%d private parameters of %d bytes, at most %d of %d", len(p.Private), pairsLen(p.Private), protocol.MaxPairs, MaxPrivate)
	}
	if n := detailLen(append(slices.Clone(results), Result{Name: name, Meta: p.Meta, Hook: hook})); n > MaxDetail {
		return fmt.Errorf("details of %d bytes with the challenges before, at most %d", n, MaxDetail)
	}
	return nil
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
	hour := uint32(v.Issued / time.Hour.Milliseconds())
	a, err := s.aead(hour)
	if err != nil {
		return nil, fmt.Errorf("seal session: %w", err)
	}
	const head = hourLen + nonceLen
	out := binary.BigEndian.AppendUint32(make([]byte, 0, head+fixedLen+v.room()+a.Overhead()), hour)[:head]
	if _, err := io.ReadFull(s.random, out[hourLen:]); err != nil {
		return nil, fmt.Errorf("seal session: %w", err)
	}
	plain := v.write(v.appendFixed(out))[head:] // where its seal will be
	out = a.Seal(out, out[hourLen:], plain, out[:hourLen])
	if len(out) > protocol.MaxSession {
		return nil, fmt.Errorf("session of %d bytes, at most %d: %w", len(out), protocol.MaxSession, protocol.CodeTooLarge)
	}
	return out, nil
}

// open refuses every session that this cluster did not seal, and one that was sealed
// longer than SessionLife ago.
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
	rest, err := v.takeFixed(plain)
	if err == nil {
		err = v.read(rest)
	}
	if err != nil {
		return nil, fmt.Errorf("open session: %w", err)
	}
	if age := now.Sub(time.UnixMilli(v.Issued)); age > SessionLife || age < -SessionLife {
		return nil, fmt.Errorf("session is %v old: %w", age, protocol.CodeExpired)
	}
	return &v, nil
}
