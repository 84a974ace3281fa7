package mqttd

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/signetd/signet/broker/intake"
	"github.com/signetd/signet/broker/mqttd/packet"
	"github.com/signetd/signet/broker/mqttd/retained"
	"github.com/signetd/signet/protocol/ident"
	"github.com/signetd/signet/protocol/ident/identtest"
	"github.com/signetd/signet/protocol/topic"
	"github.com/signetd/signet/protocol/topic/topictest"
)

// greetings are what a fuzzed stream may begin with: nothing, or a CONNECT that is admitted.
func greetings() [][]byte {
	retained := as("p:r", 5)
	retained.will, retained.willRetain = "devices/p/r/gone", true
	authenticated, asked := hello("p:n", "is p:n"), hello("p:n", "a")
	return [][]byte{
		packet.AppendConnect(nil, &authenticated), packet.AppendConnect(nil, &asked),
		nil, connectPacket{version: 4, id: anonA}.bytes(), connectPacket{version: 5, id: anonA}.bytes(),
		as("p:n", 4).bytes(), as("p:n", 5).bytes(), retained.bytes(),
	}
}

// hostile are streams that servers have fallen over.
func hostile() [][]byte {
	sub := func(filter string, options byte) []byte {
		return frame(0x82, []byte{0, 7, 0}, str(filter), []byte{options})
	}
	return [][]byte{
		{0x82, 6, 0, 1, 0, 0, 1, 'a'}, {0x82, 5, 0, 1, 0, 0, 0}, {0x82, 0}, {0xa2, 3, 0, 1, 0}, {0x10, 0xff, 0xff, 0xff, 0x7f},
		{0x30, 0xff, 0xff, 0xff, 0x7f}, {0x30, 4, 0, 1, 'a', 0}, {0x32, 6, 0, 1, 'a', 0, 0, 0}, {0xc0, 0}, {0xe0, 0}, {0xe0, 2, 4, 0},
		goesOn("is p:n"), anew("is p:n"), append(anew("a"), goesOn("is p:n")...), append(goesOn(""), goesOn("a")...), anew("is p:m"),
		authPacket(packet.ContinueAuthentication, "other", "is p:n"), goesOn(strings.Repeat("x", 2000))[:1000],
		{0xf0, 0}, {0xf0, 2, 0x19, 0}, {0x62, 2, 0, 9}, {0x50, 2, 0, 9}, {0x70, 2, 0, 9}, {0x40, 2, 0, 9}, {0x00, 0}, {0x90, 3, 0, 1, 0}, {0x20, 2, 0, 0},
		sub("$share/g/#", 0), sub("devices/p/n/#", 0x2d), sub("$share/g/devices/p/n/#", 1), sub("$SYS/#", 0), sub("signet/v1/"+anonA+"/rs", 0),
		append(sub("devices/p/n/#", 2), frame(0x34, str("devices/p/n/x"), []byte{0, 9, 0}, []byte("x"))...),
		frame(0x33, str("devices/p/r/x"), []byte{0, 9, 5, 2, 0, 0, 0, 1}, []byte("kept a second")),
		frame(0x30, str("devices/p/n/x"), []byte{3, 0x23, 0, 1}, []byte("alias")), frame(0x30, str(""), []byte{3, 0x23, 0, 1}, []byte("alias only")),
		frame(0x30, str("signet/v1/"+anonA+"/rq"), []byte{0}, []byte("request")), frame(0x3d, str("devices/p/r/x"), []byte{0, 9, 0}),
	}
}

// believing believes whoever says that he is a device, and asks everybody else.
type believing struct{}

func (believing) Next(_ context.Context, data []byte) (Answer, error) {
	name, ok := strings.CutPrefix(string(data), "is ")
	if d, err := ident.ParseDevice(name); ok && err == nil {
		return Answer{Data: data, Done: true, Standing: Standing{Device: d, Permissions: topic.Own(d)}}, nil
	}
	return Answer{Data: data}, nil
}

