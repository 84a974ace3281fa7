package mqttd

import (
	"bufio"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/signetd/signet/broker/intake"
	"github.com/signetd/signet/broker/mqttd/packet"
	"github.com/signetd/signet/protocol/topic"
)

// A talker is a client that acknowledges what comes as it should, if it does so at all.
type talker struct {
	nc  net.Conn
	r   *bufio.Reader
	buf []byte
}

// talk connects; nil if it was refused or is ended.
func (f *fixture) talk(d, id string, change func(*packet.Connect)) *talker {
	nc, err := net.Dial("tcp", f.addr)
	if err != nil {
		return nil
	}
	_ = nc.SetDeadline(time.Now().Add(6 * patience))
	p := packet.Connect{
		Version: packet.V5, ClientID: id, HasUserName: true, UserName: d, HasPassword: true, Password: []byte("token-" + d),
		ReceiveMaximum: 65535, RequestProblemInformation: true,
	}
	if change != nil {
		change(&p)
	}
	c := &talker{nc: nc, r: bufio.NewReader(nc)}
	if _, err := nc.Write(packet.AppendConnect(nil, &p)); err != nil {
		nc.Close()
		return nil
	}
	h, body, err := c.next()
	if err != nil || h.Type != packet.CONNACK || body[1] != 0 {
		nc.Close()
		return nil
	}
	return c
}

// next gives the next packet, whose body is valid until the one after it.
func (c *talker) next() (packet.Header, []byte, error) {
	for {
		begin, _ := c.r.Peek(min(5, max(2, c.r.Buffered())))
		h, n, err := packet.ReadHeader(begin)
		if err != nil {
			return h, nil, err
		}
		if n == 0 {
			if _, err := c.r.Peek(max(2, c.r.Buffered()+1)); err != nil {
				return h, nil, err
			}
			continue
		}
		_, _ = c.r.Discard(n)
		if cap(c.buf) < h.Length {
			c.buf = make([]byte, h.Length)
		}
		c.buf = c.buf[:h.Length]
		_, err = io.ReadFull(c.r, c.buf)
		return h, c.buf, err
	}
}

// answer acknowledges a step of a delivery, and gives the message if it is one.
func (c *talker) answer(h packet.Header, body []byte) (p packet.Publish, isMessage bool) {
	var b [8]byte
	switch h.Type {
	case packet.PUBLISH:
		if p.ParseFromServer(packet.V5, h.Flags, body) != nil {
			return p, false
		}
		if p.QoS > 0 {
			_, _ = c.nc.Write(packet.AppendAck(b[:0], packet.V5, []packet.Type{packet.PUBACK, packet.PUBREC}[p.QoS-1], p.ID, 0, ""))
		}
		return p, true
	case packet.PUBREL:
		a, _ := packet.ParseAck(packet.V5, h.Type, body)
		_, _ = c.nc.Write(packet.AppendAck(b[:0], packet.V5, packet.PUBCOMP, a.ID, 0, ""))
	}
	return p, false
}

// TestSessionsAtOnce: devices fight for a few sessions, which they persist, resume, share, drop and
// let overflow, while operators end and review them. A subscriber that keeps up gets all that
// was acknowledged to publishers, once and in order, and nothing is left in the end.
func TestSessionsAtOnce(t *testing.T) {
	for _, refuse := range []bool{false, true} {
		t.Run(fmt.Sprintf("refuse %t", refuse), func(t *testing.T) { sessionsAtOnce(t, refuse) })
	}
}

