package main

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"time"

	"github.com/signetd/signet/broker/mqttd/message"
	"github.com/signetd/signet/broker/mqttd/packet"
)

// A verdict is how what came compares with what was to come.
type verdict int

const (
	expected  verdict = iota
	otherCode         // it came out as expected, and only the words differ: another reason code for the same outcome, or none
	differs
)

// A judge runs sequences against the server at an address, one after the other.
type judge struct {
	addr     string
	patience time.Duration // with each answer that does not come
	crumbs   bool          // send each byte by itself
	// renew gives a server without a past, after a sequence that differed; nil: there is none.
	renew func() (addr string, err error)
}

// A judgement counts a group's sequences.
type judgement struct {
	group  string
	counts [differs + 1]int
	told   []string // of those that are not as expected
}

// run judges all sequences of a group.
func (j *judge) run(g *group) (judgement, error) {
	result := judgement{group: g.Name}
	for i := range g.Tests {
		v, why := j.sequence(g, &g.Tests[i])
		result.counts[v]++
		if v == expected {
			continue
		}
		word := map[verdict]string{otherCode: "other code", differs: "differs"}[v]
		result.told = append(result.told, fmt.Sprintf("%s: %s | %s: %v", word, g.Name, g.Tests[i].Name, why))
		if v == differs && j.renew != nil {
			var err error
			if j.addr, err = j.renew(); err != nil {
				return result, err
			}
		}
	}
	return result, nil
}

// sequence runs one, on a connection of its own. It ends at the first outcome that differs.
func (j *judge) sequence(g *group, s *sequence) (verdict, error) {
	yes, four := true, byte(packet.V311)
	version := or(s.Version, g.Version, &four)
	c, err := j.dial()
	if err != nil {
		return differs, err
	}
	defer c.nc.Close()
	if or(s.Connect, g.Connect, &yes) {
		if err := c.connect(version, g.Name+" "+s.Name); err != nil {
			return differs, err
		}
	}
	for i, p := range s.Steps {
		if err := j.step(c, &p); err != nil {
			return differs, fmt.Errorf("step %d: %w", i+1, err)
		}
	}
	end := c.alive
	if or(s.Ends, g.Ends, &yes) {
		end = c.closed
	}
	if err := end(); err != nil {
		return differs, err
	}
	if c.words != nil {
		return otherCode, c.words
	}
	return expected, nil
}

func (j *judge) step(c *client, p *step) error {
	if p.Type == "external_publish" {
		return j.publish(p)
	}
	raw, err := bytesOf(p.Payload)
	switch {
	case err != nil:
		return err
	case p.Type == "send":
		return c.send(raw)
	case p.Type == "recv":
		return c.expect(raw)
	}
	return fmt.Errorf("a step of the type %q, which the judge does not know", p.Type)
}

// publish is done by another client, of MQTT 3.1.1.
func (j *judge) publish(p *step) error {
	c, err := j.dial()
	if err != nil {
		return err
	}
	defer c.nc.Close()
	if err := c.connect(byte(packet.V311), "helper"); err != nil {
		return fmt.Errorf("helper: %w", err)
	}
	m := packet.Publish{Topic: []byte(p.Topic), QoS: message.QoS(p.QoS), Retain: p.Retain, Payload: []byte(p.Payload)}
	acknowledge := func(t packet.Type) []byte {
		return packet.AppendAck(nil, packet.V311, t, m.ID, packet.Success, "")
	}
	if p.QoS > 0 {
		m.ID = 1
	}
	if err := c.send(packet.AppendPublish(nil, packet.V311, &m)); err != nil {
		return fmt.Errorf("helper: %w", err)
	}
	switch p.QoS {
	case 0:
		err = c.alive()
	case 1:
		err = c.expect(acknowledge(packet.PUBACK))
	case 2:
		err = errors.Join(c.expect(acknowledge(packet.PUBREC)), c.send(acknowledge(packet.PUBREL)), c.expect(acknowledge(packet.PUBCOMP)))
	}
	if err != nil {
		return fmt.Errorf("helper: %w", err)
	}
	return nil
}

// A client speaks raw packets.
type client struct {
	nc       net.Conn
	r        *bufio.Reader
	patience time.Duration
	crumbs   bool
	words    error // the first answer that came in other words
}

func (j *judge) dial() (*client, error) {
	nc, err := net.Dial("tcp", j.addr)
	if err != nil {
		return nil, fmt.Errorf("connecting: %w", err)
	}
	return &client{nc: nc, r: bufio.NewReader(nc), patience: j.patience, crumbs: j.crumbs}, nil
}

// connect begins a session that ends with the connection.
func (c *client) connect(version byte, id string) error {
	p := packet.Connect{Version: packet.Version(version), CleanStart: true, KeepAlive: 60, ClientID: id, ReceiveMaximum: 20, RequestProblemInformation: true}
	if err := c.send(packet.AppendConnect(nil, &p)); err != nil {
		return err
	}
	return c.expect(packet.AppendConnack(nil, p.Version, &packet.Connack{}))
}