// FuzzConn feeds bytes to a whole connection and what lies behind it.
// Nothing may panic, even where a panic would be contained, nothing may be left
// behind, and the next client must be served.
func FuzzConn(f *testing.F) {
	for i := range greetings() {
		for _, b := range hostile() {
			f.Add(byte(i), b)
		}
	}
	all := topic.Permissions{Retain: true}
	for _, s := range []string{"devices/#", "#", "$SYS/#"} {
		one := topictest.Filter(f, s)
		all.Publish, all.Subscribe = append(all.Publish, one), append(all.Subscribe, one)
	}
	r := identtest.Device(f, "p:r")
	logs := &logBuffer{}
	s, err := New(Config{
		Gate:    &testGate{grants: map[ident.Device]topic.Permissions{r: all}, expires: map[ident.Device]time.Time{}},
		Respond: func(_ context.Context, q Request) []byte { return q.Payload },
		Methods: map[string]Method{"script": func(Connect) Exchange { return believing{} }},
		Log:     slog.New(slog.NewTextHandler(logs, &slog.HandlerOptions{Level: slog.LevelError})),
	})
	if err != nil {
		f.Fatal(err)
	}
	f.Cleanup(func() {
		if err := s.Close(context.Background()); err != nil {
			f.Error(err)
		}
	})
	f.Fuzz(func(t *testing.T, greeting byte, in []byte) {
		if len(in) > 4096 {
			return
		}
		begin := greetings()
		feed(s, append(bytes.Clone(begin[int(greeting)%len(begin)]), in...), nil)
		if text := logs.String(); strings.Contains(text, "panic") {
			t.Fatalf("a panic:\n%s", text)
		}
		none := func() bool { return s.clients.sessions() == 0 && s.Count() == 0 && s.subscriptions.Len() == 0 }
		for range 5000 { // requests in work keep their client ids
			if none() {
				break
			}
			time.Sleep(time.Millisecond)
		}
		if !none() {
			t.Fatalf("%d sessions, %d connections and %d subscriptions are left", s.clients.sessions(), s.Count(), s.subscriptions.Len())
		}
		pong := []byte{0xd0, 0}
		if out := feed(s, append(connectPacket{version: 5, id: anonB}.bytes(), 0xc0, 0), pong); !bytes.HasSuffix(out, pong) {
			t.Fatalf("the next client got %x", out)
		}
		s.retained.Delete(func(*retained.Kept) bool { return true })
	})
}

// pairs are CONNECTs of two clients that have to do with each other: of two devices, of one with two client
// ids, and of one that comes twice, with what clients may ask for.
func pairs() [][2]packet.Connect {
	few := takes(1, 60, 2)
	old := func(p *packet.Connect) { p.Version, p.CleanStart = packet.V311, false }
	goesOn := func(p *packet.Connect) { p.CleanStart = false }
	return [][2]packet.Connect{
		{connectOf("p:a", nil), connectOf("p:b", nil)},
		{connectOf("p:a", stays(100)), connectOf("p:b", both(few, leaves("t/b/w", 0)))},
		{connectOf("p:a", both(stays(100), few)), connectOf("p:a", both(named("p:a/2"), stays(10)))},
		{connectOf("p:a", both(stays(100), leaves("t/a/w", 5))), connectOf("p:a", both(stays(100), goesOn))},
		{connectOf("p:a", old), connectOf("p:b", old)},
		{connectOf("p:a", old), connectOf("p:a", both(goesOn, few))},
		{connectOf(anonA, stranger), connectOf("p:a", few)},
	}
}

