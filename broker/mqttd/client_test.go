package mqttd

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/signetd/signet/broker/mqttd/packet"
	"github.com/signetd/signet/protocol/ident"
	"github.com/signetd/signet/protocol/topic"
)

// A memory is a listener whose connections are in memory, so that a Server runs on the time of
// a synctest bubble.
type memory struct {
	conns chan net.Conn
	once  sync.Once
	over  chan struct{}
}

func (m *memory) Accept() (net.Conn, error) {
	select {
	case nc := <-m.conns:
		return nc, nil
	case <-m.over:
		return nil, net.ErrClosed
	}
}

func (m *memory) Close() error {
	m.once.Do(func() { close(m.over) })
	return nil
}

func (m *memory) Addr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1883} }

// A pipe is the server's end of a connection.
type pipe struct{ net.Conn }

func (pipe) RemoteAddr() net.Addr { return &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 40000} }

// A bubble is a Server in memory, on a time of its own.
type bubble struct {
	*fixture
	at      *memory
	mu      sync.Mutex // guards the rest
	dropped map[Drop]int
	ends    map[Reason]int
}

// inBubble runs test with a Server in memory. Some devices of pool p may publish and subscribe to
// what is below t, and retain.
func inBubble(t *testing.T, change func(*Config), test func(b *bubble)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		test(startInBubble(t, change))
		synctest.Wait()
	})
}

func startInBubble(t *testing.T, change func(*Config)) *bubble {
	b := &bubble{at: &memory{conns: make(chan net.Conn), over: make(chan struct{})}, dropped: map[Drop]int{}, ends: map[Reason]int{}}
	b.fixture = startOn(t, func(c *Config, _ *fixture) {
		c.OnDrop = func(d Drop, n int) { b.mu.Lock(); defer b.mu.Unlock(); b.dropped[d] += n }
		c.OnEnd = func(r Reason) { b.mu.Lock(); defer b.mu.Unlock(); b.ends[r]++ }
		if change != nil {
			change(c)
		}
	}, func(ln net.Listener) net.Listener { ln.Close(); return b.at })
	for _, d := range []string{"p:a", "p:b", "p:c", "p:d"} {
		b.grant(d, "t/#", "t/#")
	}
	return b
}

// restart ends the Server as at a planned restart, and begins another with what it kept. It takes
// as long as ending connections does.
func (b *bubble) restart() {
	b.t.Helper()
	b.restartAfter(0, func(_ context.Context, d ident.Device) (Standing, error) {
		b.gate.mu.Lock()
		defer b.gate.mu.Unlock()
		return Standing{Device: d, Permissions: b.gate.grants[d]}, nil
	})
}

// restartAfter is restart with a time in between, and another recall.
func (b *bubble) restartAfter(down time.Duration, recall func(context.Context, ident.Device) (Standing, error)) {
	b.t.Helper()
	if err := b.Close(context.Background()); err != nil {
		b.t.Fatal(err)
	}
	all := records(b.t, b.Server)
	time.Sleep(down)
	s, err := New(b.made)
	if err != nil {
		b.t.Fatal(err)
	}
	b.Server, b.at = s, &memory{conns: make(chan net.Conn), over: make(chan struct{})}
	if _, _, err := s.Restore(b.t.Context(), reading(all), recall); err != nil {
		b.t.Fatal(err)
	}
	served := make(chan error, 1)
	go func() { served <- s.Serve(context.Background(), b.at, nil) }()
	b.t.Cleanup(func() {
		if err := s.Close(context.Background()); err != nil && !errors.Is(err, ErrClosed) {
			b.t.Error(err)
		}
		if err := <-served; err != nil && !errors.Is(err, ErrClosed) {
			b.t.Error(err)
		}
	})
}

// grant says what a device may publish and subscribe to from its next connection on.
func (b *bubble) grant(d, publish, subscribe string) topic.Permissions {
	p := topic.Permissions{Publish: filters(b.t, strings.Fields(publish)...), Subscribe: filters(b.t, strings.Fields(subscribe)...), Retain: true}
	b.gate.mu.Lock()
	defer b.gate.mu.Unlock()
	b.gate.grants[device(b.t, d)] = p
	return p
}