func sessionsAtOnce(t *testing.T, refuse bool) {
	rounds, messages := 60, 600
	if testing.Short() {
		rounds, messages = 15, 150
	}
	f := start(t, func(c *Config, _ *fixture) {
		c.SessionMessages, c.RefusePublisher = 60, refuse
		c.Limits = intake.Limits{Rate: 1e6, Burst: 1e6}
	})
	fighters := []string{"q:a", "q:b", "q:c"}
	for _, s := range append(fighters, "p:sub", "p:pub") {
		f.gate.grants[device(t, s)] = topic.Permissions{Publish: filters(t, "t/#"), Subscribe: filters(t, "t/#"), Retain: true}
	}

	// The subscriber that keeps up.
	sub := f.talk("p:sub", "keeps-up", nil)
	_, _ = sub.nc.Write(packet.AppendSubscribe(nil, packet.V5, &packet.Subscribe{ID: 1, Filters: []packet.Filter{{Text: "t/pub/#", Options: packet.Options{QoS: 2}}}}))
	if h, _, err := sub.next(); h.Type != packet.SUBACK || err != nil {
		t.Fatal(h.Type, err)
	}
	var mu sync.Mutex // guards got
	got := map[string][]string{}
	heard := make(chan struct{})
	go func() {
		defer close(heard)
		for {
			h, body, err := sub.next()
			if err != nil {
				return
			}
			if h.Type == packet.DISCONNECT {
				t.Errorf("who kept up is ended: %x", body)
			}
			if p, ok := sub.answer(h, body); ok {
				mu.Lock()
				got[string(p.Topic)] = append(got[string(p.Topic)], string(p.Payload))
				mu.Unlock()
			}
		}
	}()

	stop := make(chan struct{})
	var around, publishers sync.WaitGroup
	for i := range 8 {
		around.Go(func() {
			r := rand.New(rand.NewPCG(uint64(i), 7))
			for range rounds {
				f.fight(r, fighters[r.IntN(len(fighters))])
			}
		})
	}
	around.Go(func() {
		r := rand.New(rand.NewPCG(1, 9))
		for {
			select {
			case <-stop:
				return
			case <-time.After(2 * time.Millisecond):
			}
			d := device(t, fighters[r.IntN(len(fighters))])
			switch r.IntN(8) {
			case 0, 1:
				f.End(d, ReasonAdministrative)
			case 2:
				f.EndPool(d.Pool, ReasonAdministrative, nil)
			case 3, 4:
				keep := r.IntN(3) > 0
				f.ReviewPool(d.Pool, func(s Standing) (Standing, bool) { return s, keep }, ReasonAdministrative, nil)
			default:
				f.PushDevice(d, []byte("event"))
			}
		}
	})
	st := f.clients.ofDevice(device(t, "p:sub"))[0].owned.Load()
	acked := make([][]string, 3)
	for i := range acked {
		publishers.Go(func() {
			acked[i] = f.publishAll(t, i, messages, func() bool { // is it too far behind? it would be ended
				st.mu.Lock()
				defer st.mu.Unlock()
				return st.flow.Len() > 20
			})
		})
	}
	publishers.Wait()
	close(stop)
	around.Wait()

	for i, want := range acked {
		name := fmt.Sprintf("t/pub/%d", i)
		for end := time.Now().Add(patience); ; time.Sleep(2 * time.Millisecond) {
			mu.Lock()
			n := len(got[name])
			mu.Unlock()
			if n >= len(want) {
				break
			}
			if time.Now().After(end) {
				st.mu.Lock()
				t.Errorf("%s: %d messages of %d came; %d are in flight, %d wait, backlog %d, over %t", name, n, len(want), st.flow.Inflight(), st.flow.Queued(), st.conn.stream.Backlog(), st.over)
				st.mu.Unlock()
				break
			}
		}
		mu.Lock()
		for j := range min(len(want), len(got[name])) {
			if got[name][j] != want[j] {
				t.Errorf("%s: %q came where %q was due", name, got[name][j], want[j])
				break
			}
		}
		if len(got[name]) != len(want) {
			t.Errorf("%s: %d messages came, %d were acknowledged", name, len(got[name]), len(want))
		}
		mu.Unlock()
	}
	sub.nc.Close()
	<-heard
	eventually(t, "all are gone", func() bool {
		for _, s := range append(fighters, "p:sub", "p:pub") {
			f.End(device(t, s), ReasonAdministrative)
		}
		return f.Count() == 0 && f.clients.sessions() == 0
	})
	if n, bytes := f.room.Taken(); n != 0 || bytes != 0 {
		t.Errorf("%d messages of %d bytes are left", n, bytes)
	}
	if n := f.subscriptions.Len(); n != 0 {
		t.Errorf("%d subscriptions are left", n)
	}
	if n := f.absences.Len(); n != 0 {
		t.Errorf("%d deadlines of sessions are left", n)
	}
}

