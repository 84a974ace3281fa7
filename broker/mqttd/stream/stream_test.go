package stream

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"math/big"
	mrand "math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coder/websocket"

	"github.com/signetd/signet/test/leaktest"
)

// TestMain holds every test to leave no goroutine and no descriptor behind.
func TestMain(m *testing.M) {
	_ = identity() // its randomness may open a descriptor
	leaktest.Main(m)
}

// identity is a certificate for localhost.
var identity = sync.OnceValue(func() tls.Certificate {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	cert := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), DNSNames: []string{"localhost"}}
	der, err := x509.CreateCertificate(rand.Reader, cert, cert, key.Public(), key)
	if err != nil {
		panic(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
})

func serverTLS() *tls.Config { return &tls.Config{Certificates: []tls.Certificate{identity()}} }
func clientTLS() *tls.Config { return &tls.Config{InsecureSkipVerify: true} }

// A form is a way in which a client reaches a Stream.
type form struct {
	name    string
	tls     bool
	halves  bool // each side can be closed by itself
	own     bool // it has a goroutine that reads, where others have a poller
	connect func(t testing.TB, l *Loop, h func() Handler) (*Stream, net.Conn)
}

var forms = []form{
	{"plain", false, true, false, func(t testing.TB, l *Loop, h func() Handler) (*Stream, net.Conn) {
		server, client := tcp(t)
		return l.New(server, nil, h()), client
	}},
	{"TLS 1.3", true, true, false, func(t testing.TB, l *Loop, h func() Handler) (*Stream, net.Conn) {
		server, client := tcp(t)
		return l.New(server, serverTLS(), h()), tls.Client(client, clientTLS())
	}},
	{"TLS 1.2", true, true, false, func(t testing.TB, l *Loop, h func() Handler) (*Stream, net.Conn) {
		server, client := tcp(t)
		conf := clientTLS()
		conf.MaxVersion = tls.VersionTLS12
		return l.New(server, serverTLS(), h()), tls.Client(client, conf)
	}},
	{"TLS of another's", true, true, false, func(t testing.TB, l *Loop, h func() Handler) (*Stream, net.Conn) {
		server, client := tcp(t)
		return l.New(tls.Server(server, serverTLS()), nil, h()), tls.Client(client, clientTLS())
	}},
	{"TLS behind a header", true, true, false, func(t testing.TB, l *Loop, h func() Handler) (*Stream, net.Conn) {
		server, client := tcp(t)
		hello := make([]byte, 10)
		secure := tls.Client(client, clientTLS())
		go func() { _ = secure.Handshake() }()
		if _, err := io.ReadFull(server, hello); err != nil {
			t.Fatal(err)
		}
		return l.New(&headed{server, hello}, serverTLS(), h()), secure
	}},
	{"pipe", false, false, false, func(t testing.TB, l *Loop, h func() Handler) (*Stream, net.Conn) {
		server, client := net.Pipe()
		t.Cleanup(func() { _ = client.Close() })
		return l.New(server, nil, h()), client
	}},
	{"TLS over a pipe", true, false, false, func(t testing.TB, l *Loop, h func() Handler) (*Stream, net.Conn) {
		server, client := net.Pipe()
		t.Cleanup(func() { _ = client.Close() })
		return l.New(server, serverTLS(), h()), tls.Client(client, clientTLS())
	}},
	{"WebSocket", false, false, false, func(t testing.TB, l *Loop, h func() Handler) (*Stream, net.Conn) {
		got := make(chan *Stream)
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			nc, err := AcceptWebSocket(w, r, nil)
			if err != nil {
				t.Error(err)
				return
			}
			got <- l.New(nc, nil, h())
		}))
		t.Cleanup(s.Close)
		ws, _, err := websocket.Dial(t.Context(), s.URL, nil)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = ws.CloseNow() })
		return <-got, websocket.NetConn(context.Background(), ws, websocket.MessageBinary)
	}},
}

// headed has read some of a connection, as package balancer has.
type headed struct {
	net.Conn
	unread []byte
}

func (h *headed) NetConn() net.Conn { return h.Conn }
func (h *headed) Unread() []byte    { p := h.unread; h.unread = nil; return p }

