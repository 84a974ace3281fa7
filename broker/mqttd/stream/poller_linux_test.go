package stream

import (
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
	h.s.serving, h.s.direct = true, true // as Serve would, but no poller
	r := newReader(false)
	for i := 1; i <= 5; i++ {
		for fed < i*turnSteps && h.s.turn(r) {
			if fed > i*turnSteps || fed < (i-1)*turnSteps {
				t.Fatalf("fed %d times in %d turns", fed, i)
			}
			break
		}
	}
	if fed > 5*turnSteps || fed < 5 {
		t.Errorf("fed %d times in 5 turns", fed)
	}
	h.s.Cut()
	_ = h.closed()
	l.Close()
}
