package protocol

import (
	"encoding/binary"
	"errors"
	"fmt"
	"unicode/utf8"

	"github.com/signetd/signet/protocol/detcbor"
	"github.com/signetd/signet/protocol/ident"
)

// A DecodeError says what is wrong with received bytes. ID is the call to refuse,
// zero when the bytes do not tell it: then there is nobody to answer.
type DecodeError struct {
	ID   CallID
	Code Code
	Err  error
}

func (e *DecodeError) Error() string { return "decode message: " + e.Err.Error() }

// Unwrap gives the cause.
func (e *DecodeError) Unwrap() error { return e.Err }

// Encode gives m's bytes and remembers them in m. It fills in version and type.
func Encode(m Message) ([]byte, error) {
	h := m.header()
	h.Version, h.Kind = Version, typeOf(m)
	b, err := bytesOf(m)
	if err != nil {
		return nil, err
	}
	if limit := limitOf(h.Kind); len(b) > limit {
		return nil, fmt.Errorf("encode message: %d bytes, at most %d", len(b), limit)
	}
	h.raw = b
	return b, nil
}

func bytesOf(m Message) ([]byte, error) {
	if own, ok := m.(writer); ok {
		return written(own), nil
	}
	return detcbor.Marshal(m)
}

func typeOf(m Message) Type {
	switch m.(type) {
	case *Start:
		return TypeStart
	case *Challenge:
		return TypeChallenge
	case *Answer:
		return TypeAnswer
	case *Grant:
		return TypeGrant
	case *Refusal:
		return TypeRefusal
	case *Refresh:
		return TypeRefresh
	case *Enroll:
		return TypeEnroll
	case *Event:
		return TypeEvent
	}
	return 0
}

func newMessage(t Type) Message {
	switch t {
	case TypeStart:
		return new(Start)
	case TypeChallenge:
		return new(Challenge)
	case TypeAnswer:
		return new(Answer)
	case TypeGrant:
		return new(Grant)
	case TypeRefusal:
		return new(Refusal)
	case TypeRefresh:
		return new(Refresh)
	case TypeEnroll:
		return new(Enroll)
	case TypeEvent:
		return new(Event)
	}
	return nil
}

func limitOf(t Type) int {
	switch t {
	case TypeEnroll:
		return MaxEnroll
	case TypeAnswer:
		return MaxAnswer
	}
	return MaxMessage
}

// Decode reads one message, strictly: deterministic, within its limits, every
// required field there, no unknown critical field. Errors are *DecodeError.
func Decode(data []byte) (Message, error) {
	if most := max(MaxEnroll, MaxAnswer); len(data) > most {
		return nil, &DecodeError{Code: CodeTooLarge, Err: fmt.Errorf("%d bytes, at most %d", len(data), most)}
	}
	r, err := detcbor.NewReader(data)
	if err != nil {
		return nil, &DecodeError{Code: CodeMalformed, Err: err}
	}
	h, err := readEnvelope(r)
	if err != nil {
		return nil, &DecodeError{Code: CodeMalformed, Err: err}
	}
	m, err := decodeBody(r, len(data), h)
	if err != nil {
		var d *DecodeError
		if errors.As(err, &d) {
			d.ID = h.id
			return nil, d
		}
		return nil, &DecodeError{ID: h.id, Code: CodeMalformed, Err: err}
	}
	m.header().raw = data
	return m, nil
}

// CallOf gives the call that an encoded message belongs to, and nothing else of it:
// enough to hand the message to whoever waits for that call.
func CallOf(data []byte) (CallID, error) {
	if most := max(MaxEnroll, MaxAnswer); len(data) > most {
		return CallID{}, fmt.Errorf("message of %d bytes, at most %d", len(data), most)
	}
	r, err := detcbor.NewReader(data)
	if err != nil {
		return CallID{}, err
	}
	h, err := readEnvelope(r)
	return h.id, err
}

// envelope is a Head of which only the call must be there: with it, whatever else
// is wrong can be answered.
type envelope struct {
	version  uint64
	kind     Type
	id       CallID
	critical bool // a key of the message is negative, or no integer: not ours to pass over
}

func readEnvelope(r detcbor.Reader) (h envelope, err error) {
	major, n := r.Head()
	if major != detcbor.Map {
		return h, errors.New("a message is a map")
	}
	known := false
	for range n {
		major, key := r.Head()
		switch {
		case major != detcbor.Uint:
			h.critical = true
			if major == detcbor.Bytes || major == detcbor.Text {
				r.Take(key)
			}
			r.Skip()
		case key > 2:
			r.Skip()
		case key == 2:
			major, size := r.Head()
			if major != detcbor.Bytes || size != uint64(len(h.id)) {
				return envelope{}, fmt.Errorf("call id: want %d bytes", len(h.id))
			}
			h.id, known = CallID(r.Take(size)), true
		default:
			major, value := r.Head()
			if major != detcbor.Uint {
				return envelope{}, errors.New("version and type are unsigned integers")
			}
			if key == 0 {
				h.version = value
			} else {
				h.kind = Type(value)
			}
		}
	}
	if !known {
		return envelope{}, errors.New("message without call id")
	}
	return h, nil
}

