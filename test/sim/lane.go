package sim

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/broker/access"
	"github.com/signetd/signet/broker/mqttd/packet"
	"github.com/signetd/signet/protocol"
	"github.com/signetd/signet/protocol/topic"
)

var (
	errClosed  = errors.New("sim: the connection has ended")
	errDown    = errors.New("sim: nobody is there to connect to")
	errRefused = errors.New("sim: the broker refused the connection")
)

// A lane is one MQTT connection to a replica, with both of its ends: a device's, or one that
// the network makes, to pass on what it hears on another or in somebody's name.
type lane struct {
	c     *conn
	at    *door
	id    topic.ClientID
	far   [sha256.Size]byte // the name of its TLS
	theft bool              // it was opened by a signing key that was stolen
	ears  *actor            // hears what the replica says

	near, end net.Conn      // the device's, and the replica's
	turn      chan struct{} // has one element, which whoever writes to near holds
	welcome   chan packet.Code
	over      chan struct{} // closed at its end
	ended     atomic.Bool
	abandoned atomic.Bool // the device has lost it, and the replica does not know
	version   packet.Version
	letter    *letter  // its last will, if its session outlives it; nil: that does not
	session   *session // from its welcome on
	sent      uint16   // how many messages

	mu       sync.Mutex // guards the fields below
	stand    access.Standing
	closed   time.Time           // when the replica has ended it; zero: it has not
	carriers map[string][]*actor // who brought a request, by its bytes
	posted   map[uint16]uint32   // numbers of messages that are not acknowledged
}

// Network and String make a lane the address that it comes from.
func (l *lane) Network() string { return "sim" }
func (l *lane) String() string  { return fmt.Sprintf("10.%d.%d.%d:1883", l.far[0], l.far[1], l.far[2]) }

// dial opens a lane of c's to a replica, by a user name and password if there is one.
func (c *conn) dial(ctx context.Context, to *door, far [sha256.Size]byte, connect packet.Connect) (*lane, error) {
	id, err := topic.ParseClientID(connect.ClientID)
	if err != nil {
		return nil, err
	}
	l := &lane{
		c: c, at: to, id: id, far: far, theft: connect.HasPassword && c.key.IsZero(), ears: c.w.newActor(c.dice.more()),
		turn: make(chan struct{}, 1), welcome: make(chan packet.Code, 1), over: make(chan struct{}), carriers: map[string][]*actor{}, version: connect.Version, posted: map[uint16]uint32{},
	}
	if l.version == 0 {
		l.version, connect.Version = packet.V311, packet.V311
	}
	if connect.Will != nil {
		l.leaves(connect.Will)
	} else {
		connect.CleanStart = true
	}
	l.turn <- struct{}{}
	if err := to.enter(l); err != nil {
		return nil, err
	}
	go l.hear()
	filters := []packet.Filter{{Text: id.Reply().String()}, {Text: id.Event().String()}}
	if l.letter != nil {
		filters = append(filters, packet.Filter{Text: mail(l.letter.of), Options: packet.Options{QoS: 1}})
	}
	hello := packet.AppendConnect(nil, &connect)
	hello = packet.AppendSubscribe(hello, l.version, &packet.Subscribe{ID: 1, Filters: filters})
	if l.write(hello) != nil {
		return nil, errClosed
	}
	defer c.actor.turn()
	select {
	case code := <-l.welcome:
		if code != packet.Success {
			l.cut()
			return nil, fmt.Errorf("%w: %s", errRefused, code)
		}
		return l, nil
	case <-l.over:
		return nil, errClosed
	case <-ctx.Done():
		l.cut()
		return nil, ctx.Err()
	}
}

// write sends bytes to the replica.
func (l *lane) write(b []byte) error {
	<-l.turn
	defer func() { l.turn <- struct{}{} }()
	_, err := l.near.Write(b)
	return err
}

// ask publishes a request that who has carried here. It reports whether the lane is still there.
func (l *lane) ask(raw []byte, who *actor) bool {
	l.mu.Lock()
	l.carriers[string(raw)] = append(l.carriers[string(raw)], who)
	l.mu.Unlock()
	return l.write(packet.AppendPublish(nil, l.version, &packet.Publish{Topic: []byte(l.id.Request().String()), Payload: raw})) == nil
}

// carrier gives who carried a request.
func (l *lane) carrier(raw []byte) *actor {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := l.carriers[string(raw)]
	if len(all) == 0 {
		return l.ears // of this lane's nobody asks for nothing
	}
	if l.carriers[string(raw)] = all[1:]; len(all) == 1 {
		delete(l.carriers, string(raw))
	}
	return all[0]
}