// review gives a device another grant, at once.
func (b *bubble) review(d, publish, subscribe string) {
	p := b.grant(d, publish, subscribe)
	b.Review(device(b.t, d), func(s Standing) (Standing, bool) { s.Permissions = p; return s, true }, ReasonAdministrative, nil)
}

// drops gives how many messages were dropped for a cause since it was last asked.
func (b *bubble) drops(d Drop) int {
	synctest.Wait()
	b.mu.Lock()
	defer b.mu.Unlock()
	n := b.dropped[d]
	delete(b.dropped, d)
	return n
}

func (b *bubble) ended(r Reason) int {
	synctest.Wait()
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.ends[r]
}

// A client reads all that comes, and says it in words.
type client struct {
	t  *testing.T
	nc net.Conn
	v  packet.Version

	mu      sync.Mutex // guards the rest
	got     []string
	largest int    // bytes of the largest packet that came
	highest uint16 // topic alias that came
	aliases map[uint16]string
}

// open makes a connection, and sends what is first on it.
func (b *bubble) open(v packet.Version, first []byte) *client {
	ours, theirs := net.Pipe()
	b.at.conns <- pipe{theirs}
	c := &client{t: b.t, nc: ours, v: v, aliases: map[uint16]string{}}
	go c.read()
	b.t.Cleanup(func() { ours.Close() })
	if len(first) > 0 {
		c.send(first)
	}
	return c
}

// connectOf is a CONNECT of a device as dial sends it.
func connectOf(d string, change func(*packet.Connect)) packet.Connect {
	p := packet.Connect{
		Version: packet.V5, CleanStart: true, ClientID: d, HasUserName: true, UserName: d, HasPassword: true, Password: []byte("token-" + d),
		ReceiveMaximum: 65535, RequestProblemInformation: true,
	}
	if change != nil {
		change(&p)
	}
	return p
}

// dial connects a device in version 5, with a clean start and its name as client id, unless change
// says otherwise, and says what the CONNACK says.
func (b *bubble) dial(d string, change func(*packet.Connect)) (*client, string) {
	b.t.Helper()
	p := connectOf(d, change)
	c := b.open(p.Version, packet.AppendConnect(nil, &p))
	synctest.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.got) == 0 {
		b.t.Fatal("no answer to a CONNECT")
	}
	first := c.got[0]
	c.got = c.got[1:]
	return c, first
}

// join is dial that must succeed.
func (b *bubble) join(d string, change func(*packet.Connect)) *client {
	b.t.Helper()
	c, got := b.dial(d, change)
	if !strings.HasPrefix(got, "connack 0x0") {
		b.t.Fatalf("connecting as %s: %s", d, got)
	}
	return c
}

// resume is join for a session that must be there, or must not.
func (b *bubble) resume(d string, present bool, change func(*packet.Connect)) *client {
	b.t.Helper()
	c, got := b.dial(d, func(p *packet.Connect) {
		p.CleanStart, p.SessionExpiry, p.HasSessionExpiry = false, 100, true
		if change != nil {
			change(p)
		}
	})
	if strings.HasPrefix(got, "connack 0x0 present") != present || !strings.HasPrefix(got, "connack 0x0") {
		b.t.Fatalf("connecting as %s: %s, want it present: %t", d, got, present)
	}
	return c
}

// stays asks for a session of that many seconds.
func stays(seconds uint32) func(*packet.Connect) {
	return func(p *packet.Connect) { p.SessionExpiry, p.HasSessionExpiry = seconds, true }
}

// both makes two changes.
func both(changes ...func(*packet.Connect)) func(*packet.Connect) {
	return func(p *packet.Connect) {
		for _, change := range changes {
			change(p)
		}
	}
}

// stranger shows nothing; who he is is his client id.
func stranger(p *packet.Connect) {
	p.HasUserName, p.UserName, p.HasPassword, p.Password = false, "", false, nil
}

func named(id string) func(*packet.Connect) { return func(p *packet.Connect) { p.ClientID = id } }

