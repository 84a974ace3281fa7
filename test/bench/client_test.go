package bench

import (
	"bufio"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"time"

	"github.com/signetd/signet/broker/mqttd/packet"
)

// A client is a bare MQTT 5 client, as cheap as one gets: what it costs is taken from the
// server that is measured.
type client struct {
	nc   net.Conn
	r    *bufio.Reader
	body []byte
}

// patience is how long a client waits for a server's answer.
const patience = time.Minute

// sources are how many of the loopback's addresses clients come from, in turn: the ports of one
// do not last for crowds that come again and again. The servers' is not among them: while one is
// down a client could else be given its port.
const sources = 8

// dial gives a connection of the i-th client, over TLS with conf.
func dial(address string, conf *tls.Config, i int) (net.Conn, error) {
	from := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, byte(2+i%sources))}}
	nc, err := from.Dial("tcp", address)
	if err != nil || conf == nil {
		return nc, err
	}
	t := tls.Client(nc, conf)
	if err := t.Handshake(); err != nil {
		return nil, errors.Join(err, nc.Close())
	}
	return t, nil
}

// anyServer trusts whoever answers: our own child.
func anyServer() *tls.Config { return &tls.Config{InsecureSkipVerify: true} } //nolint:gosec // our own child

// connect makes an MQTT client of a connection, which it closes when that fails.
func connect(nc net.Conn, clientID, user string, password []byte) (*client, error) {
	c := &client{nc: nc, r: bufio.NewReaderSize(nc, 1<<10)}
	err := c.send(packet.AppendConnect(nil, &packet.Connect{
		Version: packet.V5, CleanStart: true, KeepAlive: 600, ClientID: clientID,
		HasUserName: true, UserName: user, HasPassword: true, Password: password,
		ReceiveMaximum: 0xffff, RequestProblemInformation: true,
	}))
	if err == nil {
		_, err = c.until(packet.CONNACK)
	}
	if err == nil {
		var a *packet.Connack
		if a, err = packet.ParseConnack(packet.V5, c.body); err == nil && a.Code.Failed() {
			err = fmt.Errorf("CONNACK: %v", a.Code)
		}
	}
	if err != nil {
		return nil, errors.Join(err, nc.Close())
	}
	return c, nil
}

// subscribe subscribes to one filter.
func (c *client) subscribe(filter string, qos byte) error {
	err := c.send(packet.AppendSubscribe(nil, packet.V5, &packet.Subscribe{ID: 1, Filters: []packet.Filter{{Text: filter, Options: packet.Options{QoS: qos}}}}))
	if err != nil {
		return err
	}
	if _, err = c.until(packet.SUBACK); err != nil {
		return err
	}
	a, err := packet.ParseSuback(packet.V5, c.body)
	if err == nil && (len(a.Codes) != 1 || a.Codes[0].Failed()) {
		err = fmt.Errorf("subscribing to %s: %v", filter, a.Codes)
	}
	return err
}

func (c *client) send(p []byte) error {
	_, err := c.nc.Write(p)
	return err
}

// next reads a packet. Its body is good until the next.
func (c *client) next() (packet.Header, error) {
	var b [5]byte
	for i := range b {
		var err error
		if b[i], err = c.r.ReadByte(); err != nil {
			return packet.Header{}, err
		}
		h, n, err := packet.ReadHeader(b[:i+1])
		if err != nil {
			return h, err
		}
		if n == 0 {
			continue
		}
		if cap(c.body) < h.Length {
			c.body = make([]byte, h.Length)
		}
		c.body = c.body[:h.Length]
		_, err = io.ReadFull(c.r, c.body)
		return h, err
	}
	return packet.Header{}, errors.New("a header that does not end")
}

// until reads up to a packet of that type.
func (c *client) until(want packet.Type) (packet.Header, error) {
	if err := c.nc.SetReadDeadline(time.Now().Add(patience)); err != nil {
		return packet.Header{}, err
	}
	for {
		h, err := c.next()
		if err != nil {
			return h, fmt.Errorf("waiting for %s: %w", want, err)
		}
		if h.Type == want {
			return h, nil
		}
	}
}

// published reads the PUBLISH at hand.
func (c *client) published(h packet.Header) (packet.Publish, error) {
	var p packet.Publish
	return p, p.ParseFromServer(packet.V5, h.Flags, c.body)
}