func tcp(t testing.TB) (server, client net.Conn) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	client, err = net.Dial("tcp", ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Close() })
	server, err = ln.Accept()
	if err != nil {
		t.Fatal(err)
	}
	return server, client
}

// handler is a Handler of functions, each of which may be nil.
type handler struct {
	s       *Stream
	feed    func(p []byte) (time.Duration, error)
	drained func()
	overdue func()

	feeding sync.Mutex
	over    bool // with feeding
	end     chan error
	t       *testing.T
}

func (h *handler) Feed(p []byte) (time.Duration, error) {
	h.enter("Feed")
	defer h.feeding.Unlock()
	if h.feed == nil {
		return 0, nil
	}
	return h.feed(p)
}

func (h *handler) enter(what string) {
	if what == "Feed" && !h.feeding.TryLock() {
		h.t.Error("fed by two at once")
		h.feeding.Lock()
	} else if what != "Feed" {
		h.feeding.Lock()
	}
	if h.over {
		h.t.Errorf("%s after Closed", what)
	}
}

func (h *handler) Drained() {
	if h.drained != nil {
		h.drained()
	}
}

func (h *handler) Overdue() {
	if h.overdue != nil {
		h.overdue()
	}
}

func (h *handler) Closed(err error) {
	h.feeding.Lock()
	defer h.feeding.Unlock()
	if h.over {
		h.t.Error("closed twice")
		return
	}
	h.over = true
	h.end <- err
}

var testConfig = Config{MaxBacklog: 256 << 10, Mark: 32 << 10, WriteTimeout: time.Minute}

// begin connects a handler's stream in a form and does the handshake.
func begin(t *testing.T, f form, cfg Config, h *handler) net.Conn {
	t.Helper()
	h.t, h.end = t, make(chan error, 1)
	cfg.Goroutines = f.own
	l := NewLoop(cfg)
	var client net.Conn
	h.s, client = f.connect(t, l, func() Handler { return h })
	t.Cleanup(func() {
		h.s.Cut()
		l.Close()
	})
	if f.tls {
		failed := make(chan error, 1)
		go func() { failed <- client.(*tls.Conn).Handshake() }()
		if err := errors.Join(h.s.Handshake(), <-failed); err != nil {
			t.Fatal(err)
		}
		if h.s.ConnectionState() == nil {
			t.Error("no state of TLS")
		}
	}
	return client
}

// closed waits for the stream's end.
func (h *handler) closed() error {
	h.t.Helper()
	select {
	case err := <-h.end:
		return err
	case <-time.After(5 * time.Minute):
		h.t.Fatal("not closed")
		return nil
	}
}

func each(t *testing.T, f func(t *testing.T, f form)) {
	for _, form := range forms {
		t.Run(form.name, func(t *testing.T) { f(t, form) })
		form.own = true
		t.Run(form.name+" with goroutines", func(t *testing.T) { f(t, form) })
	}
}

// crumbling sends what is written in pieces of 1 to 37 bytes, so that records and
// packets come broken.
type crumbling struct {
	net.Conn
	r *mrand.Rand
}

func crumble(nc net.Conn) *crumbling { return &crumbling{nc, mrand.New(mrand.NewPCG(1, 2))} }

func (c *crumbling) Write(p []byte) (int, error) {
	for done := 0; done < len(p); {
		n, err := c.Conn.Write(p[done:min(len(p), done+1+c.r.IntN(37))])
		if err != nil {
			return done, err
		}
		done += n
	}
	return len(p), nil
}

// noise is n bytes that do not repeat.
func noise(n int) []byte {
	p := make([]byte, n)
	r := mrand.NewChaCha8([32]byte{1})
	_, _ = r.Read(p)
	return p
}

// receive reads n bytes of the client's connection.
func receive(t *testing.T, nc net.Conn, n int) []byte {
	t.Helper()
	_ = nc.SetReadDeadline(time.Now().Add(5 * time.Minute)) // a machine may be very busy
	p := make([]byte, n)
	if m, err := io.ReadFull(nc, p); err != nil {
		t.Fatalf("after %d of %d bytes: %v", m, n, err)
	}
	return p
}