func decodeBody(r detcbor.Reader, size int, h envelope) (Message, error) {
	if h.version != Version {
		return nil, &DecodeError{Code: CodeVersion, Err: fmt.Errorf("version %d, only %d is supported", h.version, Version)}
	}
	m := newMessage(h.kind)
	if m == nil {
		return nil, fmt.Errorf("unknown message type %d", h.kind)
	}
	if limit := limitOf(h.kind); size > limit {
		return nil, &DecodeError{Code: CodeTooLarge, Err: fmt.Errorf("%d bytes, at most %d", size, limit)}
	}
	if h.critical {
		return nil, &DecodeError{Code: CodeCritical, Err: errors.New("a negative key is critical and this version knows none")}
	}
	if err := shapes.of[h.kind].Check(r); err != nil {
		return nil, err
	}
	var err error
	if own, ok := m.(reader); ok {
		err = own.read(r)
	} else {
		err = r.UnmarshalExtensible(m)
	}
	if err != nil {
		return nil, err
	}
	return m, check(m)
}

// shapes is what the library's decoder does not look at: which fields must be
// there, and that each is what it should be and not null.
var shapes = struct {
	challenge, refresh, grant, statement, succession, connect *detcbor.Shape
	of                                                        map[Type]*detcbor.Shape
}{
	challenge:  detcbor.ShapeOf(ChallengeBody{}),
	refresh:    detcbor.ShapeOf(RefreshBody{}),
	grant:      detcbor.ShapeOf(GrantBody{}),
	statement:  detcbor.ShapeOf(statementMap{}),
	succession: detcbor.ShapeOf(successionMap{}),
	connect:    detcbor.ShapeOf(ConnectProof{}),
	of: map[Type]*detcbor.Shape{
		TypeStart: detcbor.ShapeOf(Start{}), TypeChallenge: detcbor.ShapeOf(Challenge{}), TypeAnswer: detcbor.ShapeOf(Answer{}),
		TypeGrant: detcbor.ShapeOf(Grant{}), TypeRefusal: detcbor.ShapeOf(Refusal{}), TypeRefresh: detcbor.ShapeOf(Refresh{}),
		TypeEnroll: detcbor.ShapeOf(Enroll{}), TypeEvent: detcbor.ShapeOf(Event{}),
	},
}

// unmarshal is for maps inside of messages, which are sealed or signed by themselves.
func unmarshal(data []byte, shape *detcbor.Shape, v any) error {
	r, err := detcbor.NewReader(data)
	if err != nil {
		return err
	}
	return fill(v, r, shape)
}

// fill decodes r's item into v.
func fill(v any, r detcbor.Reader, shape *detcbor.Shape) error {
	if err := shape.Check(r); err != nil {
		return err
	}
	return r.UnmarshalExtensible(v)
}

func check(m Message) error {
	switch m := m.(type) {
	case *Start:
		return m.Request.check()
	case *Enroll:
		return m.check()
	case *Challenge:
		if len(m.Session) == 0 || len(m.Session) > MaxSession {
			return fmt.Errorf("session of %d bytes, want 1 to %d", len(m.Session), MaxSession)
		}
	case *Answer:
		return m.check()
	case *Grant:
		if (m.Sealed == nil) == (m.Open == nil) {
			return errors.New("a grant is either sealed or open")
		}
	case *Refresh:
		if len(m.Proof) == 0 {
			return errors.New("refresh without proof")
		}
	}
	return nil
}

// check reads the opening message, too.
func (m *Answer) check() error {
	switch {
	case len(m.Session) == 0 || len(m.Session) > MaxSession:
		return fmt.Errorf("session of %d bytes, want 1 to %d", len(m.Session), MaxSession)
	case m.Proof == nil && m.Secret == nil:
		return errors.New("answer has neither proof nor secret")
	case len(m.Opening) > MaxOpening:
		return fmt.Errorf("opening of %d bytes, at most %d", len(m.Opening), MaxOpening)
	case typeIn(m.Opening) != TypeStart && typeIn(m.Opening) != TypeEnroll: // no answer holds another answer
		return errors.New("answer repeats something else than an opening message")
	}
	opening, err := Decode(m.Opening)
	if err != nil {
		return fmt.Errorf("repeated opening: %w", err)
	}
	if opening.Call() != m.ID {
		return errors.New("answer repeats the opening message of another call")
	}
	m.opened = opening
	return nil
}

// typeIn gives the type that an encoded message begins with, 0 if it cannot: in
// deterministic CBOR keys 0 and 1 are a map's first.
func typeIn(raw []byte) Type {
	if len(raw) < 5 || raw[1] != 0 || raw[2] != Version || raw[3] != 1 || raw[4] > 23 {
		return 0
	}
	return Type(raw[4])
}