// hear reads what the replica sends until the lane ends.
func (l *lane) hear() {
	defer func() {
		if !l.abandoned.Load() {
			l.cut()
		}
	}()
	for r := bufio.NewReaderSize(l.near, 1<<10); ; {
		h, body, err := next(r)
		if err != nil && l.theft && !l.isOver() {
			l.c.w.facts.count("connection of the network's ended")
		}
		if err != nil {
			return
		}
		switch h.Type {
		case packet.CONNACK:
			a, err := packet.ParseConnack(l.version, body)
			if err != nil {
				l.c.w.facts.violate("a CONNACK that is none: %v", err)
				return
			}
			if l.letter != nil && a.Code == packet.Success {
				l.resumed(a.SessionPresent)
			}
			l.welcome <- a.Code
		case packet.PUBACK:
			a, err := packet.ParseAck(l.version, h.Type, body)
			if err != nil {
				l.c.w.facts.violate("a PUBACK that is none: %v", err)
				return
			}
			l.taken(a.ID)
		case packet.PUBLISH:
			var p packet.Publish
			if err := p.ParseFromServer(l.version, h.Flags, body); err != nil {
				l.c.w.facts.violate("a PUBLISH that is none: %v", err)
				return
			}
			if l.letter != nil && string(p.Topic) == mail(l.letter.of) {
				l.delivered(&p)
				continue
			}
			l.ears.turn()
			switch string(p.Topic) {
			case l.id.Reply().String():
				l.c.w.net.reply(l.c, p.Payload)
			case l.id.Event().String():
				l.c.happens(p.Payload)
				time.Sleep(time.Microsecond) // or the device might hear first that the lane has ended
			default:
				l.c.w.facts.violate("%s hears %s, for which it did not ask", l.c.owner, p.Topic)
			}
		case packet.SUBACK, packet.DISCONNECT:
		default:
			l.c.w.facts.violate("%s hears %s", l.c.owner, h.Type)
		}
	}
}

// next reads a packet.
func next(r *bufio.Reader) (h packet.Header, body []byte, err error) {
	if _, err := r.Peek(2); err != nil {
		return h, nil, err
	}
	n := 0
	for n == 0 {
		begin, err := r.Peek(min(r.Buffered(), 1+binary.MaxVarintLen32))
		if err != nil {
			return h, nil, err
		}
		if h, n, err = packet.ReadHeader(begin); err != nil {
			return h, nil, err
		}
		if n == 0 {
			if _, err := r.Peek(len(begin) + 1); err != nil {
				return h, nil, err
			}
		}
	}
	_, _ = r.Discard(n) // it is there
	body = make([]byte, h.Length)
	_, err = io.ReadFull(r, body)
	return h, body, err
}

// cut ends the lane at both ends, and with it the connection that it serves.
func (l *lane) cut() {
	if l.ended.Swap(true) {
		return
	}
	close(l.over)
	_ = l.near.Close() // of a pipe nothing fails
	_ = l.end.Close()
	l.c.end()
}

// abandon has the device lose the lane, so that the replica neither hears nor is heard, and does
// not know.
func (l *lane) abandon() {
	l.abandoned.Store(true)
	_ = l.near.SetReadDeadline(time.Now()) // of a pipe nothing fails
}

// endedAt is when the replica has ended the lane, zero while it has not.
func (l *lane) endedAt() time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.closed
}

func (l *lane) isOver() bool { return l.ended.Load() }

// judged notes what the replica made of a credential.
func (l *lane) judged(st access.Standing, err error) {
	switch f := l.c.w.facts; {
	case l.theft || st.Device.IsZero() && err == nil:
	case err == nil:
		f.admitted(st.Device, st.Session)
	case errors.Is(err, broker.ErrInactive):
		f.count("credential of a disabled device refused")
	case errors.Is(err, access.ErrEnded):
		f.count("credential of an ended session refused")
	default:
		f.count("credential refused")
	}
}

// stands makes the lane one of that standing.
func (l *lane) stands(st access.Standing) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.stand = st
}

// upgraded makes the lane the device's that was just granted.
func (l *lane) upgraded(st access.Standing) {
	if st.Device != l.c.key {
		l.c.w.facts.violate("a connection of %s became %s's", l.c.owner, st.Device)
	}
	l.stands(st)
}

// standing is what the lane stands on, zero if it has ended or is nobody's.
func (l *lane) standing() access.Standing {
	if l.isOver() || l.abandoned.Load() {
		return access.Standing{}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.stand
}

// happens hands an event to the device. One that is busy does not hear it: what else happened
// meanwhile would otherwise be heard before it or after, as the Go scheduler likes.
func (c *conn) happens(raw []byte) bool {
	m, err := protocol.Decode(raw)
	e, ok := m.(*protocol.Event)
	if err != nil || !ok {
		return false
	}
	select {
	case c.events <- e:
		return true
	default:
		return false
	}
}

// anonymous is the CONNECT of a stranger.
func (c *conn) anonymous() packet.Connect {
	var number [16]byte
	binary.BigEndian.PutUint64(number[:8], c.dice.word())
	binary.BigEndian.PutUint64(number[8:], c.dice.word())
	return packet.Connect{ClientID: topic.Anonymous(number).String()}
}

// open connects as a stranger, or by a credential as a device, to the replica; where the network
// relays, to all as strangers, of whom the network's are the other ends.
func (c *conn) open(ctx context.Context, r *replica, connect packet.Connect) error {
	to := []*replica{r}
	if c.relayed {
		to = c.w.replicas
	}
	for _, r := range to {
		d := r.running()
		if d == nil && !c.relayed {
			c.end()
			return errDown
		}
		if d == nil {
			continue
		}
		far := c.name
		if c.relayed {
			far = sha256.Sum256(fmt.Appendf(c.name[:], "relayed to %d", r.number))
			connect = c.anonymous()
		}
		l, err := c.dial(ctx, d, far, connect)
		if err != nil {
			c.end()
			return err
		}
		if !c.keeps(l) {
			l.cut()
			return errClosed
		}
	}
	if c.way() == nil {
		c.end()
		return errDown
	}
	return nil
}
