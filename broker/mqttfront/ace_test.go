package mqttfront_test

import (
	"bufio"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/eclipse/paho.golang/packets"

	"github.com/signetd/signet/agent"
	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/broker/control"
	"github.com/signetd/signet/broker/control/controltest"
	"github.com/signetd/signet/protocol"
	"github.com/signetd/signet/protocol/ace"
	"github.com/signetd/signet/protocol/channel"
	"github.com/signetd/signet/test/harness"
)

// An aced is a client of RFC 9431.
type aced struct {
	*byAuth
	key agent.Prover
}

// ace connects to addr, over WebSocket if web, without TLS if plain.
func (f *fixture) ace(key agent.Prover, addr string, web, plain bool) *aced {
	f.t.Helper()
	return &aced{f.byAuth(addr, web, plain), key}
}

func (c *aced) prove(input []byte) []byte {
	c.t.Helper()
	proof, err := c.key.Prove(input)
	if err != nil {
		c.t.Fatal(err)
	}
	return proof
}

// exported is what the client's end of its TLS connection exports.
func (c *aced) exported() []byte {
	if c.tls == nil {
		return make([]byte, protocol.ChannelLen)
	}
	state := c.tls.ConnectionState()
	return channel.Challenge(&state)
}

func (c *aced) opening(token, proof []byte) []byte {
	c.t.Helper()
	data, err := ace.Opening{Token: token, Proof: proof}.Append(nil)
	if err != nil {
		c.t.Fatal(err)
	}
	return data
}

// connect sends a CONNECT and gives what the server says.
func (c *aced) connect(id string, data []byte) ([]byte, error) {
	hello := &packets.Connect{ProtocolName: "MQTT", ProtocolVersion: 5, CleanStart: true, KeepAlive: 30, ClientID: id, Properties: &packets.Properties{AuthMethod: "ace", AuthData: data}}
	if c.hello != nil {
		c.hello(hello)
	}
	c.write(hello)
	return c.heard()
}

func (c *aced) say(code byte, data []byte) ([]byte, error) {
	c.write(&packets.Auth{ReasonCode: code, Properties: &packets.Properties{AuthMethod: "ace", AuthData: data}})
	return c.heard()
}

// respond answers a nonce.
func (c *aced) respond(nonce []byte, err error) ([]byte, error) {
	c.t.Helper()
	if err != nil || len(nonce) != ace.NonceLen {
		return nil, fmt.Errorf("asked by %x: %w", nonce, err)
	}
	var r ace.Response
	_, _ = rand.Read(r.Nonce[:])
	r.Proof = c.prove(r.Input([ace.NonceLen]byte(nonce)))
	return c.say(packets.AuthContinueAuthentication, r.Append(nil))
}

// accepted reports whether what heard gave is success, which has no data.
func (c *aced) accepted(data []byte, err error) bool {
	return len(data) == 0 && c.ended == 0 && (err == nil || err.Error() == "CONNACK 0x0")
}

// TestACE: a device with an access token, CWT or JWT, and its key connects as RFC 9431 says: by a proof over what its TLS
// connection exports (section 2.2.4.2.1), and by one over nonces (2.2.4.2.2) where the operator takes that;
// it authenticates again by nonces alone (section 4).
func TestACE(t *testing.T) {
	f := start(t, nil)
	f.front.TakeUnbound()
	a, _ := f.enrolled("lamp", false)
	key := f.known.keys["demo:lamp"][0]
	const own = "devices/demo/lamp/#"
	for _, web := range []bool{false, true} {
		addr := map[bool]string{false: f.secure, true: f.web}[web]
		for form, token := range map[string][]byte{"CWT": f.login(a, f, protocol.FormatCWT), "JWT": f.login(a, f, protocol.FormatJWT)} {
			for _, user := range []string{"", "demo:lamp"} {
				at := fmt.Sprintf("%s, web %v, user name %q", form, web, user)
				open := func() *aced {
					c := f.ace(key, addr, web, false)
					c.hello = func(p *packets.Connect) {
						if user != "" {
							p.UsernameFlag, p.Username, p.ClientID = true, user, "My Client"
						}
					}
					return c
				}
				c := open()
				if got, err := c.connect("demo:lamp", c.opening(token, c.prove(c.exported()))); !c.accepted(got, err) {
					t.Fatalf("%s, exported: %x %v", at, got, err)
				}
				if code := c.subscribe(own); code != 0 {
					t.Errorf("%s, its own topics: %#x", at, code)
				}
				if code := c.subscribe("devices/demo/other/#"); code != 0x87 {
					t.Errorf("%s, another's topics: %#x", at, code)
				}
				for range 2 {
					if got, err := c.respond(c.say(packets.AuthReauthenticate, c.opening(token, nil))); err != nil || len(got) > 0 {
						t.Fatalf("%s, again: %x %v", at, got, err)
					}
				}
				if code := c.subscribe(own); code != 0 {
					t.Errorf("%s, its own topics afterwards: %#x", at, code)
				}
				c = open()
				if got, err := c.respond(c.connect("demo:lamp/2", c.opening(token, nil))); !c.accepted(got, err) {
					t.Fatalf("%s, nonces: %x %v", at, got, err)
				}
				if code := c.subscribe(own); code != 0 {
					t.Errorf("%s, its own topics: %#x", at, code)
				}
			}
		}
	}
}