// TestEcho: what comes in crumbs is fed in order and whole, what came before Serve
// included, and what is written arrives so (MQTT-4.2.0-1).
func TestEcho(t *testing.T) {
	each(t, func(t *testing.T, f form) {
		h := new(handler)
		h.feed = func(p []byte) (time.Duration, error) {
			for len(p) > 0 { // answers in pieces, which leave together
				n := min(len(p), 100)
				if err := h.s.Write(p[:n/2], p[n/2:n]); err != nil {
					return 0, err
				}
				p = p[n:]
			}
			return 0, nil
		}
		client := begin(t, f, testConfig, h)
		sent := noise(70_000)
		go func() {
			if _, err := crumble(client).Write(sent); err != nil {
				t.Error(err)
			}
		}()
		first := make([]byte, 1000)
		n, err := io.ReadAtLeast(h.s, first, 300)
		if err != nil {
			t.Fatal(err)
		}
		h.s.Serve(first[:n])
		if !bytes.Equal(receive(t, client, len(sent)), sent) {
			t.Error("not what was sent")
		}
		_ = client.Close()
		if err := h.closed(); err == nil {
			t.Error("the client's going looks like a hang-up")
		}
	})
}

// TestOnAnswer: whoever asks is told of the answer to a hello before the client has read it, also
// of a client that then says no more, and told of the end of a handshake that fails.
func TestOnAnswer(t *testing.T) {
	for _, c := range []struct {
		name  string
		fails error
	}{{"answered", nil}, {"refused", io.ErrUnexpectedEOF}} {
		t.Run(c.name, func(t *testing.T) {
			l := NewLoop(testConfig)
			defer l.Close()
			server, client := tcp(t)
			told := make(chan struct{})
			conf := serverTLS()
			conf.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
				hello.Conn.(interface{ OnAnswer(func()) }).OnAnswer(func() { close(told) })
				return nil, c.fails
			}
			h := &handler{t: t, end: make(chan error, 1)}
			s := l.New(server, conf, h)
			shaken := make(chan error, 1)
			go func() { shaken <- s.Handshake() }()
			hears := make(chan struct{})
			deaf := tls.Client(&deafConn{client, hears}, clientTLS())
			over := make(chan struct{})
			go func() { defer close(over); _ = deaf.Handshake() }()
			<-told
			_ = client.Close()
			close(hears)
			<-over
			if err := <-shaken; err == nil {
				t.Error("a handshake without its end")
			}
			s.Cut()
		})
	}
}

// A deafConn reads nothing until it hears.
type deafConn struct {
	net.Conn
	hears chan struct{}
}

func (d *deafConn) Read(p []byte) (int, error) {
	<-d.hears
	return d.Conn.Read(p)
}

// TestTogether: what is written during a Feed, or between Cork and Uncork, leaves in one
// record of TLS.
func TestTogether(t *testing.T) {
	server, raw := tcp(t)
	counted := &counting{Conn: raw}
	h := &handler{t: t, end: make(chan error, 1)}
	h.feed = func([]byte) (time.Duration, error) {
		for range 100 {
			if err := h.s.Write([]byte("ab"), []byte("c")); err != nil {
				return 0, err
			}
		}
		return 0, nil
	}
	l := NewLoop(testConfig)
	h.s = l.New(server, serverTLS(), h)
	client := tls.Client(counted, clientTLS())
	go func() { _ = client.Handshake() }()
	if err := h.s.Handshake(); err != nil {
		t.Fatal(err)
	}
	h.s.Serve(nil)
	if _, err := client.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	receive(t, client, 300)
	before := counted.bytes
	if _, err := client.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	receive(t, client, 300)
	if n := counted.bytes - before; n > 300+22 { // RFC 8446, section 5.2: 5 + 1 + 16
		t.Errorf("300 bytes took %d of TLS", n)
	}
	before = counted.bytes
	h.s.Cork()
	h.s.Cork()
	for range 100 {
		if err := h.s.Write([]byte("abc")); err != nil {
			t.Fatal(err)
		}
	}
	h.s.Uncork()
	h.s.Uncork()
	receive(t, client, 300)
	if n := counted.bytes - before; n > 300+22 {
		t.Errorf("300 corked bytes took %d of TLS", n)
	}
	h.s.Cut()
	l.Close()
}

