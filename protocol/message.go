package protocol

import (
	"fmt"

	"github.com/signetd/signet/protocol/ident"
)

// Version is the protocol version this package speaks, and the only one so far.
const Version = 1

// Limits, chosen so that a message fits one small MQTT packet. Bytes unless said.
const (
	MaxMessage  = 8 << 10
	MaxEnroll   = 16 << 10
	MaxAnswer   = 16 << 10 // the opening that it repeats included
	MaxOpening  = 8 << 10  // of what answers repeat of the opening message
	MaxSession  = 1536     // 2,048 characters of base64url
	NonceLen    = 16       // the device's
	ServerNonce = 32
	IDLen       = 16
	ChannelLen  = 32
	MaxNewer    = 4 << 10 // of a key statement that a device shows
)

// Limits on texts by name: metadata, attributes, and a challenge's parameters. Whoever
// makes some keeps them, because the other end refuses more.
const (
	MaxPairs     = 16
	MaxPairName  = 64   // bytes, and at least 1
	MaxPairValue = 1024 // bytes
)

// Type numbers a message. Numbers are frozen.
type Type uint64

// The messages.
const (
	TypeStart     Type = 1
	TypeChallenge Type = 2
	TypeAnswer    Type = 3
	TypeGrant     Type = 4
	TypeRefusal   Type = 5
	TypeRefresh   Type = 6
	TypeEnroll    Type = 7
	TypeEvent     Type = 8
)

// Format is the form of the access token a device asks for.
type Format uint8

// The formats. The ID token that the device checks is always a CWT; with FormatJWT
// there is one in JWT form beside it.
const (
	FormatCWT Format = 0
	FormatJWT Format = 1
)

// CallID is the device's name for one logical call, the same on every retry.
type CallID [IDLen]byte

// Want is what a device asks for.
type Want uint8

// What there is to want. An MQTT password comes in the access token's place, in the
// form that Format says; its audience is the issuer's MQTT server.
const (
	WantAccess       Want = 0
	WantMQTTPassword Want = 1
)

// A Message is one of *Start, *Challenge, *Answer, *Grant, *Refusal, *Refresh, *Enroll, *Event.
type Message interface {
	// Type tells which.
	Type() Type
	// Call is the logical call it belongs to.
	Call() CallID
	// Bytes is the message as it was received or encoded, nil before that.
	Bytes() []byte

	header() *Head
}

// Head is the three fields that every message begins with. Encode fills in the
// first two.
type Head struct {
	Version uint64 `cbor:"0,keyasint"`
	Kind    Type   `cbor:"1,keyasint"`
	ID      CallID `cbor:"2,keyasint"` // of the call, on both sides' messages

	raw []byte
}

// Type tells which message it is.
func (h *Head) Type() Type { return h.Kind }

// Call is the logical call the message belongs to.
func (h *Head) Call() CallID { return h.ID }

// Bytes is the message as received or encoded.
func (h *Head) Bytes() []byte { return h.raw }

func (h *Head) header() *Head { return h }

// Request is what a device says of itself and asks for, in start, enroll and refresh.
type Request struct {
	Pool      ident.Pool        `cbor:"3,keyasint"`
	Name      ident.Name        `cbor:"4,keyasint"`
	Client    string            `cbor:"5,keyasint,omitempty"`  // which of the pool's clients; none: the default one
	Nonce     []byte            `cbor:"6,keyasint"`            // NonceLen random bytes, which the ID token repeats
	SealTo    []byte            `cbor:"7,keyasint,omitempty"`  // X25519 key, fresh for this call, that the grant is sealed to
	Format    Format            `cbor:"8,keyasint,omitempty"`  // of the access token
	Audience  string            `cbor:"9,keyasint,omitempty"`  // whom the access token is for; none: the pool
	Scope     string            `cbor:"10,keyasint,omitempty"` // what it is to allow; no client has scopes yet, so any is refused
	Metadata  map[string]string `cbor:"11,keyasint,omitempty"` // for hooks, at most MaxPairs
	Statement []byte            `cbor:"12,keyasint,omitempty"` // StatementID of the key statement that the device has
	Newer     []byte            `cbor:"18,keyasint,omitempty"` // key statement that the device has, if the last grant came with an older one; at most MaxNewer
	Channel   []byte            `cbor:"16,keyasint,omitempty"` // name of the TLS connection that this is said on (package channel)
	Want      Want              `cbor:"17,keyasint,omitempty"` // what the grant is to bring
	Last      []byte            `cbor:"19,keyasint,omitempty"` // id of the session that the device had last, if it had any; not in a refresh
}