func (c *client) send(p []byte) {
	_, _ = c.nc.Write(p) // fails for those that were ended
}

func (c *client) read() {
	r := bufio.NewReader(c.nc)
	for {
		first, err := r.ReadByte()
		if err != nil {
			break
		}
		head := []byte{first}
		for {
			b, err := r.ReadByte()
			if err != nil {
				return
			}
			if head = append(head, b); b < 0x80 {
				break
			}
		}
		h, _, err := packet.ReadHeader(head)
		if err != nil {
			c.note("bad header: " + err.Error())
			return
		}
		body := make([]byte, h.Length)
		if _, err := io.ReadFull(r, body); err != nil {
			break
		}
		c.mu.Lock()
		c.largest = max(c.largest, len(head)+len(body))
		c.mu.Unlock()
		c.note(c.say(h, body))
	}
	c.note("closed")
}

func (c *client) note(s string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.got = append(c.got, s)
}

// say puts a packet of the server into words.
func (c *client) say(h packet.Header, body []byte) string {
	switch h.Type {
	case packet.CONNACK:
		a, err := packet.ParseConnack(c.v, body)
		if err != nil {
			return "connack: " + err.Error()
		}
		out := fmt.Sprintf("connack %#x", byte(a.Code))
		if a.SessionPresent {
			out += " present"
		}
		if a.HasSessionExpiry {
			out += fmt.Sprintf(" expiry=%d", a.SessionExpiry)
		}
		if a.AssignedClientID != "" {
			out += " id=" + a.AssignedClientID
		}
		if a.HasServerKeepAlive {
			out += fmt.Sprintf(" alive=%d", a.ServerKeepAlive)
		}
		if a.HasMaximumQoS {
			out += fmt.Sprintf(" qos=%d", a.MaximumQoS)
		}
		if a.Reason != "" {
			out += " words"
		}
		if a.ResponseInformation != "" {
			out += " responses=" + a.ResponseInformation
		}
		return out
	case packet.PUBLISH:
		var p packet.Publish
		if err := p.ParseFromServer(c.v, h.Flags, body); err != nil {
			return "publish: " + err.Error()
		}
		name := string(p.Topic)
		if p.Alias > 0 {
			c.mu.Lock()
			c.highest = max(c.highest, p.Alias)
			if name == "" {
				name = "(" + c.aliases[p.Alias] + ")"
			} else {
				c.aliases[p.Alias] = name
			}
			c.mu.Unlock()
		}
		payload := p.Payload
		if len(payload) > 20 {
			payload = fmt.Appendf(nil, "%d bytes", len(payload))
		}
		out := fmt.Sprintf("%s=%s q%d", name, payload, p.QoS)
		if p.ID > 0 {
			out += fmt.Sprintf(" #%d", p.ID)
		}
		if p.Dup {
			out += " dup"
		}
		if p.Retain {
			out += " retained"
		}
		if p.HasExpiry {
			out += fmt.Sprintf(" for=%d", p.Expiry)
		}
		if len(p.SubscriptionIDs) > 0 {
			slices.Sort(p.SubscriptionIDs)
			out += fmt.Sprintf(" ids=%v", p.SubscriptionIDs)
		}
		if len(p.Forward) > 0 {
			out += fmt.Sprintf(" props=%x", p.Forward)
		}
		return out
	case packet.PUBACK, packet.PUBREC, packet.PUBREL, packet.PUBCOMP:
		a, err := packet.ParseAck(c.v, h.Type, body)
		if err != nil {
			return "ack: " + err.Error()
		}
		out := fmt.Sprintf("%s #%d", strings.ToLower(h.Type.String()), a.ID)
		if a.Code != 0 {
			out += fmt.Sprintf(" %#x", byte(a.Code))
		}
		return out
	case packet.SUBACK, packet.UNSUBACK:
		parse := packet.ParseSuback
		if h.Type == packet.UNSUBACK {
			parse = packet.ParseUnsuback
		}
		a, err := parse(c.v, body)
		if err != nil {
			return "suback: " + err.Error()
		}
		out := fmt.Sprintf("%s #%d", strings.ToLower(h.Type.String()), a.ID)
		for _, code := range a.Codes {
			out += fmt.Sprintf(" %#x", byte(code))
		}
		return out
	case packet.PINGRESP:
		return "pingresp"
	case packet.DISCONNECT:
		d, err := packet.ParseDisconnectFromServer(body)
		if err != nil {
			return "disconnect: " + err.Error()
		}
		out := fmt.Sprintf("disconnect %#x", byte(d.Code))
		if d.Reason == "" {
			out += " wordless"
		}
		return out
	}
	return h.Type.String()
}

