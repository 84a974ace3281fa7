package intake

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"
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
		tellings := make(chan Turn, 20)
		h := NewHandshakes(2, func(turn Turn) { tellings <- turn })
		h.Came(Source("192.0.2.7:1"))
		begin := func(remote string) func() {
			end, err := h.Begin(remote)
			if err != nil {
				t.Error(err)
			}
			return end
		}
		turns := make(chan turn, 5)
		for i := range cap(turns) {
			go func() { turns <- turn{i, begin(fmt.Sprintf("198.51.100.%d:1", i))} }()
			synctest.Wait()
		}
		if len(turns) != 2 {
			t.Fatalf("%d began, want two", len(turns))
		}
		first, second := <-turns, <-turns
		if known, others := h.Waiting(KindKnown), h.Waiting(KindStranger); known != 0 || others != 3 || h.Turns() != 2 {
			t.Errorf("%d and %d wait for %d turns, want none and three for two", known, others, h.Turns())
		}
		one := begin("192.0.2.7:2")
		begin("192.0.2.7:3")
		one()
		begin("192.0.2.7:4") // it would wait
		time.Sleep(TurnTime / 2)
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
		want := []Turn{
			{KindStranger, "198.51.100.0:1", 0, false}, {KindStranger, "198.51.100.1:1", 0, false},
			{KindKnown, "192.0.2.7:2", 0, false}, {KindKnown, "192.0.2.7:3", 0, false}, {KindKnown, "192.0.2.7:4", 0, false},
			{KindStranger, "198.51.100.2:1", TurnTime / 2, false}, {KindStranger, "198.51.100.3:1", TurnTime / 2, false}, {KindStranger, "198.51.100.4:1", TurnTime / 2, false},
		}
		close(tellings)
		var told []Turn
		for turn := range tellings {
			told = append(told, turn)
		}
		slices.SortFunc(told[5:], func(a, b Turn) int { return strings.Compare(a.Remote, b.Remote) })
		if !slices.Equal(told, want) {
			t.Errorf("told of %+v", told)
		}
	})
}

// TestNoTurnInTime: who waits for longer than a listener waits for him is refused, and does not
// keep the turn that comes after.
func TestNoTurnInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var last Turn
		h := NewHandshakes(1, func(turn Turn) { last = turn })
		end, err := h.Begin("192.0.2.1:1")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := h.Begin("192.0.2.2:1"); !errors.Is(err, ErrTurn) {
			t.Errorf("%v, want no turn", err)
		}
		if want := (Turn{KindStranger, "192.0.2.2:1", TurnTime, true}); last != want {
			t.Errorf("told of %+v, want %+v", last, want)
		}
		if n := h.Waiting(KindStranger); n != 0 {
			t.Errorf("%d wait", n)
		}
		end()
		if _, err := h.Begin("192.0.2.3:1"); err != nil {
			t.Error(err)
		}
		told := map[Cause]string{}
		Refused(func(c Cause, remote string, _ error) { told[c] = remote }).Handshake("192.0.2.2:1", fmt.Errorf("tls: %w", ErrTurn))
		if len(told) != 1 || told[CauseHandshakes] != "192.0.2.2:1" {
			t.Errorf("counted as %v", told)
		}
	})
}

// TestHandshakesKnowSoMany: sources of devices take bounded memory, and the latest are known.
func TestHandshakesKnowSoMany(t *testing.T) {
	h := NewHandshakes(1, nil)
	address := func(i int) string { return fmt.Sprintf("10.%d.%d.%d:1", i>>16, i>>8&255, i&255) }
	for i := range 2 * maxSources {
		h.Came(Source(address(i)))
		if n := len(h.came) + len(h.before); n > maxSources {
			t.Fatalf("%d sources known", n)
		}
	}
	for i := 2*maxSources - maxSources/2; i < 2*maxSources; i++ {
		if !h.knows(Source(address(i))) {
			t.Fatalf("number %d is not known", i)
		}
	}
	if h.Came(Source("")); h.knows(Source("")) {
		t.Error("whoever has no source is known")
	}
}

// TestNoHandshakes: without one everybody goes on.
func TestNoHandshakes(t *testing.T) {
	var h *Handshakes
	h.Came(Source("192.0.2.7:1"))
	end, err := h.Begin("192.0.2.7:1")
	if err != nil || h.Turns() != 0 || h.Waiting(KindKnown) != 0 {
		t.Fatal(err)
	}
	end()
}

// TestTurnsAreGivenBack: a listener's own wish is asked first, who is refused by it takes no
// turn, and a connection that cannot say when it is answered none either.
func TestTurnsAreGivenBack(t *testing.T) {
	h := NewHandshakes(1, nil)
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
	if err := hello(c); err != nil || c.answer == nil || len(h.line(KindStranger).turns) != 1 {
		t.Fatalf("%v; %d turns", err, len(h.line(KindStranger).turns))
	}
	if c.answer(); len(h.line(KindStranger).turns) != 0 {
		t.Fatal("the turn is not given back")
	}
	if err := hello(near); err != nil || len(h.line(KindStranger).turns) != 0 {
		t.Fatalf("%v; %d turns of a connection that does not say when it is answered", err, len(h.line(KindStranger).turns))
	}
	no = net.ErrClosed
	if err := hello(c); err == nil || len(h.line(KindStranger).turns) != 0 {
		t.Fatalf("%v; %d turns of who is refused", err, len(h.line(KindStranger).turns))
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
