package control

import (
	"context"
	"fmt"
	"strconv"
	"strings"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/protocol/ident"
)

// ConnectionServer is what operators see of an MQTT server.
type ConnectionServer interface {
	// List gives what a query asks for, and where to go on; empty: there are no more. ErrInvalid.
	List(q broker.ConnectionQuery) (some []broker.Connection, next string, err error)
	// Find gives those with these numbers that there are, with all that is known of them.
	Find(numbers ...uint64) []broker.Connection
	// Kick ends connections, which may come back at once, and gives those that it ended.
	Kick(numbers ...uint64) (ended []uint64)
	// Trace begins to tell of a device's packets, with payloads but for those of the protocol's own
	// topics if they are to be shown. ErrConflict: as many traces run as may.
	Trace(d ident.Device, payloads bool) (broker.PacketTrace, error)
}

// Events is the part of a store that keeps what operators did with connections.
type Events interface {
	Append(ctx context.Context, by broker.By, events []broker.Event) error
}

// Connections are what operators do with the MQTT connections of one broker, as it runs now. It is safe
// for concurrent use.
type Connections struct {
	server ConnectionServer
	events Events
	broker string
	run    string
}

// NewConnections makes a Connections. broker names this one among replicas, and run this process: it is
// part of connections' ids, so that nobody ends another's of the same number after a restart.
func NewConnections(server ConnectionServer, events Events, broker, run string) *Connections {
	return &Connections{server, events, broker, run}
}

// Broker names the broker whose connections these are.
func (c *Connections) Broker() string { return c.broker }

// ID names a connection among all of all brokers.
func (c *Connections) ID(x *broker.Connection) string {
	return c.run + "-" + strconv.FormatUint(x.Number, 10)
}

// number gives the number that an id of this broker's has; false if it is no such id.
func (c *Connections) number(id string) (uint64, bool) {
	text, ok := strings.CutPrefix(id, c.run+"-")
	n, err := strconv.ParseUint(text, 10, 64)
	return n, ok && err == nil && strconv.FormatUint(n, 10) == text
}

// List gives what a query asks for, and where to go on; empty: there are no more.
func (c *Connections) List(q broker.ConnectionQuery) ([]broker.Connection, string, error) {
	return c.server.List(q)
}

// A Reach says of which pools' devices an operator may see and end connections, and that he may
// those of strangers; nil: of all, and of strangers.
type Reach func(ident.Pool) bool

func (r Reach) covers(x *broker.Connection) bool {
	return r == nil || !x.Device.IsZero() && r(x.Device.Pool)
}

// Connection gives one that is within reach; broker.ErrNotFound.
func (c *Connections) Connection(id string, within Reach) (broker.Connection, error) {
	if n, ok := c.number(id); ok {
		for _, x := range c.server.Find(n) {
			if within.covers(&x) {
				return x, nil
			}
		}
	}
	return broker.Connection{}, fmt.Errorf("connection %.64q of broker %s: %w", id, c.broker, broker.ErrNotFound)
}

// Kick ends the connections with these ids that are within reach, and gives the ids of those that it ended; others
// have gone before. What is ended is in the journal first. A client may come back at once: its
// device stays what it is.
func (c *Connections) Kick(ctx context.Context, by broker.By, ids []string, within Reach) (ended []string, err error) {
	var numbers []uint64
	for _, id := range ids {
		if n, ok := c.number(id); ok {
			numbers = append(numbers, n)
		}
	}
	var there []uint64
	var kicks []broker.Event
	of := map[broker.Event]int{} // by all but their number
	for _, x := range c.server.Find(numbers...) {
		if x.Away || !within.covers(&x) {
			continue
		}
		there = append(there, x.Number)
		e := c.event(&x, broker.WhatKick)
		i, known := of[e]
		if !known {
			i = len(kicks)
			of[e] = i
			kicks = append(kicks, e)
		}
		kicks[i].Count++
	}
	if len(kicks) == 0 {
		return []string{}, nil
	}
	if err := c.events.Append(ctx, by, kicks); err != nil {
		return nil, about(err, "end connections")
	}
	for _, n := range c.server.Kick(there...) {
		ended = append(ended, c.ID(&broker.Connection{Number: n}))
	}
	return ended, nil
}

// event is what the journal keeps, but for a number. A stranger has no name to keep.
func (c *Connections) event(x *broker.Connection, what broker.What) broker.Event {
	e := broker.Event{Kind: broker.RecordConnection, What: what}
	if !x.Device.IsZero() {
		e.Pool, e.Subject = x.Device.Pool, x.Device.Name.String()
	}
	return e
}

// Trace begins to tell of a device's packets, which the journal says first, with who traces whom and whether he
// sees payloads. Close must follow.
func (c *Connections) Trace(ctx context.Context, by broker.By, d ident.Device, payloads bool) (broker.PacketTrace, error) {
	t, err := c.server.Trace(d, payloads)
	if err != nil {
		return nil, about(err, "trace device %s", d)
	}
	e := c.event(&broker.Connection{Device: d}, broker.WhatTrace)
	if e.Count = 1; payloads {
		e.What = broker.WhatTracePayloads
	}
	if err := c.events.Append(ctx, by, []broker.Event{e}); err != nil {
		t.Close()
		return nil, about(err, "trace device %s", d)
	}
	return t, nil
}