// counting counts the bytes that are read. Not for several goroutines.
type counting struct {
	net.Conn
	bytes int
}

func (c *counting) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	c.bytes += n
	return n, err
}

// TestBacklog: a client that does not read holds up nobody who writes to it; what waits is
// bounded, a Write too much leaves nothing behind, and all that was taken arrives, in order,
// once the client reads. Drained tells of it.
func TestBacklog(t *testing.T) {
	each(t, func(t *testing.T, f form) {
		h := new(handler)
		drained := make(chan struct{}, 100)
		h.drained = func() { drained <- struct{}{} }
		client := begin(t, f, testConfig, h)
		h.s.Serve(nil)
		for h.s.Backlog() > 0 { // what is left of the handshake
			time.Sleep(time.Millisecond)
		}
		if !h.s.Ready() {
			t.Error("not ready at first")
		}
		var sent []byte
		piece := noise(5000)
		for i := 0; ; i++ {
			p := piece[i%1000:][:1+i%4000]
			err := h.s.Write(p)
			if errors.Is(err, ErrBacklog) {
				break
			}
			if err != nil {
				t.Fatal(err)
			}
			if sent = append(sent, p...); len(sent) > 64<<20 {
				t.Fatal("no end of it")
			}
		}
		if b := h.s.Backlog(); b > testConfig.MaxBacklog+4096 || b < testConfig.MaxBacklog-8192 || h.s.Ready() {
			t.Errorf("%d bytes wait, ready: %v", b, h.s.Ready())
		}
		if got := receive(t, client, len(sent)); !bytes.Equal(got, sent) {
			t.Error("not what was written")
		}
		<-drained
		if !h.s.Ready() {
			t.Error("drained, and not ready")
		}
		if err := h.s.Write([]byte("more")); err != nil {
			t.Error(err)
		}
		if got := receive(t, client, 4); string(got) != "more" {
			t.Errorf("then %q", got)
		}
	})
}

// TestLargePacket: one packet may be larger than the backlog.
func TestLargePacket(t *testing.T) {
	each(t, func(t *testing.T, f form) {
		h := new(handler)
		client := begin(t, f, Config{MaxBacklog: 1000, Mark: 10, WriteTimeout: time.Minute}, h)
		h.s.Serve(nil)
		p := noise(8 << 20)
		if err := h.s.Write([]byte("head"), p); err != nil {
			t.Fatal(err)
		}
		if err := h.s.Write([]byte("more")); !errors.Is(err, ErrBacklog) {
			t.Errorf("behind it: %v", err)
		}
		if got := receive(t, client, 4+len(p)); !bytes.Equal(got[4:], p) {
			t.Error("not what was written")
		}
	})
}

// TestNotRead: nothing is read of a client that does not read.
func TestNotRead(t *testing.T) {
	each(t, func(t *testing.T, f form) {
		h := new(handler)
		var refused error
		h.feed = func(p []byte) (time.Duration, error) {
			err := h.s.Write(p)
			refused = errors.Join(refused, err)
			return 0, err
		}
		client := begin(t, f, testConfig, h)
		h.s.Serve(nil)
		sent := noise(12 << 20)
		if strings.Contains(f.name, "pipe") { // which takes nothing by itself, as sockets do
			sent = sent[:2<<20]
		}
		go func() { _, _ = client.Write(sent) }()
		for h.s.Backlog() <= testConfig.MaxBacklog/2 {
			time.Sleep(time.Millisecond)
		}
		if b := h.s.Backlog(); b > testConfig.MaxBacklog {
			t.Errorf("%d bytes wait", b)
		}
		if got := receive(t, client, len(sent)); !bytes.Equal(got, sent) {
			t.Error("not what was sent")
		}
		h.feeding.Lock()
		defer h.feeding.Unlock()
		if refused != nil {
			t.Error(refused)
		}
	})
}