func (e *Enroll) check() error {
	if len(e.Key) == 0 {
		return errors.New("enroll without key")
	}
	if e.TokenID != nil && len(e.TokenID) != TokenIDLen {
		return fmt.Errorf("enrollment token id of %d bytes, want %d", len(e.TokenID), TokenIDLen)
	}
	if err := checkPairs("attributes", e.Attributes); err != nil {
		return err
	}
	return e.Request.check()
}

func (w *Request) check() error {
	switch {
	case w.Pool.IsZero() || w.Name.IsZero():
		return errors.New("pool and name are required")
	case len(w.Nonce) != NonceLen:
		return fmt.Errorf("nonce of %d bytes, want %d", len(w.Nonce), NonceLen)
	case w.SealTo != nil && len(w.SealTo) != 32:
		return fmt.Errorf("X25519 key of %d bytes, want 32", len(w.SealTo))
	case w.Format > FormatJWT:
		return fmt.Errorf("unknown token format %d", w.Format)
	case w.Want > WantMQTTPassword:
		return fmt.Errorf("asks for %d, which nobody knows", w.Want)
	case w.Want == WantMQTTPassword && w.Audience != "":
		return errors.New("an MQTT password has an audience of its own")
	case len(w.Client) > 64, len(w.Audience) > ident.MaxAudience, len(w.Scope) > 1024:
		return errors.New("client, audience or scope is too long")
	case w.Statement != nil && len(w.Statement) != StatementIDLen:
		return fmt.Errorf("statement id of %d bytes, want %d", len(w.Statement), StatementIDLen)
	case len(w.Newer) > MaxNewer:
		return fmt.Errorf("key statement of %d bytes shown, at most %d", len(w.Newer), MaxNewer)
	case w.Channel != nil && len(w.Channel) != ChannelLen:
		return fmt.Errorf("channel of %d bytes, want %d", len(w.Channel), ChannelLen)
	case w.Last != nil && len(w.Last) != len(ident.UUID{}):
		return fmt.Errorf("id of the last session of %d bytes, want %d", len(w.Last), len(ident.UUID{}))
	}
	return checkPairs("metadata", w.Metadata)
}

func checkPairs(what string, m map[string]string) error {
	if len(m) > MaxPairs {
		return fmt.Errorf("%d pairs of %s, at most %d", len(m), what, MaxPairs)
	}
	for k, v := range m {
		if k == "" || len(k) > MaxPairName || len(v) > MaxPairValue || !utf8.ValidString(v) {
			return fmt.Errorf("%s: a name has 1 to %d bytes, a value at most %d", what, MaxPairName, MaxPairValue)
		}
	}
	return nil
}

// DecodeChallengeBody reads a challenge's body.
func DecodeChallengeBody(b []byte) (*ChallengeBody, error) {
	var c ChallengeBody
	if err := unmarshal(b, shapes.challenge, &c); err != nil {
		return nil, fmt.Errorf("decode challenge: %w", err)
	}
	if c.Kind == "" || len(c.Kind) > 64 || len(c.Nonce) != ServerNonce || c.Issuer == "" {
		return nil, errors.New("decode challenge: kind, 32-byte nonce and issuer are required")
	}
	if c.SealTo != nil && len(c.SealTo) != 32 {
		return nil, fmt.Errorf("decode challenge: X25519 key of %d bytes, want 32", len(c.SealTo))
	}
	if err := c.PoolKeys.check(); err != nil {
		return nil, fmt.Errorf("decode challenge: %w", err)
	}
	return &c, checkPairs("parameters", c.Params)
}

// DecodeRefreshBody reads a refresh's body.
func DecodeRefreshBody(b []byte) (*RefreshBody, error) {
	var r RefreshBody
	if err := unmarshal(b, shapes.refresh, &r); err != nil {
		return nil, fmt.Errorf("decode refresh: %w", err)
	}
	if r.Session.IsZero() || len(r.Handle) != 32 {
		return nil, errors.New("decode refresh: session and 32-byte handle are required")
	}
	if r.Last != nil {
		return nil, errors.New("decode refresh: it is of the session that the device has, and names no other")
	}
	return &r, r.Request.check()
}

// DecodeGrantBody reads an opened grant.
func DecodeGrantBody(b []byte) (*GrantBody, error) {
	var g GrantBody
	if err := unmarshal(b, shapes.grant, &g); err != nil {
		return nil, fmt.Errorf("decode grant: %w", err)
	}
	if len(g.Access) == 0 || len(g.ID) == 0 || g.Subject.IsZero() || g.Issuer == "" {
		return nil, errors.New("decode grant: access token, ID token, subject and issuer are required")
	}
	if g.Refresh != nil && len(g.Refresh) != 32 {
		return nil, fmt.Errorf("decode grant: refresh token of %d bytes, want 32", len(g.Refresh))
	}
	if err := g.PoolKeys.check(); err != nil {
		return nil, fmt.Errorf("decode grant: %w", err)
	}
	return &g, nil
}

// lengthPrefix keeps hashed parts apart.
func lengthPrefix(b []byte, n int) []byte { return binary.BigEndian.AppendUint32(b, uint32(n)) }