// took gives what came since it was last asked, when all that is under way has come.
func (c *client) took() []string {
	synctest.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	got := c.got
	c.got = nil
	return got
}

// want compares what came with what should have.
func (c *client) want(packets ...string) {
	c.t.Helper()
	if got := c.took(); !slices.Equal(got, packets) {
		c.t.Fatalf("got  %q,\nwant %q", got, packets)
	}
}

// subscribe subscribes at a QoS, "filter" or "filter options": n no local, r retain as published, 1 2 retain handling.
func (c *client) subscribe(qos byte, filters ...string) {
	c.t.Helper()
	p := packet.Subscribe{ID: 7}
	want := "suback #7"
	for _, f := range filters {
		text, options, _ := strings.Cut(f, " ")
		o := packet.Options{QoS: qos, NoLocal: strings.Contains(options, "n"), RetainAsPublished: strings.Contains(options, "r")}
		if strings.Contains(options, "1") {
			o.RetainHandling = 1
		}
		if strings.Contains(options, "2") {
			o.RetainHandling = 2
		}
		p.Filters = append(p.Filters, packet.Filter{Text: text, Options: o})
		want += fmt.Sprintf(" %#x", qos)
	}
	c.ask(p, want)
}

// ask subscribes and compares the answer; what is retained follows.
func (c *client) ask(p packet.Subscribe, want string) {
	c.t.Helper()
	c.send(packet.AppendSubscribe(nil, c.v, &p))
	synctest.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	i := slices.Index(c.got, want)
	if i < 0 {
		c.t.Fatalf("subscribing: %q, want %q", c.got, want)
	}
	c.got = slices.Delete(c.got, i, i+1)
}

// publish sends "topic=payload" with that identifier, or none at QoS 0.
func (c *client) publish(qos byte, id uint16, text string, change ...func(*packet.Publish)) {
	name, payload, _ := strings.Cut(text, "=")
	p := packet.Publish{Topic: []byte(name), Payload: []byte(payload), QoS: qos, ID: id}
	for _, f := range change {
		f(&p)
	}
	c.send(packet.AppendPublish(nil, c.v, &p))
}

func keep(p *packet.Publish) { p.Retain = true }

func again(p *packet.Publish) { p.Dup = true }

func lives(seconds uint32) func(*packet.Publish) {
	return func(p *packet.Publish) { p.HasExpiry, p.Expiry = true, seconds }
}

func (c *client) ack(t packet.Type, id uint16, code packet.Code) {
	c.send(packet.AppendAck(nil, c.v, t, id, code, ""))
}

// bye disconnects with a code.
func (c *client) bye(code packet.Code) {
	c.send(packet.AppendDisconnect(nil, c.v, packet.Disconnect{Code: code}))
	synctest.Wait()
}

// cut loses the connection.
func (c *client) cut() {
	c.nc.Close()
	synctest.Wait()
}

// nothing more is there of a Server whose devices have ended: no session, no subscription, no message.
func (b *bubble) leavesNothing() {
	b.t.Helper()
	for d := range b.gate.grants {
		b.End(d, ReasonAdministrative)
	}
	time.Sleep(time.Second)
	synctest.Wait()
	if n, bytes := b.room.Taken(); n != 0 || bytes != 0 {
		b.t.Errorf("%d messages of %d bytes are left", n, bytes)
	}
	if n := b.subscriptions.Len(); n != 0 {
		b.t.Errorf("%d subscriptions are left", n)
	}
	if n := b.clients.sessions(); n != 0 {
		b.t.Errorf("%d sessions are left", n)
	}
}