// TestACEProlongs: what a newer token is shown for is a longer life, and the session is kept.
func TestACEProlongs(t *testing.T) {
	f := start(t, nil)
	a, _ := f.enrolled("lamp", false)
	c := f.ace(f.known.keys["demo:lamp"][0], f.secure, false, false)
	token := f.login(a, f, protocol.FormatCWT)
	if got, err := c.connect("demo:lamp", c.opening(token, c.prove(c.exported()))); !c.accepted(got, err) {
		t.Fatalf("%x %v", got, err)
	}
	if code := c.subscribe("devices/demo/lamp/x"); code != 0 {
		t.Fatal(code)
	}
	g, err := a.Refresh(t.Context(), f, agent.Ask{})
	if err != nil {
		t.Fatal(err)
	}
	if got, err := c.respond(c.say(packets.AuthReauthenticate, c.opening(g.Access, nil))); err != nil || len(got) > 0 {
		t.Fatalf("%x %v", got, err)
	}
	c.write(&packets.Publish{Topic: "devices/demo/lamp/x", Payload: []byte("1"), Properties: &packets.Properties{}})
	p, err := packets.ReadPacket(c.r)
	if err != nil {
		t.Fatal(err)
	}
	if m, ok := p.Content.(*packets.Publish); !ok || string(m.Payload) != "1" {
		t.Errorf("got %v", p)
	}
	// What is kept until the answer comes is no longer than a token may be.
	fat := f.ace(c.key, f.secure, false, false)
	if got, err := fat.connect("demo:lamp/2", fat.opening(g.Access, fat.prove(fat.exported()))); !fat.accepted(got, err) {
		t.Fatalf("%x %v", got, err)
	}
	if _, err := fat.say(packets.AuthReauthenticate, fat.opening(make([]byte, protocol.MaxConnect+1), nil)); err == nil || fat.ended != 0x87 {
		t.Errorf("a long token: %v, code %#x", err, fat.ended)
	}
	// Another device's token ends it, also with that device's own proof.
	b, _ := f.enrolled("other", false)
	c.key = f.known.keys["demo:other"][0]
	if _, err := c.respond(c.say(packets.AuthReauthenticate, c.opening(f.login(b, f, protocol.FormatCWT), nil))); err == nil || c.ended != 0x87 {
		t.Errorf("another device: %v, code %#x", err, c.ended)
	}
	c.closed()
}