// Device is the full name that the message claims; the proof binds it.
func (w *Request) Device() ident.Device { return ident.Device{Pool: w.Pool, Name: w.Name} }

// LastSession is the session that the device had last, zero if it names none.
func (w *Request) LastSession() (id ident.UUID) {
	copy(id[:], w.Last)
	return id
}

// Start opens an authentication.
type Start struct {
	Head
	Request
}

// Enroll opens an enrollment: an authentication that brings its own key.
type Enroll struct {
	Head
	Request
	Key        []byte            `cbor:"13,keyasint"`           // the device's public key, a COSE_Key
	TokenID    []byte            `cbor:"14,keyasint,omitempty"` // of the enrollment token; none if an operator registered the key
	Attributes map[string]string `cbor:"15,keyasint,omitempty"` // what the device states of itself
}

// Challenge asks for a proof or an answer. Body is kept encoded, because the
// transcript covers its bytes as they came.
type Challenge struct {
	Head
	Session []byte `cbor:"3,keyasint"` // the broker's own, sealed; the answer gives it back
	Body    []byte `cbor:"4,keyasint"` // a ChallengeBody
}

// ChallengeBody is what a challenge asks.
type ChallengeBody struct {
	Kind     string            `cbor:"1,keyasint"`           // challenge.Key, challenge.PSK, challenge.Enroll or a custom challenge's name
	Nonce    []byte            `cbor:"2,keyasint"`           // ServerNonce random bytes
	Issuer   string            `cbor:"3,keyasint"`           // the pool's URL, as tokens name it
	Params   map[string]string `cbor:"4,keyasint,omitempty"` // what a custom challenge tells
	SealTo   []byte            `cbor:"5,keyasint,omitempty"` // X25519 key to seal the answer to a custom one to
	PoolKeys                   // that vouch for SealTo, come with it only
}

// PoolKeys are what a device needs in order to know a pool's keys: all that it lacks of
// it, as its request says. Whether it believes them is for its pin to tell.
type PoolKeys struct {
	Statement []byte `cbor:"11,keyasint,omitempty"` // key statement (DecodeStatement), if the device does not have it
	Anchor    []byte `cbor:"12,keyasint,omitempty"` // COSE_Key that signed it; believed if it fits the device's pin
	// Successions lead from the pool's earlier anchors to the one that signed Statement, which they come with.
	Successions []Succession `cbor:"14,keyasint,omitempty"`
}

func (k *PoolKeys) check() error {
	if len(k.Successions) > MaxSuccessions {
		return fmt.Errorf("%d successions of anchors, at most %d", len(k.Successions), MaxSuccessions)
	}
	return nil
}

// Answer answers a challenge. It repeats the call's opening message, so that a
// broker keeps nothing between two messages and the session stays small: that has the
// opening's hash only.
type Answer struct {
	Head
	Session    []byte `cbor:"3,keyasint"`           // as it came
	Proof      []byte `cbor:"4,keyasint,omitempty"` // signature or HMAC of ProofInput, by the device's key
	Secret     []byte `cbor:"5,keyasint,omitempty"` // sealed answer to a custom challenge (SealAnswer)
	TokenProof []byte `cbor:"6,keyasint,omitempty"` // in an enrollment: signature by the enrollment token's key
	Opening    []byte `cbor:"7,keyasint"`           // what Repeated gave of it

	opened Message
}

// Opened is the opening message that the answer repeats, a *Start or *Enroll. It is
// nil unless Decode made the answer.
func (m *Answer) Opened() Message { return m.opened }