// TestStalled: a client that takes nothing is cut after a while.
func TestStalled(t *testing.T) {
	each(t, func(t *testing.T, f form) {
		h := new(handler)
		cfg := testConfig
		cfg.WriteTimeout = 50 * time.Millisecond
		_ = begin(t, f, cfg, h)
		h.s.Serve(nil)
		for p := noise(4000); ; time.Sleep(time.Millisecond) {
			var err error
			for err == nil {
				err = h.s.Write(p)
			}
			if !errors.Is(err, ErrBacklog) {
				break
			}
		}
		if err := h.closed(); !errors.Is(err, ErrStalled) {
			t.Errorf("closed by %v", err)
		}
		if err := h.s.Write([]byte("x")); !errors.Is(err, ErrClosed) {
			t.Errorf("a Write then: %v", err)
		}
	})
}

// TestHangUp: the client reads what waited and the last words, though it sends what nobody
// reads, and then the end; nothing is fed or written any more.
func TestHangUp(t *testing.T) {
	hangUps := map[string]func(h *handler, fed chan struct{}){
		"while served":   func(h *handler, fed chan struct{}) { h.s.Serve(nil); <-fed },
		"before Serve":   func(*handler, chan struct{}) {},
		"while held":     func(h *handler, fed chan struct{}) { h.s.Serve([]byte("hold")); <-fed },
		"while paused":   func(h *handler, fed chan struct{}) { h.s.Serve([]byte("pause")); <-fed },
		"by its handler": func(h *handler, fed chan struct{}) { h.s.Serve([]byte("end")); <-fed },
	}
	each(t, func(t *testing.T, f form) {
		for name, start := range hangUps {
			t.Run(name, func(t *testing.T) {
				h := new(handler)
				fed := make(chan struct{}, 1000)
				last := []byte("the last words")
				h.feed = func(p []byte) (time.Duration, error) {
					defer func() { fed <- struct{}{} }()
					switch string(p) {
					case "hold":
						return Hold, nil
					case "pause":
						return time.Hour, nil
					case "end":
						_ = h.s.Write([]byte("waits;"))
						h.s.HangUp(last, time.Minute)
						return 0, errors.New("to be ignored")
					}
					return 0, nil
				}
				client := begin(t, f, testConfig, h)
				sent := make(chan struct{})
				go func() {
					defer close(sent)
					_, _ = client.Write(noise(20_000))
				}()
				start(h, fed)
				if name != "by its handler" {
					if err := h.s.Write([]byte("waits;")); err != nil {
						t.Error(err)
					}
				}
				h.s.HangUp(last, time.Minute)
				h.s.HangUp([]byte("again"), time.Minute)
				h.s.Serve(nil)
				if err := h.s.Write([]byte("x")); !errors.Is(err, ErrClosed) {
					t.Errorf("a Write then: %v", err)
				}
				want := "waits;" + string(last)
				if got := receive(t, client, len(want)); string(got) != want {
					t.Errorf("%q arrived", got)
				}
				if f.name != "pipe" { // it has no halves: the rest is lost with it
					<-sent
				}
				if n, err := client.Read(make([]byte, 10)); n > 0 || !errors.Is(err, io.EOF) {
					t.Errorf("at the end %d bytes, %v", n, err)
				}
				_ = client.Close()
				if err := h.closed(); err != nil {
					t.Errorf("closed by %v", err)
				}
			})
		}
	})
}

// TestHangUpBacklog: the last words come behind a full backlog, and the client has until the
// end of its grace to take them.
func TestHangUpBacklog(t *testing.T) {
	each(t, func(t *testing.T, f form) {
		for _, reads := range []bool{true, false} {
			h := new(handler)
			client := begin(t, f, testConfig, h)
			h.s.Serve(nil)
			n := 0
			for h.s.Write(noise(1000)) == nil {
				n += 1000
			}
			if !reads {
				h.s.HangUp([]byte("end"), 50*time.Millisecond)
				if err := h.closed(); err != nil {
					t.Errorf("closed by %v", err)
				}
				continue
			}
			h.s.HangUp([]byte("end"), time.Minute)
			if got := receive(t, client, n+3); string(got[n:]) != "end" {
				t.Errorf("%q arrived", got[n:])
			}
			_ = client.Close()
			if err := h.closed(); err != nil {
				t.Errorf("closed by %v", err)
			}
		}
	})
}