// TestACERefused: neither a token without its key nor a proof of another connection is worth anything, nor what
// is malformed; who is refused hears 0x87 (section 2.4.1).
func TestACERefused(t *testing.T) {
	f := start(t, nil)
	a, _ := f.enrolled("lamp", false)
	key, stranger := f.known.keys["demo:lamp"][0], harness.NewP256(t)
	token, password := f.login(a, f, protocol.FormatCWT), f.password(a, f, protocol.FormatCWT)
	other := f.ace(key, f.secure, false, false).exported()
	cut := func(data []byte, n int) []byte { return data[:len(data)-n] }
	for what, x := range map[string]struct {
		key  agent.Prover
		id   string
		data func(c *aced) []byte
	}{
		"another key":           {stranger, "demo:lamp", func(c *aced) []byte { return c.opening(token, c.prove(c.exported())) }},
		"another connection's":  {key, "demo:lamp", func(c *aced) []byte { return c.opening(token, c.prove(other)) }},
		"the name in its place": {key, "demo:lamp", func(c *aced) []byte { return c.opening(token, c.prove(c.End().Channel)) }},
		"a connect proof's": {key, "demo:lamp", func(c *aced) []byte {
			return c.opening(token, c.prove((&protocol.ConnectProof{Access: token, Channel: c.End().Channel}).Input("demo:lamp")))
		}},
		"an MQTT password":          {key, "demo:lamp", func(c *aced) []byte { return c.opening(password, c.prove(c.exported())) }},
		"no token":                  {key, "demo:lamp", func(c *aced) []byte { return append([]byte{0, 0}, c.prove(c.exported())...) }},
		"nothing":                   {key, "demo:lamp", func(*aced) []byte { return nil }},
		"a byte":                    {key, "demo:lamp", func(*aced) []byte { return []byte{1} }},
		"a token that is too short": {key, "demo:lamp", func(c *aced) []byte { return cut(c.opening(token, nil), 1) }},
		"a cut proof":               {key, "demo:lamp", func(c *aced) []byte { return cut(c.opening(token, c.prove(c.exported())), 1) }},
		"another device's id":       {key, "demo:other", func(c *aced) []byte { return c.opening(token, c.prove(c.exported())) }},
		"a stranger's id":           {key, "anon-" + strings.Repeat("a", 32), func(c *aced) []byte { return c.opening(token, c.prove(c.exported())) }},
		"an id that names nobody":   {key, "lamp", func(c *aced) []byte { return c.opening(token, c.prove(c.exported())) }},
		"no id":                     {key, "", func(c *aced) []byte { return c.opening(token, c.prove(c.exported())) }},
		"nonces":                    {key, "demo:lamp", func(c *aced) []byte { return c.opening(token, nil) }}, // no operator takes them here
	} {
		c := f.ace(x.key, f.secure, false, false)
		if got, err := c.connect(x.id, x.data(c)); err == nil || c.ended != 0x87 {
			t.Errorf("%s: %x %v, code %#x", what, got, err, c.ended)
		}
		c.closed()
	}
	for what, x := range map[string]func() *aced{
		"no TLS": func() *aced { return f.ace(key, f.addr, false, true) }, "a relay": func() *aced { return f.ace(key, f.relay(f.secure), false, false) },
		"a password": func() *aced {
			c := f.ace(key, f.secure, false, false)
			c.hello = func(p *packets.Connect) { p.PasswordFlag, p.Password = true, []byte("x") }
			return c
		},
	} {
		c := x()
		if got, err := c.connect("demo:lamp", c.opening(token, c.prove(c.exported()))); err == nil || c.ended != 0x87 {
			t.Errorf("%s: %x %v, code %#x", what, got, err, c.ended)
		}
	}
	again := func(key agent.Prover, data func(c *aced) []byte, response func(c *aced, nonce []byte) []byte) byte {
		t.Helper()
		c := f.ace(key, f.secure, false, false)
		if got, err := c.connect("demo:lamp", c.opening(token, c.prove(c.exported()))); !c.accepted(got, err) {
			t.Fatalf("%x %v", got, err)
		}
		nonce, err := c.say(packets.AuthReauthenticate, data(c))
		if err == nil && response != nil {
			_, err = c.say(packets.AuthContinueAuthentication, response(c, nonce))
		}
		if err == nil {
			return 0
		}
		c.closed()
		return c.ended
	}
	good := func(c *aced) []byte { return c.opening(token, nil) }
	for what, code := range map[string]byte{
		"exported": again(key, func(c *aced) []byte { return c.opening(token, c.prove(c.exported())) }, nil),
		"nothing":  again(key, func(*aced) []byte { return nil }, nil),
		"another key": again(key, good, func(c *aced, nonce []byte) []byte {
			c.key = stranger
			return append(make([]byte, 8), c.prove(append(nonce, make([]byte, 8)...))...)
		}),
		"another nonce": again(key, good, func(c *aced, nonce []byte) []byte { return append(make([]byte, 8), c.prove(make([]byte, 16))...) }),
		"nonces swapped": again(key, good, func(c *aced, nonce []byte) []byte {
			return append([]byte("12345678"), c.prove(append([]byte("12345678"), nonce...))...)
		}),
		"no nonce": again(key, good, func(c *aced, nonce []byte) []byte { return c.prove(nonce)[:8] }),
		"a password": again(key, func(c *aced) []byte { return c.opening(password, nil) }, func(c *aced, nonce []byte) []byte {
			return append(make([]byte, 8), c.prove(append(nonce, make([]byte, 8)...))...)
		}),
	} {
		if code != 0x87 {
			t.Errorf("again, %s: code %#x", what, code)
		}
	}
}

