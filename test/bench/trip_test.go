package bench

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/signetd/signet/broker/mqttd/packet"
	"github.com/signetd/signet/protocol/topic"
)

const (
	turns     = 9     // of each server
	trips     = 6_400 // in a turn
	payload   = 131   // bytes of a message: those of a protocol's message with six fields
	listeners = 100   // of a message that fans out
	fanned    = 300   // such messages in a turn
)

// A window is one server's turn: it gives the server's CPU for each of what was done.
type window func() time.Duration

// inTurns has servers take turns, so many times, every other time in reverse, and gives what each spent.
func inTurns(rounds int, servers ...window) (spent [][]time.Duration) {
	spent = make([][]time.Duration, len(servers))
	for round := range rounds {
		for i := range servers {
			if round%2 == 1 {
				i = len(servers) - 1 - i
			}
			spent[i] = append(spent[i], servers[i]())
		}
	}
	return spent
}

// ratio is the median of one server's against another's in the same rounds.
func ratio(one, other []time.Duration) float64 {
	var all []float64
	for i := range one {
		all = append(all, float64(one[i])/float64(other[i]))
	}
	return median(all)
}

// micros is the median in microseconds.
func micros(d []time.Duration) float64 { return float64(median(slices.Clone(d)).Nanoseconds()) / 1e3 }

// security is how clients connect.
var security = []struct {
	name string
	tls  bool
}{{"plain", false}, {"TLS", true}}

// BenchmarkTrip is the server's CPU for one round trip: a request over MQTT with QoS 1, its PUBACK and
// an answer with QoS 0, by 16 or 64 clients at once, each with the next when the last is answered.
//
// At Mosquitto another client answers, on one connection for all: it carries two legs, and the
// answerer is not counted. Signet's own server answers by its responder, as it does devices'
// requests, or ("carried") carries the same two legs, permissions checked at both. The floor is
// the minimal Go server, which gives back the bytes of the request.
func BenchmarkTrip(b *testing.B) {
	own, mosquitto, minimal := serverChild(b, mqttEnv), newMosquitto(b), serverChild(b, minimalEnv)
	for _, sec := range security {
		for _, clients := range []int{16, 64} {
			b.Run(fmt.Sprintf("%s/clients=%d", sec.name, clients), func(b *testing.B) {
				if b.N > 1 { // the first run says it all
					b.Skip("run with -benchtime 1x")
				}
				spent := inTurns(turns, answeredTrips(b, own, sec.tls, clients, true), answeredTrips(b, own, sec.tls, clients, false),
					answeredTrips(b, mosquitto, sec.tls, clients, false), echoedTrips(b, minimal, sec.tls, clients))
				for i, name := range []string{"", "carried-", "mosquitto-", "floor-"} {
					b.ReportMetric(micros(spent[i]), name+"cpu-us/trip")
				}
				b.ReportMetric(ratio(spent[0], spent[2]), "x-mosquitto")
				b.ReportMetric(ratio(spent[1], spent[2]), "carried-x-mosquitto")
				b.ReportMetric(0, "ns/op")
			})
		}
	}
}

// answeredTrips connects clients, and gives the window in which they make their trips: answered by
// the server, or by another client.
func answeredTrips(b *testing.B, p *peer, secure bool, clients int, byServer bool) window {
	b.Helper()
	address, conf := p.at(secure)
	suffix := "/carried"
	if byServer {
		suffix = "/answered"
	}
	open := func(name string, i int) (*client, topic.ClientID) {
		id, err := topic.ParseClientID("demo:" + name + suffix)
		if err != nil {
			b.Fatal(err)
		}
		c, err := opened(address, conf, id.String(), i)
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { _ = c.nc.Close() })
		return c, id
	}
	if !byServer {
		c, _ := open(hub, 0)
		if err := c.subscribe("devices/demo/+/rq", 1); err != nil {
			b.Fatal(err)
		}
		go c.answers()
	}
	all := make([]func() error, clients)
	for i := range all {
		c, id := open(fmt.Sprintf("lamp-%d", i), i)
		request, reply := id.Request().String(), id.Reply().String()
		if !byServer {
			request, reply = fmt.Sprintf("devices/demo/lamp-%d/rq", i), fmt.Sprintf("devices/demo/lamp-%d/rs", i)
		}
		if err := c.subscribe(reply, 0); err != nil {
			b.Fatal(err)
		}
		send := packet.AppendPublish(nil, packet.V5, &packet.Publish{Topic: []byte(request), QoS: 1, ID: 1, Payload: make([]byte, payload)})
		all[i] = func() error { return c.roundTrip(send) }
	}
	return p.window(b, all, trips)
}

// opened gives a client that has connected.
func opened(address string, conf *tls.Config, clientID string, i int) (*client, error) {
	nc, err := dial(address, conf, i)
	if err != nil {
		return nil, err
	}
	return connect(nc, clientID, clientID, []byte("x"))
}

