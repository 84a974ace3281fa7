package mqttfront

import (
	"context"
	"errors"
	"fmt"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/broker/mqttd"
	"github.com/signetd/signet/protocol/ident"
)

// Connections are those of an MQTT server in the words of package broker: what package control asks for.
type Connections struct{ Server *mqttd.Server }

// List gives those that a query asks for, and where to go on; broker.ErrInvalid.
func (c Connections) List(q broker.ConnectionQuery) (some []broker.Connection, next string, err error) {
	if err := q.Validate(); err != nil {
		return nil, "", err
	}
	found, next, err := c.Server.Connections(mqttd.Query(q))
	if err != nil {
		return nil, "", fmt.Errorf("%w: %w", broker.ErrInvalid, err)
	}
	for _, one := range found {
		some = append(some, broker.Connection(one))
	}
	return some, next, nil
}

// Find gives those with these numbers that there are.
func (c Connections) Find(numbers ...uint64) (found []broker.Connection) {
	for _, one := range c.Server.Find(numbers...) {
		found = append(found, broker.Connection(one))
	}
	return found
}

// Kick ends connections, and gives the numbers of those that it ended.
func (c Connections) Kick(numbers ...uint64) (ended []uint64) {
	return c.Server.Kick(mqttd.ReasonAdministrative, numbers...)
}

// Trace begins to tell of a device's packets; broker.ErrConflict: as many traces run as may.
func (c Connections) Trace(d ident.Device, payloads bool) (broker.PacketTrace, error) {
	t, err := c.Server.Trace(d, payloads)
	if errors.Is(err, mqttd.ErrTraces) {
		return nil, fmt.Errorf("%w: %w", broker.ErrConflict, err)
	}
	if err != nil {
		return nil, err
	}
	return trace{t}, nil
}

type trace struct{ *mqttd.Trace }

// Next gives the next packet; false when ctx or the server has ended.
func (t trace) Next(ctx context.Context) (broker.TracedPacket, bool) {
	select {
	case p, ok := <-t.Packets():
		return broker.TracedPacket(p), ok
	case <-ctx.Done():
		return broker.TracedPacket{}, false
	}
}