func (c *client) send(b []byte) error {
	_ = c.nc.SetDeadline(time.Now().Add(c.patience))
	size := len(b)
	if c.crumbs {
		size = 1
	}
	for part := range slices.Chunk(b, max(size, 1)) {
		if _, err := c.nc.Write(part); err != nil && !c.crumbs { // in crumbs, the server may have seen enough
			return fmt.Errorf("sending %x: %w", b, err)
		}
	}
	return nil
}

// read reads one packet.
func (c *client) read() (h packet.Header, raw []byte, err error) {
	_ = c.nc.SetDeadline(time.Now().Add(c.patience))
	for {
		h, n, err := packet.ReadHeader(raw)
		if err != nil {
			return h, raw, fmt.Errorf("%x: %w", raw, err)
		}
		if n > 0 {
			raw = append(raw, make([]byte, h.Length)...)
			_, err := io.ReadFull(c.r, raw[n:])
			return h, raw, err
		}
		b, err := c.r.ReadByte()
		if err != nil {
			return h, raw, err
		}
		raw = append(raw, b)
	}
}

// expect reads a packet and compares it with the one that is to come.
func (c *client) expect(want []byte) error {
	_, got, err := c.read()
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return fmt.Errorf("nothing came, want %s", words(want))
	case err != nil && refuses(want):
		c.said("the end", words(want))
		return nil
	case err != nil:
		return fmt.Errorf("want %s: %w", words(want), err)
	}
	switch compare(got, want) {
	case differs:
		return fmt.Errorf("got %s, want %s", words(got), words(want))
	case otherCode:
		c.said(words(got), words(want))
	}
	return nil
}

func (c *client) said(got, want string) {
	if c.words == nil {
		c.words = fmt.Errorf("got %s, want %s", got, want)
	}
}

// compare passes over what the standard leaves to a server: what a CONNACK says of the server's
// limits, and reason strings, which are for people.
func compare(got, want []byte) verdict {
	if bytes.Equal(got, want) {
		return expected
	}
	g, n, err := packet.ReadHeader(got)
	w, m, err2 := packet.ReadHeader(want)
	switch {
	case err != nil || err2 != nil || n == 0 || m == 0:
		return differs
	case refuses(got) && refuses(want):
		if g.Type == w.Type && codeOf(got) == codeOf(want) && (g.Length > 2 == (w.Length > 2) || g.Type == packet.DISCONNECT) {
			return expected
		}
		return otherCode
	case g.Type != w.Type:
		return differs
	}
	got, want = got[n:], want[m:]
	switch g.Type {
	case packet.CONNACK:
		if len(got) > 2 && len(want) > 2 && bytes.Equal(got[:2], want[:2]) { // of MQTT 5, both
			return expected
		}
	case packet.PUBACK, packet.PUBREC, packet.PUBREL, packet.PUBCOMP:
		a, err := packet.ParseAck(packet.V5, g.Type, got)
		b, err2 := packet.ParseAck(packet.V5, w.Type, want)
		// PUBREL and PUBCOMP refuse nothing, whatever their code.
		mere := g.Type == packet.PUBREL || g.Type == packet.PUBCOMP || a.Code.Failed() == b.Code.Failed()
		if err == nil && err2 == nil && a.ID == b.ID && mere {
			return otherCode
		}
	}
	return differs
}

// refuses reports whether a packet of the server's ends the connection.
func refuses(p []byte) bool {
	h, n, err := packet.ReadHeader(p)
	return err == nil && n > 0 && (h.Type == packet.DISCONNECT || h.Type == packet.CONNACK && codeOf(p) != 0)
}

// codeOf is the code of a CONNACK or a DISCONNECT.
func codeOf(p []byte) byte {
	h, n, _ := packet.ReadHeader(p)
	at := n
	if h.Type == packet.CONNACK {
		at++
	}
	if at < len(p) {
		return p[at]
	}
	return 0
}

func words(p []byte) string {
	h, _, err := packet.ReadHeader(p)
	if err != nil {
		return hex.EncodeToString(p)
	}
	return fmt.Sprintf("%s %x", h.Type, p)
}

// closed waits for the end of the connection.
func (c *client) closed() error {
	for range 2 {
		_, got, err := c.read()
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			return errors.New("the connection stays open")
		case err != nil:
			return nil
		case !refuses(got):
			return fmt.Errorf("got %s, want the end", words(got))
		}
		c.said(words(got), "the end")
	}
	return errors.New("it was refused twice")
}

// alive proves that the connection is, and that nothing more has come.
func (c *client) alive() error {
	if err := c.send(packet.AppendPingreq(nil)); err != nil {
		return err
	}
	return c.expect(packet.AppendPingresp(nil))
}
