package session

import (
	"errors"
	"slices"

	"github.com/signetd/signet/broker/mqttd/message"
)

// What a PUBLISH of the client may meet.
var (
	ErrReceiveMaximum = errors.New("session: the client sent more than it may before it is answered; disconnect it (0x93)")
	ErrInUse          = errors.New("session: the client uses this packet identifier for another message already (0x91)")
)

// A Receipt says what a PUBLISH of the client is.
type Receipt byte

// The three of them.
const (
	Fresh    Receipt = iota // to be published, and then Received
	Pending                 // it came before and is not answered yet: the answer to that will do
	Accepted                // QoS 2, it came before and was accepted: PUBREC again, nothing else
)

// An arrival is a PUBLISH of the client that is not over. Its identifiers have nothing to do with
// those of deliveries.
type arrival struct {
	id       uint16
	qos      message.QoS
	accepted bool // QoS 2: PUBREC was sent
	current  bool // it came on this connection and uses its Receive Maximum
}

// Receive takes the identifier of a PUBLISH of QoS 1 or 2. The errors are ErrReceiveMaximum
// and ErrInUse.
//
// What an earlier connection left does not use this one's Receive Maximum: the client's quota begins anew
// (section 4.9).
func (s *Session) Receive(id uint16, qos message.QoS) (Receipt, error) {
	i := s.arrived(id)
	if i >= 0 && s.incoming[i].qos != qos {
		return 0, ErrInUse
	}
	if i >= 0 && s.incoming[i].current {
		return s.receipt(i), nil
	}
	used := 0
	for _, a := range s.incoming {
		if a.current {
			used++
		}
	}
	if used >= int(s.promised)+s.spare || i < 0 && len(s.incoming) >= 2*int(s.promised) {
		return 0, ErrReceiveMaximum
	}
	if i >= 0 {
		s.incoming[i].current = true
		return s.receipt(i), nil
	}
	s.incoming = append(s.incoming, arrival{id: id, qos: qos, current: true})
	return Fresh, nil
}

func (s *Session) receipt(i int) Receipt {
	if s.incoming[i].accepted {
		return Accepted
	}
	return Pending
}

// Received says how a PUBLISH was answered: PUBACK, or PUBREC, with that code. One of QoS 2 that was
// not refused is remembered until Release; all others are over. An answer to QoS 1 that an
// earlier connection asked for is not for this session any more.
func (s *Session) Received(id uint16, code byte) {
	i := s.arrived(id)
	switch {
	case i < 0:
	case s.incoming[i].qos == message.ExactlyOnce && code < failed:
		s.incoming[i].accepted = true
	default:
		s.incoming = without(s.incoming, i)
	}
}

// Release takes the client's PUBREL, and reports whether there was anything to release: the
// code of the PUBCOMP is 0x92 if not (MQTT 5, section 3.7.2.1).
//
// The PUBCOMP raises the client's quota (section 4.9), also when what it ends has not lowered it on this
// connection. The client may have one more under way then.
func (s *Session) Release(id uint16) (known bool) {
	i := s.arrived(id)
	known = i >= 0 && s.incoming[i].accepted
	if !known || !s.incoming[i].current {
		s.spare = min(s.spare+1, int(s.promised))
	}
	if known {
		s.incoming = without(s.incoming, i)
	}
	return known
}

func (s *Session) arrived(id uint16) int {
	return slices.IndexFunc(s.incoming, func(a arrival) bool { return a.id == id })
}

// forgetUnanswered is what the end of a connection means for what came on it.
func (s *Session) forgetUnanswered() {
	s.spare = 0
	s.incoming = slices.DeleteFunc(s.incoming, func(a arrival) bool { return a.qos == message.AtLeastOnce })
	if len(s.incoming) == 0 {
		s.incoming = nil
	}
	for i := range s.incoming {
		s.incoming[i].current = false
	}
}
