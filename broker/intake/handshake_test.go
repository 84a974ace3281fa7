package intake

import (
	"crypto/tls"
	"fmt"
	"net"
	"testing"
	"testing/synctest"
)

// TestHandshakesInTurn: strangers' handshakes wait for one another, in order, and not those from
// where a device has come.
func TestHandshakesInTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := NewHandshakes(2)
		h.Came("192.0.2.7:1")
		var began []int
		ends := make([]func(), 5)
		for i := range ends {
			go func() {
				end := h.Begin(fmt.Sprintf("198.51.100.%d:1", i))
				began, ends[i] = append(began, i), end
			}()
			synctest.Wait()
		}
		if len(began) != 2 {
			t.Fatalf("%v began, want two of them", began)
		}
		one := h.Begin("192.0.2.7:2")
		h.Begin("192.0.2.7:3")
		one()
		h.Begin("192.0.2.7:4") // it would never return
		ends[0]()
		ends[0]() // no second turn
		synctest.Wait()
		if len(began) != 3 || began[2] != 2 {
			t.Fatalf("%v began, want the third next", began)
		}
		ends[1]()
		ends[2]()
		synctest.Wait()
		if len(began) != 5 {
			t.Fatalf("%v began, want all", began)
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
