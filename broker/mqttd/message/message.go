// Package message holds application messages while the MQTT server has them, and counts
// the room that they take. A Message is shared by all who wait for it and never changed.
//
// It reads no packets, knows no clients and does no I/O.
package message

import (
	"time"

	"github.com/signetd/signet/protocol/topic"
)

// QoS is how often a message is delivered (MQTT 5, section 4.3).
type QoS = byte

// The three of them.
const (
	AtMostOnce  QoS = 0
	AtLeastOnce QoS = 1
	ExactlyOnce QoS = 2
)

// A Message is what one client published, or the server itself. It keeps no byte of a
// packet that it came in.
type Message struct {
	Topic   topic.Name
	Payload []byte
	// Properties are those that a receiver gets as they were sent, in their order, as
	// encoded: payload format, content type, response topic, correlation data and user
	// properties (section 3.3.2.3). Empty for messages of MQTT 3.1.1 clients.
	Properties []byte
	QoS        QoS       // as published
	Retain     bool      // as published
	Expires    time.Time // zero: never; a receiver is told what is left of it (section 3.3.2.3.3)
}

// overhead is what a Message and its place in a queue take beside their bytes, rounded up.
const overhead = 192

// Size is the room that a Message takes, in bytes.
func (m *Message) Size() int {
	return overhead + len(m.Topic.String()) + len(m.Payload) + len(m.Properties)
}

// Expired reports whether nobody is to get m any more: only for who was never sent it.
func (m *Message) Expired(now time.Time) bool { return !m.Expires.IsZero() && !now.Before(m.Expires) }

// Left is what is left of the message's life in whole seconds, rounded up, for the Message
// Expiry Interval of a packet; 0 for one that does not expire.
func (m *Message) Left(now time.Time) uint32 {
	if m.Expires.IsZero() {
		return 0
	}
	left := (m.Expires.Sub(now) + time.Second - 1) / time.Second
	return uint32(max(1, min(left, 1<<32-1)))
}
