package message

import (
	"bytes"
	"errors"
	"fmt"
	"time"

	"github.com/signetd/signet/protocol/detcbor"
	"github.com/signetd/signet/protocol/topic"
)

// ErrMalformed is wrapped by Decode's errors.
var ErrMalformed = errors.New("malformed message")

const retained = 1 << 2 // beside the QoS

// Append appends m as one item of deterministic CBOR, for a planned restart: an array of topic, payload,
// properties, QoS and retain flag, and Unix milliseconds of when it expires, 0 for never. A part of a
// millisecond is lost.
func (m *Message) Append(b []byte) []byte {
	flags, expires := uint64(m.QoS), uint64(0)
	if m.Retain {
		flags |= retained
	}
	if !m.Expires.IsZero() {
		expires = uint64(max(1, m.Expires.UnixMilli()))
	}
	b = detcbor.AppendHead(b, detcbor.Array, 5)
	b = detcbor.AppendText(b, m.Topic.String())
	b = detcbor.AppendBytes(b, m.Payload)
	b = detcbor.AppendBytes(b, m.Properties)
	b = detcbor.AppendHead(b, detcbor.Uint, flags)
	return detcbor.AppendHead(b, detcbor.Uint, expires)
}

// Decode reads what Append wrote and nothing else; the errors wrap ErrMalformed. The Message keeps
// nothing of data. Whether its properties are well formed is for who wrote them to know.
func Decode(data []byte) (*Message, error) {
	r, err := detcbor.NewReader(data)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	taken := func() []byte {
		_, n := r.Head()
		return r.Take(n)
	}
	r.Head()
	name, err := topic.ParseName(string(taken()))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrMalformed, err)
	}
	m := &Message{Topic: name, Payload: bytes.Clone(taken()), Properties: bytes.Clone(taken())}
	_, flags := r.Head()
	m.QoS, m.Retain = QoS(flags&^retained), flags&retained != 0
	if _, expires := r.Head(); expires != 0 {
		m.Expires = time.UnixMilli(int64(expires))
	}
	// What is of another kind, or too large, was read as something else.
	if m.QoS > ExactlyOnce || !bytes.Equal(m.Append(make([]byte, 0, len(data))), data) {
		return nil, fmt.Errorf("%w: not five members as they should be", ErrMalformed)
	}
	return m, nil
}
