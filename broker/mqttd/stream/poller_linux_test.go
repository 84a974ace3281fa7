package stream

import (
	"net"
	"runtime"
	"testing"
	"time"
)

// TestIdle: idle streams have no goroutine with a poller, and one each without; neither has a
// buffer.
func TestIdle(t *testing.T) {
	const streams = 50
	for _, f := range forms[:3] {
		for _, own := range []bool{false, true} {
			f.own = own
			l := NewLoop(Config{MaxBacklog: 1 << 20, Mark: 1 << 10, WriteTimeout: time.Minute, Goroutines: own})
			all := make([]*handler, streams)
			before := runtime.NumGoroutine()
			for i := range all {
				h := &handler{t: t, end: make(chan error, 1)}
				h.feed = func(p []byte) (time.Duration, error) { return 0, h.s.Write(p) }
				s, client := f.connect(t, l, func() Handler { return h })
				all[i], h.s = h, s
				if f.tls {
					go func() { _, _ = client.Write(nil) }() // the handshake
				}
				if err := s.Handshake(); err != nil {
					t.Fatal(err)
				}
				s.Serve(nil)
				if _, err := client.Write([]byte("hello")); err != nil {
					t.Fatal(err)
				}
				receive(t, client, 5)
			}
			want := before + runtime.GOMAXPROCS(0)
			if own {
				want = before + streams
			}
			for range 1000 {
				if runtime.NumGoroutine() <= want {
					break
				}
				time.Sleep(time.Millisecond)
			}
			if n := runtime.NumGoroutine(); n > want || own && n < streams {
				t.Errorf("%s, own goroutines %v: %d goroutines, want %d", f.name, own, n, want)
			}
			for _, h := range all {
				h.s.Cut()
			}
			l.Close()
		}
	}
}

// TestTurn: a client that sends without end is read for a while only, before others are.
func TestTurn(t *testing.T) {
	server, client := tcp(t)
	l := NewLoop(testConfig)
	fed := 0
	h := &handler{t: t, end: make(chan error, 1), feed: func([]byte) (time.Duration, error) { fed++; return 0, nil }}
	h.s = l.New(server, nil, h)
	if _, err := client.Write(noise(40 * readBuffer)); err != nil {
		t.Fatal(err)
	}
	h.s.serving = true // as Serve would, but no poller
	h.s.unblock()
	r := newReader(false)
	for i := 1; i <= 5; i++ {
		if fed < i*turnSteps && h.s.turn(r) && (fed > i*turnSteps || fed < (i-1)*turnSteps) {
			t.Fatalf("fed %d times in %d turns", fed, i)
		}
	}
	if fed > 5*turnSteps || fed < 5 {
		t.Errorf("fed %d times in 5 turns", fed)
	}
	h.s.Cut()
	_ = h.closed()
	l.Close()
}

// TestSlowTurn: a Handler that takes its time holds up no other stream.
func TestSlowTurn(t *testing.T) {
	l := NewLoop(testConfig)
	serve := func(feed func(h *handler, p []byte) (time.Duration, error)) (*handler, net.Conn) {
		server, client := tcp(t)
		h := &handler{t: t, end: make(chan error, 1)}
		h.feed = func(p []byte) (time.Duration, error) { return feed(h, p) }
		h.s = l.New(server, nil, h)
		h.s.Serve(nil)
		return h, client
	}
	var all []*handler
	echoes := make([]net.Conn, 2*runtime.GOMAXPROCS(0))
	slow := make([]net.Conn, len(echoes))
	in, out := make(chan struct{}), make(chan struct{})
	for i := range echoes { // some of each for every poller
		h, client := serve(func(h *handler, p []byte) (time.Duration, error) { return 0, h.s.Write(p) })
		all, echoes[i] = append(all, h), client
		h, client = serve(func(h *handler, p []byte) (time.Duration, error) {
			in <- struct{}{}
			<-out
			return 0, h.s.Write(p)
		})
		all, slow[i] = append(all, h), client
	}
	for _, client := range slow {
		if _, err := client.Write([]byte("slow")); err != nil {
			t.Fatal(err)
		}
	}
	for range slow {
		<-in
	}
	for _, client := range echoes {
		if _, err := client.Write([]byte("quick")); err != nil {
			t.Fatal(err)
		}
		receive(t, client, 5)
	}
	close(out)
	go func() {
		for range in { // of what they are fed from now on
		}
	}()
	for _, client := range slow {
		receive(t, client, 4)
		if _, err := client.Write([]byte("again")); err != nil {
			t.Fatal(err)
		}
		receive(t, client, 5)
	}
	for _, h := range all {
		h.s.Cut()
	}
	l.Close()
	close(in)
}
