package intake

import (
	"crypto/tls"
	"fmt"
	"net"
	"testing"
	"testing/synctest"
)

// turn is who may compute, and what ends it.
type turn struct {
	of  int
	end func()
}

// TestHandshakesInTurn: strangers' handshakes wait for one another, in order, and not those from
// where a device has come.
func TestHandshakesInTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := NewHandshakes(2)
		h.Came("192.0.2.7:1")
		turns := make(chan turn, 5)
		for i := range cap(turns) {
			go func() { turns <- turn{i, h.Begin(fmt.Sprintf("198.51.100.%d:1", i))} }()
			synctest.Wait()
		}
		if len(turns) != 2 {
			t.Fatalf("%d began, want two", len(turns))
		}
		first, second := <-turns, <-turns
		one := h.Begin("192.0.2.7:2")
		h.Begin("192.0.2.7:3")
		one()
		h.Begin("192.0.2.7:4") // it would never return
		first.end()
		first.end() // no second turn
		synctest.Wait()
		if len(turns) != 1 {
			t.Fatalf("%d began, want one more", len(turns))
		}
		third := <-turns
		if third.of != 2 {
			t.Fatalf("number %d began, want the third next", third.of)
		}
		second.end()
		third.end()
		synctest.Wait()
		if len(turns) != 2 {
			t.Fatalf("%d began, want the last two", len(turns))
		}
	})
}

// TestHandshakesKnowSoMany: sources of devices take bounded memory, and the latest are known.
func TestHandshakesKnowSoMany(t *testing.T) {
	h := NewHandshakes(1)
	address := func(i int) string { return fmt.Sprintf("10.%d.%d.%d:1", i>>16, i>>8&255, i&255) }
	for i := range 2 * maxSources {
		h.Came(address(i))
		if n := len(h.came) + len(h.before); n > maxSources {
			t.Fatalf("%d sources known", n)
		}
	}
	for i := 2*maxSources - maxSources/2; i < 2*maxSources; i++ {
		if !h.knows(Source(address(i))) {
			t.Fatalf("number %d is not known", i)
		}
	}
	if h.Came(""); h.knows(Source("")) {
		t.Error("whoever has no source is known")
	}
}

// TestNoHandshakes: without one everybody goes on.
func TestNoHandshakes(t *testing.T) {
	var h *Handshakes
	h.Came("192.0.2.7:1")
	h.Begin("192.0.2.7:1")()
}

// TestTurnsAreGivenBack: a listener's own wish is asked first, who is refused by it takes no
// turn, and a connection that cannot say when it is answered none either.
func TestTurnsAreGivenBack(t *testing.T) {
	h := NewHandshakes(1)
	asked := 0
	var no error
	conf := h.InTurn(&tls.Config{GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
		asked++
		return nil, no
	}})
	near, far := net.Pipe()
	defer near.Close()
	defer far.Close()
	c := &answering{Conn: near}
	hello := func(nc net.Conn) error {
		_, err := conf.GetConfigForClient(&tls.ClientHelloInfo{Conn: nc})
		return err
	}
	if err := hello(c); err != nil || c.answer == nil || len(h.others) != 1 {
		t.Fatalf("%v; %d turns", err, len(h.others))
	}
	if c.answer(); len(h.others) != 0 {
		t.Fatal("the turn is not given back")
	}
	if err := hello(near); err != nil || len(h.others) != 0 {
		t.Fatalf("%v; %d turns of a connection that does not say when it is answered", err, len(h.others))
	}
	no = net.ErrClosed
	if err := hello(c); err == nil || len(h.others) != 0 {
		t.Fatalf("%v; %d turns of who is refused", err, len(h.others))
	}
	if asked != 3 {
		t.Errorf("asked %d times", asked)
	}
}

type answering struct {
	net.Conn
	answer func()
}

func (a *answering) OnAnswer(f func()) { a.answer = f }
