package flood

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"crypto/tls"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	mrand "math/rand/v2"
	"net"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/signetd/signet/protocol"
	"github.com/signetd/signet/protocol/channel"
	"github.com/signetd/signet/protocol/detcbor"
	"github.com/signetd/signet/protocol/ident"
	"github.com/signetd/signet/protocol/topic"
)

// A kind is what strangers do, each in a process's worth of goroutines.
type kind struct {
	name string
	many int // at once
	do   func(*crowd) error
}

// kinds are all that strangers do: each is done again and again, by many.
func kinds() []kind {
	return []kind{
		{"handshake-mqtt", 16, func(c *crowd) error { return c.handshake(c.MQTT, nil) }},
		{"handshake-https", 16, func(c *crowd) error { return c.handshake(c.HTTPS, nil) }},
		{"websocket", 16, func(c *crowd) error { return c.handshake(c.HTTPS, upgrade) }},
		{"half-handshake", 32, func(c *crowd) error { return c.holdPlain(c.MQTT, []byte{0x16, 3, 1, 0x40, 0}) }},
		{"connect-held", 400, func(c *crowd) error { return c.hold(c.MQTT, heldConnect(0xc2, 7)) }},
		{"connect-long", 16, func(c *crowd) error { return c.hold(c.MQTT, heldConnect(2, 16)) }},
		{"header-held", 400, func(c *crowd) error { return c.hold(c.HTTPS, heldHeader()) }},
		{"body-held", 200, func(c *crowd) error { return c.hold(c.HTTPS, heldBody()) }},
		{"start", 100, func(c *crowd) error { return c.ask(opening, c.hear) }},
		{"refresh", 50, func(c *crowd) error { return c.ask(renewal, c.hear) }},
		{"auth-held", 200, func(c *crowd) error { return c.authenticate(none) }},
		{"auth-loop", 25, func(c *crowd) error { return c.authenticate(nothingSaid) }},
		{"auth-start", 25, func(c *crowd) error { return c.authenticate(begins) }},
		{"deaf", 50, func(c *crowd) error { return c.ask(opening, c.ignore) }},
	}
}

// A crowd is where strangers go, and how many: its JSON is what begins them.
type crowd struct {
	MQTT, HTTPS string
	Kinds       map[string]int // how many times as many of a kind as is usual; nil: once as many of all

	done, asked, heard, busy atomic.Int64 // attempts that came to their end; requests; answers; of them "busy"
}

// A toll is what strangers did.
type toll struct{ Done, Asked, Heard, Busy int64 }

const crowdEnv = "SIGNET_CROWD"

// TestMain is the strangers' main, too, in a process of their own.
func TestMain(m *testing.M) {
	raw := os.Getenv(crowdEnv)
	if raw == "" {
		os.Exit(m.Run())
	}
	c := &crowd{}
	if err := json.Unmarshal([]byte(raw), c); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	for _, k := range kinds() {
		times := c.Kinds[k.name]
		if c.Kinds == nil {
			times = 1
		}
		for range k.many * times {
			go func() {
				for {
					if k.do(c) != nil { // turned away, or cut off: that is what is wanted
						time.Sleep(10 * time.Millisecond)
					}
					c.done.Add(1)
				}
			}()
		}
	}
	_, _ = io.Copy(io.Discard, os.Stdin) // until it is closed
	_ = json.NewEncoder(os.Stdout).Encode(toll{c.done.Load(), c.asked.Load(), c.heard.Load(), c.busy.Load()})
}

// flood lets strangers in; stop ends all of them and says what they did.
func (s *site) flood(kinds map[string]int) (stop func() toll) {
	t := s.t
	t.Helper()
	raw, err := json.Marshal(&crowd{MQTT: s.addrs.MQTT, HTTPS: s.addrs.HTTPS, Kinds: kinds})
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), crowdEnv+"="+string(raw))
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	stop = sync.OnceValue(func() (did toll) {
		_ = in.Close()
		if err := cmd.Wait(); err != nil {
			t.Errorf("strangers: %v\n%s", err, out.String())
		} else if err := json.Unmarshal(out.Bytes(), &did); err != nil {
			t.Errorf("strangers: %v\n%s", err, out.String())
		}
		return did
	})
	t.Cleanup(func() { stop() })
	return stop
}

