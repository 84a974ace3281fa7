package stream

import (
	"bytes"
	"crypto/tls"
	"io"
	"net"
	"reflect"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// TestSmall: a stream is no larger than what it is allocated in, of which the next is 320 bytes.
func TestSmall(t *testing.T) {
	if n := reflect.TypeFor[Stream]().Size(); n > 288 {
		t.Errorf("a stream is %d bytes", n)
	}
}

// TestAllocations: in a steady state nothing is allocated, neither to write nor to be fed.
func TestAllocations(t *testing.T) {
	pool := sync.Pool{New: func() any { return new(int) }}
	if testing.AllocsPerRun(1, func() {
		for range 1000 {
			pool.Put(pool.Get())
		}
	}) > 10 {
		t.Skip("the race detector has pools forget")
	}
	for _, f := range forms[:2] {
		h := new(handler)
		fed := make(chan struct{}, 1)
		answer, payload := []byte("answer"), noise(100)
		h.feed = func([]byte) (time.Duration, error) {
			err := h.s.Write(answer, payload)
			fed <- struct{}{}
			return 0, err
		}
		client := begin(t, f, testConfig, h)
		h.s.Serve(nil)
		question, got := noise(200), make([]byte, 4096)
		trip := func() {
			if _, err := client.Write(question); err != nil {
				t.Fatal(err)
			}
			<-fed
			for n := 0; n < len(answer)+len(payload); {
				m, err := client.Read(got)
				if err != nil {
					t.Fatal(err)
				}
				n += m
			}
		}
		for range 100 {
			trip()
		}
		of := 0.0
		if f.tls {
			of = 4 // crypto/tls, for each read that waits and each that does not, on both sides
		}
		if n := testing.AllocsPerRun(500, trip); n > of {
			t.Errorf("%s: %v allocations a trip", f.name, n)
		}
	}
}

// TestTrim: memory is given back once many connections, in proportion to those that are there,
// came and then few; not for a few, and not while they come.
func TestTrim(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var freed atomic.Int32
		l := NewLoop(Config{TrimAfter: 100})
		l.trim.free = func() { freed.Add(1) }
		come := func(n, perSecond int) {
			for range n {
				l.began()
				time.Sleep(time.Second / time.Duration(perSecond))
			}
		}
		for _, c := range []struct {
			what            string
			n, perSecond    int
			freed, andLater int32
		}{
			{"few", 99, 1000, 0, 0},
			{"one more", 1, 1000, 0, 1},
			{"a storm", 4000, 100, 1, 1}, // later comes the next
			{"a trickle", 10, 1, 2, 2},
			{"few for 4,110", 200, 1000, 2, 2},
			{"a sixteenth of them", 100, 1000, 2, 3},
			{"a slow storm", 2000, 20, 3, 4},
			{"many at the end", 5000, 1000, 4, 4},
		} {
			come(c.n, c.perSecond)
			synctest.Wait()
			if freed.Load() != c.freed {
				t.Errorf("%s: freed %d times, want %d", c.what, freed.Load(), c.freed)
			}
			if c.andLater > c.freed || c.what[0] == 'f' {
				time.Sleep(time.Minute)
				synctest.Wait()
			}
			if freed.Load() != c.andLater {
				t.Errorf("%s: freed %d times in the end, want %d", c.what, freed.Load(), c.andLater)
			}
		}
		l.Close()
		time.Sleep(time.Minute)
		synctest.Wait()
		if freed.Load() != 4 {
			t.Error("freed when over")
		}
	})
}

// FuzzCrumbs: however the bytes of a connection come and are answered, in TLS or not, they
// are fed in order and whole, and so are the answers.
func FuzzCrumbs(f *testing.F) {
	f.Add([]byte{1, 2, 3}, uint16(700), true)
	f.Add([]byte{255, 1, 0, 16}, uint16(40_000), false)
	f.Add([]byte{}, uint16(1), true)
	f.Fuzz(func(t *testing.T, cuts []byte, size uint16, secure bool) {
		h := new(handler)
		pauses := 0
		h.feed = func(p []byte) (time.Duration, error) {
			if err := h.s.Write(p); err != nil {
				return 0, err
			}
			if len(cuts) == 0 || len(p) == 0 { // else nothing would ever be read
				return 0, nil
			}
			pauses++
			switch cuts[pauses%len(cuts)] % 8 {
			case 0:
				return time.Microsecond, nil
			case 1:
				h.s.Resume()
				return Hold, nil
			case 2:
				go h.s.Resume()
				return Hold, nil
			}
			return 0, nil
		}
		form := forms[0]
		if secure {
			form = forms[1]
		}
		client := begin(t, form, testConfig, h)
		h.s.Serve(nil)
		sent := noise(int(size))
		go func() {
			for i, left := 0, sent; len(left) > 0; i++ {
				n := len(left)
				if len(cuts) > 0 {
					n = min(n, 1+int(cuts[i%len(cuts)]))
				}
				if _, err := client.Write(left[:n]); err != nil {
					return
				}
				left = left[n:]
			}
		}()
		if got := receive(t, client, len(sent)); !bytes.Equal(got, sent) {
			t.Error("not what was sent")
		}
		if c, ok := client.(*tls.Conn); ok {
			_ = c.CloseWrite()
		}
		_ = client.Close()
		_ = h.closed()
	})
}

// BenchmarkTrip is 200 bytes there and 50 back, on 64 connections at once.
func BenchmarkTrip(b *testing.B) {
	const clients = 64
	for _, f := range forms[:2] {
		for _, own := range []bool{false, true} {
			f.own = own
			name := f.name + "/poller"
			if own {
				name = f.name + "/goroutines"
			}
			b.Run(name, func(b *testing.B) {
				cfg := testConfig
				cfg.Goroutines = own
				l := NewLoop(cfg)
				var handlers []*handler
				var conns []net.Conn
				for range clients {
					h := &handler{end: make(chan error, 1)}
					answer := noise(50)
					h.feed = func([]byte) (time.Duration, error) { return 0, h.s.Write(answer) }
					s, client := f.connect(b, l, func() Handler { return h })
					h.s = s
					if f.tls {
						go func() { _, _ = client.Write(nil) }() // the handshake
					}
					if err := s.Handshake(); err != nil {
						b.Fatal(err)
					}
					s.Serve(nil)
					handlers, conns = append(handlers, h), append(conns, client)
				}
				b.ResetTimer()
				var wg sync.WaitGroup
				for _, client := range conns {
					wg.Go(func() {
						question, answer := noise(200), make([]byte, 50)
						for range (b.N + clients - 1) / clients {
							if _, err := client.Write(question); err != nil {
								b.Error(err)
								return
							}
							if _, err := io.ReadFull(client, answer); err != nil {
								b.Error(err)
								return
							}
						}
					})
				}
				wg.Wait()
				b.StopTimer()
				for _, h := range handlers {
					h.s.Cut()
				}
				l.Close()
			})
		}
	}
}