// roundTrip sends a request, and reads the acknowledgement and the answer, in any order.
func (c *client) roundTrip(send []byte) error {
	if err := c.send(send); err != nil {
		return err
	}
	for acknowledged, answered := false, false; !acknowledged || !answered; {
		h, err := c.next()
		switch {
		case err != nil:
			return err
		case h.Type == packet.PUBACK:
			acknowledged = true
		case h.Type == packet.PUBLISH && len(c.body) > payload:
			answered = true
		default:
			return fmt.Errorf("%s of %d bytes during a trip", h.Type, h.Length)
		}
	}
	return nil
}

// answers answers whatever comes on a topic .../rq on .../rs, and acknowledges it; what came in one
// read is answered by one write. It ends with the connection.
func (c *client) answers() {
	var out []byte
	for {
		h, err := c.next()
		if err != nil {
			return
		}
		p, err := c.published(h)
		if h.Type != packet.PUBLISH || err != nil {
			continue
		}
		if p.QoS > 0 {
			out = packet.AppendAck(out, packet.V5, packet.PUBACK, p.ID, packet.Success, "")
		}
		reply := strings.TrimSuffix(string(p.Topic), "rq") + "rs"
		out = packet.AppendPublish(out, packet.V5, &packet.Publish{Topic: []byte(reply), Payload: p.Payload})
		if c.r.Buffered() == 0 {
			if c.send(out) != nil {
				return
			}
			out = out[:0]
		}
	}
}

// echoedTrips is answeredTrips for a server that gives back what came.
func echoedTrips(b *testing.B, p *peer, secure bool, clients int) window {
	b.Helper()
	address, conf := p.at(secure)
	all := make([]func() error, clients)
	for i := range all {
		nc, err := dial(address, conf, i)
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { _ = nc.Close() })
		buf := make([]byte, payload+40)
		all[i] = func() error { return there(nc, buf) }
	}
	return p.window(b, all, trips)
}

// there sends what comes back.
func there(nc net.Conn, p []byte) error {
	if _, err := nc.Write(p); err != nil {
		return err
	}
	_, err := io.ReadFull(nc, p)
	return err
}

// window has n trips made, by all at once.
func (p *peer) window(b *testing.B, all []func() error, n int) window {
	return func() time.Duration {
		began := p.cpu(b)
		var wg sync.WaitGroup
		for _, trip := range all {
			wg.Go(func() {
				for range n / len(all) {
					if err := trip(); err != nil {
						b.Error(err)
						return
					}
				}
			})
		}
		wg.Wait()
		if b.Failed() {
			b.FailNow()
		}
		return (p.cpu(b) - began) / time.Duration(n)
	}
}

// BenchmarkFanOut is the server's CPU for each delivery of a message to 100 subscribers, which is
// published when the one before has reached them all, against Mosquitto's.
func BenchmarkFanOut(b *testing.B) {
	own, mosquitto := serverChild(b, mqttEnv), newMosquitto(b)
	for qos := range byte(2) {
		for _, sec := range security {
			b.Run(fmt.Sprintf("QoS=%d/%s", qos, sec.name), func(b *testing.B) {
				if b.N > 1 { // the first run says it all
					b.Skip("run with -benchtime 1x")
				}
				spent := inTurns(turns, fanOut(b, own, sec.tls, qos), fanOut(b, mosquitto, sec.tls, qos))
				b.ReportMetric(micros(spent[0]), "cpu-us/delivery")
				b.ReportMetric(micros(spent[1]), "mosquitto-cpu-us/delivery")
				b.ReportMetric(ratio(spent[0], spent[1]), "x-mosquitto")
				b.ReportMetric(0, "ns/op")
			})
		}
	}
}

func fanOut(b *testing.B, p *peer, secure bool, qos byte) window {
	b.Helper()
	address, conf := p.at(secure)
	var left atomic.Int64
	reached := make(chan struct{}, 1)
	for i := range listeners {
		c, err := opened(address, conf, fmt.Sprintf("demo:%s%d", listening, i), i)
		if err == nil {
			err = c.subscribe(common, qos)
		}
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { _ = c.nc.Close() })
		go func() {
			for c.take() == nil {
				if left.Add(-1) == 0 {
					reached <- struct{}{}
				}
			}
		}()
	}
	from, err := opened(address, conf, "demo:"+hub, 0)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = from.nc.Close() })
	send := packet.AppendPublish(nil, packet.V5, &packet.Publish{Topic: []byte(common), QoS: qos, ID: uint16(qos), Payload: make([]byte, payload)})
	one := func() error {
		left.Store(listeners)
		if err := from.send(send); err != nil {
			return err
		}
		if qos > 0 {
			if _, err := from.until(packet.PUBACK); err != nil {
				return err
			}
		}
		select {
		case <-reached:
			return nil
		case <-time.After(patience):
			return errors.New("a message has not reached all")
		}
	}
	all := p.window(b, []func() error{one}, fanned)
	return func() time.Duration { return all() / listeners }
}

// take takes one message, and acknowledges it.
func (c *client) take() error {
	h, err := c.next()
	if err != nil {
		return err
	}
	p, err := c.published(h)
	if err != nil || p.QoS == 0 {
		return err
	}
	return c.send(packet.AppendAck(nil, packet.V5, packet.PUBACK, p.ID, packet.Success, ""))
}