// from gives an address of this machine, out of 254 times 100.
func from() net.IP { return net.IPv4(127, 0, byte(1+mrand.IntN(100)), byte(1+mrand.IntN(254))) }

func dialPlain(to string) (net.Conn, error) {
	d := &net.Dialer{LocalAddr: &net.TCPAddr{IP: from()}, Timeout: 10 * time.Second}
	return d.Dial("tcp", to)
}

func dial(to string) (*tls.Conn, error) {
	nc, err := dialPlain(to)
	if err != nil {
		return nil, err
	}
	c := tls.Client(nc, &tls.Config{InsecureSkipVerify: true}) // they believe anybody
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	if err := c.Handshake(); err != nil {
		_ = nc.Close()
		return nil, err
	}
	return c, c.SetDeadline(time.Time{})
}

var upgrade = []byte("GET /mqtt HTTP/1.1\r\nHost: localhost\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" +
	"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: mqtt\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")

// handshake makes a connection, says something and hangs up.
func (c *crowd) handshake(to string, says []byte) error {
	nc, err := dial(to)
	if err != nil {
		return err
	}
	defer nc.Close()
	if says == nil {
		return nil
	}
	if _, err := nc.Write(says); err != nil {
		return err
	}
	_ = nc.SetReadDeadline(time.Now().Add(5 * time.Second))
	_, err = nc.Read(make([]byte, 512))
	return err
}

// hold sends bytes that lack their end, and waits to be cut off.
func (c *crowd) hold(to string, part []byte) error {
	nc, err := dial(to)
	if err != nil {
		return err
	}
	return outwait(nc, part)
}

func (c *crowd) holdPlain(to string, part []byte) error {
	nc, err := dialPlain(to)
	if err != nil {
		return err
	}
	return outwait(nc, part)
}

// outwait says part and waits for the connection to be ended.
func outwait(nc net.Conn, part []byte) error {
	defer nc.Close()
	if _, err := nc.Write(part); err != nil {
		return err
	}
	_, err := io.Copy(io.Discard, nc)
	return err
}

func text(s string) []byte { return append(binary.BigEndian.AppendUint16(nil, uint16(len(s))), s...) }

func packet(first byte, parts ...[]byte) []byte {
	body := bytes.Join(parts, nil)
	return append(binary.AppendUvarint([]byte{first}, uint64(len(body))), body...)
}

func anonymous() topic.ClientID {
	var b [16]byte
	_, _ = rand.Read(b[:])
	return topic.Anonymous(b)
}

// heldConnect is a CONNECT of MQTT 5 with kibibytes of user properties, that lacks its last
// byte: with a password, as long as it may be, or without one, and longer.
func heldConnect(flags byte, kibibytes int) []byte {
	property := append([]byte{0x26}, append(text("k"), text(strings.Repeat("v", 1018))...)...)
	properties := bytes.Repeat(property, kibibytes)
	raw := packet(0x10, text("MQTT"), []byte{5, flags, 0, 60}, binary.AppendUvarint(nil, uint64(len(properties))), properties, text(anonymous().String()), text("demo:lamp-1"), text("guess"))
	return raw[:len(raw)-1]
}

// heldHeader is nearly as much as a request may have before its body, and no end.
func heldHeader() []byte {
	return []byte("GET /api/v1/pools HTTP/1.1\r\nHost: localhost\r\nX-Held: " + strings.Repeat("v", 7900))
}

// heldBody is a request with half of its body.
func heldBody() []byte {
	return []byte("POST /api/v1/pools HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer sgnt_nobody\r\nContent-Type: application/json\r\nContent-Length: 60000\r\n\r\n" +
		strings.Repeat("v", 30_000))
}

