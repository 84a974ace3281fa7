package session

import (
	"errors"
	"slices"

	"github.com/signetd/signet/broker/mqttd/message"
)

// What an acknowledgement may meet.
var (
	// ErrUnknown: nothing is in flight under this packet identifier. PUBREC is answered with
	// a PUBREL of 0x92 (section 3.6.2.1), the others with nothing.
	ErrUnknown = errors.New("session: nothing is in flight under this packet identifier (0x92)")
	// ErrUnexpected: what is in flight under it waits for another packet.
	ErrUnexpected = errors.New("session: not the acknowledgement that this packet identifier waits for (0x82)")
)

// failed is the first reason code that says no (MQTT 5, section 2.4).
const failed = 0x80

// Puback takes the client's PUBACK, whatever its reason code: the delivery is done. The errors are
// ErrUnknown and ErrUnexpected.
func (s *Session) Puback(id uint16) error { return s.settle(id, message.AtLeastOnce) }

// Pubrec takes the client's PUBREC. Without an error, and with a code that is not one, Next gives the
// PUBREL to be sent; one that comes twice is answered twice. A code of 0x80 and
// above ends the delivery ([MQTT-4.3.3-4]). The errors are ErrUnknown and ErrUnexpected.
func (s *Session) Pubrec(id uint16, code byte) error {
	if i := slices.Index(s.released, id); i >= 0 {
		if code >= failed {
			return ErrUnexpected
		}
		s.unrelease(i)
		s.released = append(s.released, id)
		return nil
	}
	if err := s.settle(id, message.ExactlyOnce); err != nil || code >= failed {
		return err
	}
	s.released = append(s.released, id)
	return nil
}

// Pubcomp takes the client's PUBCOMP, whatever its reason code: the identifier is free. The errors are
// ErrUnknown and ErrUnexpected.
func (s *Session) Pubcomp(id uint16) error {
	if i := slices.Index(s.released, id); i >= 0 {
		s.unrelease(i)
		return nil
	}
	if s.inFlight(id) >= 0 {
		return ErrUnexpected
	}
	return ErrUnknown
}

// settle ends the PUBLISH under id, if it is of that QoS.
func (s *Session) settle(id uint16, qos message.QoS) error {
	i := s.inFlight(id)
	switch {
	case i < 0 && slices.Contains(s.released, id):
		return ErrUnexpected
	case i < 0:
		return ErrUnknown
	case s.acked.at(i).qos != qos:
		return ErrUnexpected
	}
	s.sent--
	if i < s.resent {
		s.resent--
	}
	s.forget(&s.acked, i)
	return nil
}

// unrelease forgets the id at i of released.
func (s *Session) unrelease(i int) {
	s.released = without(s.released, i)
	if i < s.told {
		s.told--
	}
}

// without takes one element out of a slice, which it leaves no larger than an idle session may have.
func without[E any](from []E, i int) []E {
	from = slices.Delete(from, i, i+1)
	if len(from) == 0 && cap(from) > 8 {
		return nil
	}
	return from
}