// TestACERelayed: a proof over nonces that somebody passes on connects him, which is why nobody takes one without
// being told to; what was answered once is worth nothing on another connection.
func TestACERelayed(t *testing.T) {
	for _, takes := range []bool{false, true} {
		f := start(t, nil)
		if takes {
			f.front.TakeUnbound()
		}
		a, _ := f.enrolled("lamp", false)
		token := f.login(a, f, protocol.FormatCWT)
		key := f.known.keys["demo:lamp"][0]
		c := f.ace(key, f.relay(f.secure), false, false)
		got, err := c.respond(c.connect("demo:lamp", c.opening(token, nil)))
		if c.accepted(got, err) != takes {
			t.Errorf("taken %v: %x %v", takes, got, err)
		}
		if !takes {
			continue
		}
		p := f.ace(key, f.addr, false, true)
		if got, err := p.respond(p.connect("demo:lamp/2", p.opening(token, nil))); p.accepted(got, err) {
			t.Error("without TLS a proof over nonces was taken")
		}
		first := f.ace(key, f.secure, false, false)
		nonce, err := first.connect("demo:lamp/3", first.opening(token, nil))
		if err != nil {
			t.Fatal(err)
		}
		var r ace.Response
		r.Proof = first.prove(r.Input([ace.NonceLen]byte(nonce)))
		thief := f.ace(key, f.secure, false, false)
		if _, err := thief.connect("demo:lamp/4", thief.opening(token, nil)); err != nil {
			t.Fatal(err)
		}
		if got, err := thief.say(packets.AuthContinueAuthentication, r.Append(nil)); thief.accepted(got, err) {
			t.Error("an answer to another connection's nonce was taken")
		}
	}
}

// TestACEByUserName: MQTT 3.1.1 has the token in the user name and the proof over what the connection exports in the
// password (section 6.1), and so may MQTT 5.
func TestACEByUserName(t *testing.T) {
	f := start(t, nil)
	a, _ := f.enrolled("lamp", false)
	key := f.known.keys["demo:lamp"][0]
	token := f.login(a, f, protocol.FormatCWT)
	sound := ace.UserName(token)
	proof := func(c *aced) []byte { return c.prove(c.exported()) }
	for what, x := range map[string]struct {
		id, user string
		password func(c *aced) []byte
		addr     string
		ok       bool
	}{
		"the holder": {"demo:lamp", sound, proof, f.secure, true}, "a further connection": {"demo:lamp/2", sound, proof, f.secure, true},
		"a JWT":                {"demo:lamp", ace.UserName(f.login(a, f, protocol.FormatJWT)), proof, f.secure, true},
		"another device's id":  {"demo:other", sound, proof, f.secure, false},
		"an id of no device":   {"lamp", sound, proof, f.secure, false},
		"a stranger's id":      {"anon-" + strings.Repeat("a", 32), sound, proof, f.secure, false},
		"a relay":              {"demo:lamp", sound, proof, f.relay(f.secure), false},
		"no proof":             {"demo:lamp", sound, func(*aced) []byte { return nil }, f.secure, false},
		"another connection's": {"demo:lamp", sound, func(c *aced) []byte { return proof(f.ace(key, f.secure, false, false)) }, f.secure, false},
		"no token":             {"demo:lamp", "ace", proof, f.secure, false},
		"padding":              {"demo:lamp", sound + "=", proof, f.secure, false},
		"the token as it is":   {"demo:lamp", "ace" + string(token[:4]), proof, f.secure, false},
	} {
		for _, version := range versions {
			c := f.ace(key, x.addr, false, false)
			_, code := c.byName(version, x.id, x.user, x.password(c))
			if (code == 0) != x.ok {
				t.Errorf("version %d, %s: code %d", version, what, code)
			}
			if code == 0 {
				if code := c.subscribe311(version, "devices/demo/lamp/#"); code > 2 {
					t.Errorf("version %d, %s: its own topics: %#x", version, what, code)
				}
			}
		}
	}
	// Without TLS there is nothing to sign.
	c := f.ace(key, f.addr, false, true)
	if _, code := c.byName(4, "demo:lamp", sound, proof(c)); code == 0 {
		t.Error("without TLS a proof was taken")
	}
}