// FuzzTwoConns feeds bytes to two connections in turns, as many at once as turns says. Nothing may panic or
// wait for ever, each client gets packets of MQTT, of the topics that it may read and no longer than it
// takes, and when the devices have ended nothing is left behind.
func FuzzTwoConns(f *testing.F) {
	talk := func(own string) []byte {
		sub := &packet.Subscribe{ID: 1, SubscriptionID: 3, Filters: []packet.Filter{{Text: "t/#", Options: packet.Options{QoS: 2}}, {Text: "t/" + own + "/#", Options: packet.Options{QoS: 2}}, {Text: "$share/g/t/both/#", Options: packet.Options{QoS: 1}}}}
		all := packet.AppendSubscribe(nil, packet.V5, sub)
		for qos := range byte(3) {
			for _, name := range []string{"t/both/x", "t/" + own + "/x", "t/c/x"} {
				all = packet.AppendPublish(all, packet.V5, &packet.Publish{Topic: []byte(name), Payload: []byte("p"), QoS: qos, ID: uint16(qos), Retain: qos == 1, Alias: uint16(qos)})
			}
		}
		for _, t := range []packet.Type{packet.PUBREC, packet.PUBCOMP, packet.PUBACK, packet.PUBREL} {
			all = packet.AppendAck(all, packet.V5, t, 1, 0, "")
			all = packet.AppendAck(all, packet.V5, t, 2, 0, "")
		}
		all = packet.AppendUnsubscribe(all, packet.V5, &packet.Unsubscribe{ID: 2, Filters: []string{"t/" + own + "/#"}})
		return append(all, packet.AppendDisconnect(nil, packet.V5, packet.Disconnect{Code: packet.DisconnectWithWill})...)
	}
	for i := range pairs() {
		f.Add(byte(i), talk("a"), talk("b"), []byte{0x3f, 0x7f, 0xff, 0xbf, 0x81, 0xc1, 0x7f, 0x3f})
		f.Add(byte(i), talk("b"), talk("a"), []byte{0xbf, 0xbf, 0xbf, 0xff, 0xff, 0xff})
	}
	for _, b := range hostile() {
		f.Add(byte(1), talk("a"), b, []byte{0x3f, 0xff, 0x3f})
	}
	f.Fuzz(func(t *testing.T, pair byte, one, two, turns []byte) {
		if len(one)+len(two) > 4096 || len(turns) > 256 {
			return
		}
		inBubble(t, func(c *Config) {
			c.Limits = intake.Limits{Rate: 1e9, Burst: 1e9}
			c.SessionMessages = 5
		}, func(b *bubble) {
			b.grant("p:a", "t/a/# t/both/#", "t/a/# t/both/#")
			b.grant("p:b", "t/b/# t/both/#", "t/b/# t/both/#")
			of := pairs()[int(pair)%len(pairs())]
			var clients [2]*client
			for i, p := range of {
				clients[i] = b.open(p.Version, packet.AppendConnect(nil, &p))
				synctest.Wait()
			}
			left := [2][]byte{one, two}
			for _, turn := range append(turns, 0x3f, 0x7f) {
				i := int(turn >> 6 & 1)
				n := min(int(turn&0x3f)+1, len(left[i]))
				if turn == 0x3f || turn == 0x7f {
					n = len(left[i])
				}
				clients[i].send(left[i][:n])
				if left[i] = left[i][n:]; turn&0x80 != 0 {
					synctest.Wait()
				}
			}
			synctest.Wait()
			for i, c := range clients {
				c.heard(t, of[i])
				c.cut()
			}
			time.Sleep(time.Minute) // wills, and sessions that end
			b.leavesNothing()
			b.Server.retained.Delete(func(*retained.Kept) bool { return true })
		})
	})
}

// heard checks what came to a fuzzed client.
func (c *client) heard(t *testing.T, p packet.Connect) {
	t.Helper()
	c.mu.Lock()
	defer c.mu.Unlock()
	if most := int(p.MaximumPacketSize); most > 0 && c.largest > most || c.highest > p.TopicAliasMaximum {
		t.Errorf("%d bytes, alias %d for a client that takes %d and %d", c.largest, c.highest, most, p.TopicAliasMaximum)
	}
	own := "t/" + strings.TrimPrefix(p.UserName, "p:") + "/"
	for _, said := range c.got {
		name, _, isMessage := strings.Cut(strings.TrimLeft(said, "("), "=")
		switch {
		case isMessage && strings.HasPrefix(name, "t/") && !strings.HasPrefix(name, own) && !strings.HasPrefix(name, "t/both"):
			t.Errorf("%s was sent %q", p.ClientID, said)
		case strings.Contains(said, "packet: "), strings.HasPrefix(said, "bad header"):
			t.Errorf("%s: %s", p.ClientID, said)
		}
	}
}

// A duplex is the server's end of two pipes, one each way, so that a client can
// stop sending and still hear the answers.
type duplex struct {
	net.Conn // what comes
	out      net.Conn
}

func (d duplex) Write(p []byte) (int, error)         { return d.out.Write(p) }
func (d duplex) SetWriteDeadline(at time.Time) error { return d.out.SetWriteDeadline(at) }

func (d duplex) SetDeadline(at time.Time) error {
	return errors.Join(d.Conn.SetReadDeadline(at), d.out.SetWriteDeadline(at))
}

func (d duplex) Close() error { return errors.Join(d.Conn.Close(), d.out.Close()) }

// feed sends a stream on a connection of its own, and gives what came back until the server had
// handled all of it. With an end, the client waits for that before it goes.
func feed(s *Server, stream, end []byte) (out []byte) {
	toServer, serverIn := net.Pipe()
	fromServer, serverOut := net.Pipe()
	served, read, heard := make(chan struct{}), make(chan struct{}), make(chan struct{})
	go func() { defer close(served); s.serveConn(duplex{serverIn, serverOut}) }()
	go func() {
		defer close(read)
		said := sync.OnceFunc(func() { close(heard) })
		defer said()
		for buf := make([]byte, 512); ; {
			n, err := fromServer.Read(buf)
			if out = append(out, buf[:n]...); end != nil && bytes.HasSuffix(out, end) {
				said()
			}
			if err != nil {
				return
			}
		}
	}()
	_, _ = toServer.Write(stream) // fails when the server has heard enough
	if end != nil {
		<-heard
	}
	toServer.Close()
	<-served
	<-read
	return out
}
