// Package mqtttest is a small MQTT 3.1.1 server for the agent's tests: real packets over
// real connections, QoS 0 and 1, retained messages, and a word of the test's at each step.
//
// It is for tests only: it has no sessions, bounds or deadlines, and resends nothing.
package mqtttest

import (
	"bufio"
	"maps"
	"net"
	"slices"
	"sync"

	"github.com/eclipse/paho.mqtt.golang/packets"

	"github.com/signetd/signet/protocol/topic"
)

// A Server is ready when what it asks is set, and serves when Serve is called. Close must
// be called in the end.
type Server struct {
	// Admit says whether a client may connect; nil admits all. Whoever may not gets return
	// code 5, not authorized.
	Admit func(user, password string) bool
	// Allow says whether a client may subscribe; nil allows all.
	Allow func(filter string) bool
	// Received, if not nil, is told of every message that a client publishes, by the
	// goroutine that reads from it, after those who subscribe to it.
	Received func(topic string, payload []byte)

	mu       sync.Mutex // guards the rest
	closed   bool
	on       []net.Listener
	clients  map[*client]bool
	retained map[topic.Name]*packets.PublishPacket
	running  sync.WaitGroup
}

// A client is one connection.
type client struct {
	net.Conn
	mu     sync.Mutex // guards the rest, and writing
	asked  map[topic.Filter]byte
	lastID uint16
}

// Serve accepts connections on ln, which is the Server's then, until Close.
func (s *Server) Serve(ln net.Listener) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		_ = ln.Close()
		return
	}
	s.on = append(s.on, ln)
	s.running.Go(func() {
		for {
			nc, err := ln.Accept()
			if err != nil {
				return
			}
			go s.ServeConn(nc)
		}
	})
}

// ServeConn serves one connection, whatever it came by, until it ends.
func (s *Server) ServeConn(nc net.Conn) {
	defer nc.Close()
	c := &client{Conn: nc, asked: make(map[topic.Filter]byte)}
	if !s.take(c) {
		return
	}
	defer s.leave(c)
	s.read(c)
}

func (s *Server) take(c *client) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return false
	}
	if s.clients == nil {
		s.clients = make(map[*client]bool)
	}
	s.clients[c] = true
	s.running.Add(1)
	return true
}

func (s *Server) leave(c *client) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.clients, c)
	s.running.Done()
}

// HangUp ends all connections, and nothing else.
func (s *Server) HangUp() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.clients {
		_ = c.Close()
	}
}

// Close ends the Server and all connections, and waits until all is done.
func (s *Server) Close() {
	s.mu.Lock()
	s.closed = true
	for _, ln := range s.on {
		_ = ln.Close()
	}
	s.mu.Unlock()
	s.HangUp()
	s.running.Wait()
}

// read takes what c sends until it goes or sends what is not expected.
func (s *Server) read(c *client) {
	in := bufio.NewReader(c)
	first, err := packets.ReadPacket(in)
	connect, ok := first.(*packets.ConnectPacket)
	if err != nil || !ok || !s.connected(c, connect) {
		return
	}
	for {
		p, err := packets.ReadPacket(in)
		if err != nil {
			return
		}
		switch p := p.(type) {
		case *packets.PublishPacket:
			ok = s.published(c, p)
		case *packets.SubscribePacket:
			ok = s.subscribed(c, p)
		case *packets.PingreqPacket:
			ok = c.write(packets.NewControlPacket(packets.Pingresp))
		case *packets.PubackPacket:
		default: // DISCONNECT is one of them
			return
		}
		if !ok {
			return
		}
	}
}

func (s *Server) connected(c *client, p *packets.ConnectPacket) bool {
	ack := packets.NewControlPacket(packets.Connack).(*packets.ConnackPacket)
	if ack.ReturnCode = p.Validate(); ack.ReturnCode == packets.Accepted && s.Admit != nil && !s.Admit(p.Username, string(p.Password)) {
		ack.ReturnCode = packets.ErrRefusedNotAuthorised
	}
	return c.write(ack) && ack.ReturnCode == packets.Accepted
}

func (s *Server) published(c *client, p *packets.PublishPacket) bool {
	n, err := topic.ParseName(p.TopicName)
	if err != nil || p.Qos > 1 {
		return false
	}
	if p.Qos == 1 {
		ack := packets.NewControlPacket(packets.Puback).(*packets.PubackPacket)
		ack.MessageID = p.MessageID
		if !c.write(ack) {
			return false
		}
	}
	s.deliver(n, p)
	if s.Received != nil {
		s.Received(p.TopicName, p.Payload)
	}
	return true
}

// Publish sends a message of the server's own to all who subscribe to it. It fails if name
// is no topic.
func (s *Server) Publish(name string, payload []byte, retain bool, qos byte) error {
	n, err := topic.ParseName(name)
	if err != nil {
		return err
	}
	p := packets.NewControlPacket(packets.Publish).(*packets.PublishPacket)
	p.TopicName, p.Payload, p.Retain, p.Qos = name, payload, retain, qos
	s.deliver(n, p)
	return nil
}

func (s *Server) deliver(n topic.Name, p *packets.PublishPacket) {
	s.mu.Lock()
	if p.Retain {
		if s.retained == nil {
			s.retained = make(map[topic.Name]*packets.PublishPacket)
		}
		s.retained[n] = p
	}
	all := slices.Collect(maps.Keys(s.clients))
	s.mu.Unlock()
	for _, c := range all {
		if qos, ok := c.wants(n); ok {
			c.send(p, qos, false)
		}
	}
}

// wants reports whether c subscribes to n, and by which QoS.
func (c *client) wants(n topic.Name) (qos byte, ok bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for f, q := range c.asked {
		if f.Matches(n) {
			qos, ok = max(qos, q), true
		}
	}
	return qos, ok
}

// send sends c a message that it subscribes to by this QoS.
func (c *client) send(p *packets.PublishPacket, qos byte, retained bool) bool {
	out := p.Copy()
	out.Qos, out.Retain = min(p.Qos, qos), retained
	c.mu.Lock()
	defer c.mu.Unlock()
	if out.Qos > 0 {
		c.lastID = max(1, c.lastID+1)
		out.MessageID = c.lastID
	}
	return out.Write(c) == nil
}

func (c *client) write(p packets.ControlPacket) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return p.Write(c) == nil
}

func (s *Server) subscribed(c *client, p *packets.SubscribePacket) bool {
	ack := packets.NewControlPacket(packets.Suback).(*packets.SubackPacket)
	ack.MessageID = p.MessageID
	var added []topic.Filter
	for i, text := range p.Topics {
		f, err := topic.ParseFilter(text)
		if err != nil || s.Allow != nil && !s.Allow(text) {
			ack.ReturnCodes = append(ack.ReturnCodes, 0x80)
			continue
		}
		qos := min(p.Qoss[i], 1)
		ack.ReturnCodes = append(ack.ReturnCodes, qos)
		added = append(added, f)
		c.subscribe(f, qos)
	}
	return c.write(ack) && s.sendRetained(c, added)
}

func (c *client) subscribe(f topic.Filter, qos byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.asked[f] = qos
}

func (s *Server) sendRetained(c *client, added []topic.Filter) bool {
	s.mu.Lock()
	all := maps.Clone(s.retained)
	s.mu.Unlock()
	for _, f := range added {
		for n, p := range all {
			if qos, ok := c.wants(n); ok && f.Matches(n) && !c.send(p, qos, true) {
				return false
			}
		}
	}
	return true
}