// Repeated is the form in which a call's answers repeat the opening message m, a
// *Start or *Enroll that was encoded or received: so far all of it. A member that is
// judged when the call opens and never again, as a certificate chain will be, is left
// out of it, and for its sake an enroll may be longer. The error is CodeTooLarge.
func Repeated(m Message) ([]byte, error) {
	if n := len(m.Bytes()); n > MaxOpening {
		return nil, fmt.Errorf("opening message of %d bytes to repeat, at most %d: %w", n, MaxOpening, CodeTooLarge)
	}
	return m.Bytes(), nil
}

// Refresh asks for new tokens for a session, in one round trip.
type Refresh struct {
	Head
	Body  []byte `cbor:"3,keyasint"` // a RefreshBody
	Proof []byte `cbor:"4,keyasint"` // of the device's key, over what is said so far, for PurposeRefresh
}

// RefreshBody is what the proof of a Refresh covers.
type RefreshBody struct {
	Request
	Session ident.UUID `cbor:"13,keyasint"` // to be continued
	Handle  []byte     `cbor:"14,keyasint"` // SHA-256 of the refresh token
}

// Grant carries a GrantBody, sealed to the device or, where both ends know that
// TLS ends in the broker, open.
type Grant struct {
	Head
	Sealed []byte `cbor:"3,keyasint,omitempty"`
	Open   []byte `cbor:"4,keyasint,omitempty"`
}

// GrantBody is what an authenticated device gets. Lives are in seconds and count
// from arrival: a device needs no clock to use them.
type GrantBody struct {
	Access    []byte     `cbor:"1,keyasint"`           // access token, or the MQTT password that was asked for: a CWT, or a JWT's text
	ID        []byte     `cbor:"2,keyasint"`           // ID token, always a CWT: by it the device knows the broker
	Refresh   []byte     `cbor:"3,keyasint,omitempty"` // refresh token, 32 random bytes; the broker keeps its hash only
	Session   ident.UUID `cbor:"4,keyasint"`           // that the refresh token continues
	Life      uint32     `cbor:"5,keyasint"`           // of what Access is
	Refreshes uint32     `cbor:"6,keyasint,omitempty"` // life of the refresh token
	Subject   ident.UUID `cbor:"7,keyasint"`           // the device's own id, which never changes
	Issuer    string     `cbor:"8,keyasint"`           // the pool's URL
	Publish   []string   `cbor:"9,keyasint"`           // MQTT filters that the device may publish to
	Subscribe []string   `cbor:"10,keyasint"`          // and subscribe
	PoolKeys
	IDJWT []byte `cbor:"13,keyasint,omitempty"` // the ID token again, for others, when the access token is a JWT
	// Direct: the broker heard the device on the connection that it named in Channel, and
	// the connection is the device's now. False when somebody passes its messages on.
	Direct bool `cbor:"15,keyasint,omitempty"`
}

// Refusal says no, with a code; the reason stays in the broker's log.
type Refusal struct {
	Head
	Problem Problem `cbor:"3,keyasint"`
}

// Problem is a concise problem detail (RFC 9290).
type Problem struct {
	Title  string        `cbor:"-1,keyasint,omitempty"`
	Detail string        `cbor:"-2,keyasint,omitempty"`
	Code   uint8         `cbor:"-4,keyasint,omitempty"` // a CoAP response code
	Signet ProblemDetail `cbor:"60001,keyasint"`
}

// ProblemDetail is Signet's own entry of a problem.
type ProblemDetail struct {
	Code       Code   `cbor:"0,keyasint"`
	RetryAfter uint32 `cbor:"1,keyasint,omitempty"` // seconds to wait; 0: as the device likes
	TriesLeft  uint8  `cbor:"2,keyasint,omitempty"` // how often the same challenge may be answered again
	Versions   []uint `cbor:"3,keyasint,omitempty"` // of the protocol that the broker speaks, with CodeVersion
}

// Event is pushed to a connected device. It is a hint, never proof.
type Event struct {
	Head
	Name string `cbor:"3,keyasint"`
}

// The events.
const (
	EventDisabled = "disabled"
	EventRenew    = "reauthenticate"
)