// TestNeverGoes: a client that was hung up and neither goes nor stops sending is cut.
func TestNeverGoes(t *testing.T) {
	each(t, func(t *testing.T, f form) {
		h := new(handler)
		client := begin(t, f, testConfig, h)
		h.s.Serve(nil)
		h.s.HangUp([]byte("end"), 300*time.Millisecond)
		for err := error(nil); err == nil; {
			_, err = client.Write(noise(100))
		}
		if err := h.closed(); err != nil {
			t.Errorf("closed by %v", err)
		}
	})
}

// TestCut: a stream ends at once, whatever it does.
func TestCut(t *testing.T) {
	each(t, func(t *testing.T, f form) {
		t.Run("in the handshake", func(t *testing.T) {
			h := &handler{t: t, end: make(chan error, 1)}
			l := NewLoop(testConfig)
			h.s, _ = f.connect(t, l, func() Handler { return h })
			failed := make(chan error)
			go func() {
				err := h.s.Handshake()
				if err == nil {
					_, err = h.s.Read(make([]byte, 1))
				}
				failed <- err
			}()
			h.s.Cut()
			if err := <-failed; err == nil {
				t.Error("it goes on")
			}
			if err := h.closed(); err != nil {
				t.Error(err)
			}
			l.Close()
		})
		for name, pause := range map[string]time.Duration{"idle": 0, "paused": time.Hour, "held": Hold} {
			t.Run(name, func(t *testing.T) {
				h := new(handler)
				fed := make(chan struct{}, 10)
				h.feed = func([]byte) (time.Duration, error) { fed <- struct{}{}; return pause, nil }
				client := begin(t, f, testConfig, h)
				h.s.Serve([]byte("x"))
				<-fed
				h.s.Cut()
				h.s.Cut()
				if err := h.closed(); err != nil {
					t.Error(err)
				}
				if err := h.s.Write([]byte("x")); !errors.Is(err, ErrClosed) {
					t.Errorf("a Write then: %v", err)
				}
				h.s.HangUp([]byte("x"), time.Minute)
				if _, err := client.Read(make([]byte, 1)); err == nil {
					t.Error("the client reads on")
				}
			})
		}
		t.Run("by its handler", func(t *testing.T) {
			h := new(handler)
			h.feed = func([]byte) (time.Duration, error) { return 0, os.ErrInvalid }
			_ = begin(t, f, testConfig, h)
			h.s.Serve([]byte("x"))
			if err := h.closed(); !errors.Is(err, os.ErrInvalid) {
				t.Error(err)
			}
		})
	})
}

// TestHold: nothing is fed until Resume; then what was kept comes first.
func TestHold(t *testing.T) {
	each(t, func(t *testing.T, f form) {
		h := new(handler)
		fed := make(chan string, 100)
		pauses := []time.Duration{Hold, Hold, time.Millisecond, 0, 0}
		h.feed = func(p []byte) (time.Duration, error) {
			fed <- string(p)
			pause := pauses[0]
			if pauses = pauses[1:]; len(pauses) == 3 {
				h.s.Resume() // by this Feed already
			}
			return pause, nil
		}
		client := begin(t, f, testConfig, h)
		h.s.Resume() // of nothing
		h.s.Serve([]byte("first"))
		if got := <-fed; got != "first" {
			t.Errorf("fed %q", got)
		}
		sent := make(chan struct{})
		go func() {
			defer close(sent)
			_, _ = client.Write([]byte("last"))
		}()
		if f.halves {
			<-sent
		}
		select {
		case got := <-fed:
			t.Errorf("fed %q while held", got)
		case <-time.After(20 * time.Millisecond):
		}
		h.s.Resume()
		for _, want := range []string{"", "", "", "last"} {
			if got := <-fed; got != want {
				t.Errorf("fed %q, want %q", got, want)
			}
		}
		<-sent
	})
}