// byName connects by user name and password, and gives the CONNACK's code.
func (c *aced) byName(version byte, id, user string, password []byte) (io.Reader, byte) {
	c.t.Helper()
	c.r = bufio.NewReader(c.nc)
	hello := []byte{0, 4, 'M', 'Q', 'T', 'T', version, 0xc2, 0, 60}
	if version == 5 {
		hello = append(hello, 0)
	}
	for _, s := range []string{id, user, string(password)} {
		hello = append(append(hello, byte(len(s)>>8), byte(len(s))), s...)
	}
	head := []byte{0x10}
	for n := len(hello); ; n >>= 7 {
		if n < 0x80 {
			head = append(head, byte(n))
			break
		}
		head = append(head, byte(n)|0x80)
	}
	if _, err := c.nc.Write(append(head, hello...)); err != nil {
		c.t.Fatal(err)
	}
	_, body := c.packet()
	if body == nil {
		return c.r, 0xff // MQTT 3.1.1 closes without a word where there is none
	}
	return c.r, body[1]
}

// packet reads one of less than 128 bytes, or a few more.
func (c *aced) packet() (kind byte, body []byte) {
	c.t.Helper()
	kind, err := c.r.ReadByte()
	if err != nil {
		return 0, nil
	}
	n, shift := 0, 0
	for {
		b, err := c.r.ReadByte()
		if err != nil {
			return 0, nil
		}
		n |= int(b&0x7f) << shift
		if shift += 7; b < 0x80 {
			break
		}
	}
	body = make([]byte, n)
	if _, err := io.ReadFull(c.r, body); err != nil {
		return 0, nil
	}
	return kind, body
}

// subscribe311 gives the last byte of a SUBACK in either version.
func (c *aced) subscribe311(version byte, filter string) byte {
	c.t.Helper()
	body := []byte{0, 7}
	if version == 5 {
		body = append(body, 0)
	}
	body = append(append(append(body, 0, byte(len(filter))), filter...), 0)
	if _, err := c.nc.Write(append([]byte{0x82, byte(len(body))}, body...)); err != nil {
		c.t.Fatal(err)
	}
	_, got := c.packet()
	if len(got) == 0 {
		c.t.Fatal("no SUBACK")
	}
	return got[len(got)-1]
}

// TestACEByEachKey: Ed25519 and HMAC-SHA-256, which RFC 9431 has every broker know (section 2.2.5), over either challenge.
func TestACEByEachKey(t *testing.T) {
	f := start(t, nil)
	by := broker.By{Actor: broker.ActorLocal}
	psk := harness.Shared("0123456789abcdef0123456789abcdef")
	if _, err := controltest.PutFlow(t.Context(), f.Control, by, broker.Flow{Pool: f.Pool, Name: "shared", Steps: []string{"psk"}}, true); err != nil {
		t.Fatal(err)
	}
	shared := broker.NewClient(f.Pool, "meters")
	shared.Flow = "shared"
	if _, err := controltest.PutClient(t.Context(), f.Control, by, shared, true); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Control.CreateDevice(t.Context(), by, control.NewDevice{ID: f.Name(t, "meter"), PSK: hex.EncodeToString(psk)}); err != nil {
		t.Fatal(err)
	}
	meter := f.device("meter", psk, "meters")
	ed := harness.NewEd25519(t)
	lamp := f.device("lamp", ed, "")
	if _, err := lamp.Enroll(t.Context(), f, agent.Admission{Token: f.Token(t, 1)}); err != nil {
		t.Fatal(err)
	}
	for id, x := range map[string]struct {
		a   *agent.Agent
		key agent.Prover
	}{"demo:meter": {meter, psk}, "demo:lamp": {lamp, ed}} {
		token := f.login(x.a, f, protocol.FormatCWT)
		c := f.ace(x.key, f.secure, false, false)
		if got, err := c.connect(id, c.opening(token, c.prove(c.exported()))); !c.accepted(got, err) {
			t.Errorf("%s: %x %v", id, got, err)
			continue
		}
		if got, err := c.respond(c.say(packets.AuthReauthenticate, c.opening(token, nil))); err != nil || len(got) > 0 {
			t.Errorf("%s, again: %x %v", id, got, err)
		}
		c = f.ace(x.key, f.secure, false, false)
		if _, code := c.byName(4, id, ace.UserName(token), c.prove(c.exported())); code != 0 {
			t.Errorf("%s, MQTT 3.1.1: code %d", id, code)
		}
	}
}