// ask connects as nobody and asks without pause for as long as it is let, whatever comes back.
func (c *crowd) ask(what func() protocol.Message, hear func(*tls.Conn)) error {
	nc, err := dial(c.MQTT)
	if err != nil {
		return err
	}
	defer nc.Close()
	id := anonymous()
	hello := append(packet(0x10, text("MQTT"), []byte{4, 2, 0, 60}, text(id.String())), packet(0x82, []byte{0, 1}, text(id.Reply().String()), []byte{0})...)
	if _, err := nc.Write(hello); err != nil {
		return err
	}
	go hear(nc)
	for w := bufio.NewWriter(nc); ; {
		raw, err := protocol.Encode(what())
		if err != nil {
			return err
		}
		if _, err := w.Write(packet(0x30, text(id.Request().String()), raw)); err != nil {
			return err
		}
		c.asked.Add(1)
	}
}

// authenticate begins MQTT 5's enhanced authentication, says what there is to say, again and again, whatever comes
// back, and waits to be cut off.
func (c *crowd) authenticate(says func(*tls.ConnectionState) [][]byte) error {
	nc, err := dial(c.MQTT)
	if err != nil {
		return err
	}
	method := append([]byte{0x15}, text(protocol.AuthMethod)...)
	state := nc.ConnectionState()
	all := packet(0x10, text("MQTT"), []byte{5, 2, 0, 60, byte(len(method))}, method, text(""))
	for _, data := range says(&state) {
		properties := append(append([]byte{}, method...), append([]byte{0x16}, text(string(data))...)...)
		all = append(all, packet(0xf0, []byte{0x18}, binary.AppendUvarint(nil, uint64(len(properties))), properties)...)
		c.asked.Add(1)
	}
	return outwait(nc, all)
}

// What strangers say when they authenticate.
func none(*tls.ConnectionState) [][]byte        { return nil }
func nothingSaid(*tls.ConnectionState) [][]byte { return make([][]byte, 64) }

// begins are openings that are sound, of this very connection.
func begins(s *tls.ConnectionState) (all [][]byte) {
	for range 64 {
		m := &protocol.Start{Request: request()}
		_, _ = rand.Read(m.ID[:])
		m.Channel = channel.Name(s)
		raw, err := protocol.Encode(m)
		if err != nil {
			return nil
		}
		all = append(all, raw)
	}
	return all
}

// ignore reads nothing, and has hardly any room for what comes.
func (c *crowd) ignore(nc *tls.Conn) {
	if tcp, ok := nc.NetConn().(*net.TCPConn); ok {
		_ = tcp.SetReadBuffer(1) // as little as the system grants
	}
}

// hear reads answers until the connection ends.
func (c *crowd) hear(nc *tls.Conn) {
	for r := bufio.NewReader(nc); ; {
		kind, err := r.ReadByte()
		if err != nil {
			return
		}
		n, err := binary.ReadUvarint(r)
		if err != nil {
			return
		}
		body := make([]byte, n)
		if _, err := io.ReadFull(r, body); err != nil {
			return
		}
		if kind>>4 != 3 || len(body) < 2 {
			continue
		}
		c.heard.Add(1)
		m, err := protocol.Decode(body[2+binary.BigEndian.Uint16(body):])
		if r, ok := m.(*protocol.Refusal); err == nil && ok && r.Problem.Signet.Code == protocol.CodeBusy {
			c.busy.Add(1)
		}
	}
}

func request() protocol.Request {
	pool, _ := ident.ParsePool("demo")
	name, _ := ident.ParseName("made-up-" + hex.EncodeToString(random(4)))
	return protocol.Request{Pool: pool, Name: name, Nonce: random(protocol.NonceLen), SealTo: random(32)}
}

func random(n int) []byte {
	b := make([]byte, n)
	_, _ = rand.Read(b)
	return b
}

func opening() protocol.Message {
	m := &protocol.Start{Request: request()}
	_, _ = rand.Read(m.ID[:])
	return m
}

// renewal is a made-up refresh token's.
func renewal() protocol.Message {
	body, err := detcbor.Marshal(protocol.RefreshBody{Request: request(), Session: ident.UUID(random(16)), Handle: random(32)})
	if err != nil {
		panic(err) // of ours: a stranger that says nothing proves nothing
	}
	m := &protocol.Refresh{Body: body, Proof: random(64)}
	_, _ = rand.Read(m.ID[:])
	return m
}