// TestLastWord: what a client sent before it went is fed, though writing to it fails already.
func TestLastWord(t *testing.T) {
	for _, f := range forms[:3] {
		t.Run(f.name, func(t *testing.T) {
			h := new(handler)
			got := make(chan string, 10)
			h.feed = func(p []byte) (time.Duration, error) {
				got <- string(p)
				if string(p) == "hold" {
					return Hold, nil
				}
				return 0, nil
			}
			client := begin(t, f, testConfig, h)
			h.s.Serve([]byte("hold"))
			<-got
			if _, err := client.Write([]byte("goodbye")); err != nil {
				t.Fatal(err)
			}
			_ = client.Close()
			var err error
			for err == nil {
				err = h.s.Write([]byte("are you there?"))
				time.Sleep(time.Millisecond)
			}
			if errors.Is(err, ErrClosed) {
				t.Errorf("writing: %v", err)
			}
			h.s.Resume()
			<-got
			if p := <-got; p != "goodbye" {
				t.Errorf("fed %q", p)
			}
			if err := h.closed(); err == nil {
				t.Error("the client's going looks like a hang-up")
			}
		})
	}
}

// TestOverdue: the read deadline and the idle timeout tell of themselves once, count from the
// last byte, and do not run while nothing is read.
func TestOverdue(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var f form
		for _, f = range forms {
			if f.name == "pipe" {
				break
			}
		}
		h := new(handler)
		began := time.Now()
		overdue := make(chan time.Duration, 10)
		h.overdue = func() { overdue <- time.Since(began) }
		h.feed = func(p []byte) (time.Duration, error) {
			if string(p) == "pause" {
				return time.Minute, nil
			}
			return 0, nil
		}
		client := begin(t, f, testConfig, h)
		if err := h.s.SetReadDeadline(time.Now().Add(time.Second)); err != nil {
			t.Fatal(err)
		}
		if _, err := h.s.Read(make([]byte, 1)); !errors.Is(err, os.ErrDeadlineExceeded) {
			t.Errorf("before Serve: %v", err)
		}
		h.s.SetIdleTimeout(10 * time.Second)
		time.Sleep(9 * time.Second) // 10 s
		h.s.Serve(nil)              // from here it counts
		for range 5 {
			time.Sleep(9 * time.Second)
			_, _ = client.Write([]byte("x"))
		} // 55 s
		_, _ = client.Write([]byte("pause"))
		if at := <-overdue; at != 125*time.Second {
			t.Errorf("idle for too long at %v", at)
		}
		time.Sleep(time.Hour)
		began = time.Now()
		_, _ = client.Write([]byte("x"))
		synctest.Wait() // else nothing has come for an hour
		_ = h.s.SetReadDeadline(time.Now().Add(5 * time.Second))
		h.s.SetIdleTimeout(3 * time.Second)
		time.Sleep(2 * time.Second)
		_, _ = client.Write([]byte("x"))
		time.Sleep(2 * time.Second)
		_, _ = client.Write([]byte("x"))
		if at := <-overdue; at != 5*time.Second {
			t.Errorf("overdue at %v", at)
		}
		_ = h.s.SetReadDeadline(time.Now().Add(5 * time.Second))
		_ = h.s.SetReadDeadline(time.Time{})
		time.Sleep(time.Hour)
		if len(overdue) > 0 {
			t.Error("overdue with no deadline")
		}
		_ = h.s.SetReadDeadline(time.Now().Add(5 * time.Second))
		h.s.Cut()
		time.Sleep(time.Hour)
		if len(overdue) > 0 {
			t.Error("overdue when over")
		}
	})
}

// TestStrangers: those who never finish a handshake are cut with nothing left behind.
func TestStrangers(t *testing.T) {
	server, client := tcp(t)
	h := &handler{t: t, end: make(chan error, 1)}
	l := NewLoop(testConfig)
	h.s = l.New(server, serverTLS(), h)
	if _, err := client.Write([]byte{22, 3, 1, 2, 0, 1}); err != nil {
		t.Fatal(err)
	}
	_ = h.s.SetReadDeadline(time.Now().Add(10 * time.Millisecond))
	if err := h.s.Handshake(); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("handshake: %v", err)
	}
	h.s.HangUp([]byte("never sent in clear"), time.Minute)
	if p, err := io.ReadAll(client); len(p) > 0 || err != nil {
		t.Errorf("it read %q, %v", p, err)
	}
	_ = client.Close()
	if err := h.closed(); err != nil {
		t.Error(err)
	}
	l.Close()
}