// publishAll publishes so many messages, each again until it is taken, and gives them. It
// waits for a subscriber.
func (f *fixture) publishAll(t *testing.T, i, messages int, behind func() bool) (acked []string) {
	c := f.talk("p:pub", fmt.Sprint("publisher", i), nil)
	if c == nil {
		t.Error("a publisher was refused")
		return nil
	}
	defer c.nc.Close()
	for n := 0; n < messages; n++ {
		for end := time.Now().Add(patience); behind(); time.Sleep(time.Millisecond) {
			if time.Now().After(end) {
				t.Errorf("a subscriber does not get what is before message %d", n)
				return acked
			}
		}
		text := fmt.Sprint(n)
		p := packet.Publish{Topic: fmt.Appendf(nil, "t/pub/%d", i), Payload: []byte(text), QoS: 1 + byte(i%2), ID: 1}
		for taken := false; !taken; {
			_, _ = c.nc.Write(packet.AppendPublish(nil, packet.V5, &p))
			h, body, err := c.next()
			if err != nil {
				t.Errorf("a publisher was ended: %v", err)
				return acked
			}
			a, err := packet.ParseAck(packet.V5, h.Type, body)
			if err != nil {
				t.Error(h, err)
				return acked
			}
			taken = !a.Code.Failed()
			if taken && h.Type == packet.PUBREC {
				_, _ = c.nc.Write(packet.AppendAck(nil, packet.V5, packet.PUBREL, 1, 0, ""))
				_, _, _ = c.next()
			}
		}
		acked = append(acked, text)
	}
	return acked
}

// fight takes one of a device's sessions, does a few things with it, reads for a while or not at all, and goes.
func (f *fixture) fight(r *rand.Rand, d string) {
	c := f.talk(d, fmt.Sprint(d[2:], r.IntN(2)), func(p *packet.Connect) {
		p.CleanStart = r.IntN(4) == 0
		p.SessionExpiry, p.HasSessionExpiry = []uint32{0, 1, 1, 100}[r.IntN(4)], true
		p.ReceiveMaximum = uint16(1 + r.IntN(20))
		if r.IntN(3) == 0 {
			p.Will = &packet.Will{Topic: "t/will", QoS: byte(r.IntN(3)), Retain: r.IntN(2) == 0, Delay: uint32(r.IntN(2)), Payload: []byte("w")}
		}
	})
	if c == nil {
		return
	}
	defer c.nc.Close()
	var out []byte
	for i := range 8 {
		filter := []string{"t/#", "t/pub/+", "$share/g/t/#", "$share/g/t/pub/0", "t/x"}[r.IntN(5)]
		switch r.IntN(4) {
		case 0, 1:
			out = packet.AppendSubscribe(out, packet.V5, &packet.Subscribe{ID: 1, Filters: []packet.Filter{{Text: filter, Options: packet.Options{QoS: byte(r.IntN(3))}}}})
		case 2:
			out = packet.AppendUnsubscribe(out, packet.V5, &packet.Unsubscribe{ID: 1, Filters: []string{filter}})
		default:
			p := packet.Publish{Topic: []byte("t/x"), Payload: []byte("m"), QoS: byte(r.IntN(3)), Retain: r.IntN(4) == 0}
			if p.QoS > 0 {
				p.ID = uint16(10 + i)
			}
			out = packet.AppendPublish(out, packet.V5, &p)
			if p.QoS == 2 && r.IntN(2) == 0 {
				out = packet.AppendAck(out, packet.V5, packet.PUBREL, p.ID, 0, "")
			}
		}
	}
	_, _ = c.nc.Write(out)
	_ = c.nc.SetReadDeadline(time.Now().Add(time.Duration(r.IntN(40)) * time.Millisecond))
	for deaf := r.IntN(3) == 0; !deaf; {
		h, body, err := c.next()
		if err != nil {
			break
		}
		c.answer(h, body)
	}
	if r.IntN(2) == 0 {
		_, _ = c.nc.Write(packet.AppendDisconnect(nil, packet.V5, packet.Disconnect{Code: packet.Code(4 * r.IntN(2))}))
	}
}
