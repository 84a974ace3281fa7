package intake

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/signetd/signet/protocol/ident"
)

// A crowd is connections of devices, each of which knows why it was dropped.
type crowd struct {
	*gates
	dropped map[*Entry]error
}

func newCrowd(t *testing.T, l Limits) *crowd {
	return &crowd{newGates(t, l), map[*Entry]error{}}
}

// come counts a device's connection in.
func (c *crowd) come(device string) (*Entry, error) {
	c.t.Helper()
	d, err := ident.ParseDevice(device)
	if err != nil {
		c.t.Fatal(err)
	}
	var e *Entry
	e, err = c.Enter("192.0.2.1:1", func(why error) { c.dropped[e] = why })
	if err != nil {
		c.t.Fatal(err)
	}
	makeRoom, err := e.Admitted(d)
	if err != nil {
		return e, err
	}
	makeRoom()
	return e, nil
}

func (c *crowd) must(device string) *Entry {
	c.t.Helper()
	e, err := c.come(device)
	if err != nil {
		c.t.Fatalf("%s: %v", device, err)
	}
	return e
}

// TestPerDevice: one device holds no more than its share; its own oldest makes room, and
// nobody else's.
func TestPerDevice(t *testing.T) {
	c := newCrowd(t, Limits{Conns: 100, PerSource: -1})
	other := c.must("p:other")
	var own []*Entry
	for range 50 {
		own = append(own, c.must("p:greedy"))
	}
	for i, e := range own {
		if why := c.dropped[e]; (i < 42) != (errors.Is(why, ErrRoomDevice) && strings.Contains(why.Error(), "p:greedy")) {
			t.Errorf("connection %d of 50: dropped: %v", i, why)
		}
	}
	if c.dropped[other] != nil || c.open != 9 {
		t.Errorf("another device: %v; %d open, want 9", c.dropped[other], c.open)
	}
	own[49].Leave()
	c.must("p:greedy")
	if c.dropped[own[42]] != nil {
		t.Error("there was room")
	}
	if m, err := own[45].Admitted(ident.Device{}); err != nil {
		t.Error(err)
	} else if m(); c.open != 9 {
		t.Errorf("admitted once more: %d open", c.open)
	}
}

// TestPerPool: a pool that is full takes room from devices with several connections, the
// new one's first; with one each, the new one stays a stranger. Another pool does not feel it.
func TestPerPool(t *testing.T) {
	c := newCrowd(t, Limits{Conns: 100, PerSource: -1, PerPool: 4})
	one, two := c.must("p:a"), c.must("p:a")
	b := c.must("p:b")
	three := c.must("p:a")
	d := c.must("p:d")
	if why := c.dropped[one]; !errors.Is(why, ErrRoomPool) || len(c.dropped) != 1 || !strings.Contains(why.Error(), "p:a has several") {
		t.Errorf("dropped %v, want the oldest of the one with three", c.dropped)
	}
	four := c.must("p:a")
	if !errors.Is(c.dropped[two], ErrRoomDevice) {
		t.Errorf("dropped %v, want its own oldest", c.dropped)
	}
	c.must("p:e")
	if !errors.Is(c.dropped[three], ErrRoomPool) {
		t.Errorf("dropped %v, want the third of a", c.dropped)
	}
	e, err := c.come("p:f")
	if !errors.Is(err, ErrFullPool) || !e.device.IsZero() || e.place == nil || !strings.Contains(err.Error(), "pool p") {
		t.Errorf("a fifth device: %v", err)
	}
	c.must("q:f")
	for _, kept := range []*Entry{b, d, four} {
		if c.dropped[kept] != nil {
			t.Errorf("dropped: %v", c.dropped[kept])
		}
	}
	b.Leave()
	if makeRoom, err := e.Admitted(ident.Device{Pool: b.device.Pool}); err != nil {
		t.Errorf("there is room again: %v", err)
	} else {
		makeRoom()
	}
}

// TestCountsAddUp: whatever comes and goes, in whichever order, nothing is counted twice or
// forgotten, and each device keeps exactly one connection that is no spare.
func TestCountsAddUp(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	c := newCrowd(t, Limits{Conns: 60, PerSource: -1, Rate: -1, PerDevice: 4, PerPool: 12})
	var open []*Entry
	for range 20_000 {
		if len(open) > 0 && r.IntN(2) == 0 {
			i := r.IntN(len(open))
			open[i].Leave()
			open[i] = open[len(open)-1]
			open = open[:len(open)-1]
			continue
		}
		e, _ := c.come(fmt.Sprintf("p%d:d%d", r.IntN(3), r.IntN(20)))
		open = append(open, e)
	}
	devices, spares := 0, 0
	for d, e := range c.devices {
		own, oldest := c.ofDevice(d)
		devices += own
		if own == 0 || own > 4 {
			t.Errorf("%v has %d", d, own)
		}
		for ; e != nil; e = e.older {
			if e.device != d || (e.place == nil) != (e == oldest) {
				t.Errorf("%v: a connection of %v is at %v", d, e.device, e.place)
			}
		}
	}
	inPools := 0
	for _, p := range c.pools {
		inPools += p.open
		spares += p.spares.Len()
		if p.open > 12 {
			t.Errorf("%d of one pool", p.open)
		}
	}
	if devices+c.strangers.Len() != c.open || inPools != devices || spares != devices-len(c.devices) {
		t.Errorf("%d open; %d of devices, %d in pools, %d spares of %d devices, %d strangers", c.open, devices, inPools, spares, len(c.devices), c.strangers.Len())
	}
	for _, e := range open {
		e.Leave()
	}
	if c.open != 0 || len(c.devices) != 0 || len(c.pools) != 0 || c.strangers.Len() != 0 {
		t.Errorf("left over: %d open, %d devices, %d pools", c.open, len(c.devices), len(c.pools))
	}
}
