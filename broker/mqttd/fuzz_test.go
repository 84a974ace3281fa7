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
	"time"

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
