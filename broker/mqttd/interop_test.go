package mqttd

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/eclipse/paho.golang/paho"
	paho3 "github.com/eclipse/paho.mqtt.golang"

	"github.com/signetd/signet/broker/intake"
	"github.com/signetd/signet/protocol"
	"github.com/signetd/signet/protocol/channel"
)

// old gives an MQTT 3.1.1 client that doesn't come back by itself.
func old(t *testing.T, broker, id string, change func(*paho3.ClientOptions)) paho3.Client {
	t.Helper()
	o := paho3.NewClientOptions().AddBroker(broker).SetClientID(id).SetProtocolVersion(4).
		SetAutoReconnect(false).SetConnectTimeout(patience).SetOrderMatters(false)
	if !strings.HasPrefix(id, "anon-") {
		o.SetUsername(id).SetPassword("token-" + id)
	}
	if change != nil {
		change(o)
	}
	c := paho3.NewClient(o)
	t.Cleanup(func() { c.Disconnect(0) })
	return c
}

func done(t *testing.T, tok paho3.Token) error {
	t.Helper()
	if !tok.WaitTimeout(patience) {
		t.Fatal("no answer")
	}
	return tok.Error()
}

func must(t *testing.T, tok paho3.Token) {
	t.Helper()
	if err := done(t, tok); err != nil {
		t.Fatal(err)
	}
}

func receive[T any](t *testing.T, what string, ch <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-ch:
	case <-time.After(patience):
		t.Fatalf("never: %s", what)
	}
	return v
}

func inbox() (chan string, paho3.MessageHandler) {
	ch := make(chan string, 8)
	return ch, func(_ paho3.Client, m paho3.Message) { ch <- m.Topic() + " " + string(m.Payload()) }
}

// The whole of a device's life with the library that the agent uses, over TLS.
func TestPaho311(t *testing.T) {
	server, client := selfSigned(t)
	named := make(chan []byte, 1)
	f := startOn(t, func(c *Config, _ *fixture) {
		c.Respond = func(_ context.Context, q Request) []byte {
			named <- q.Channel
			return append([]byte(q.ClientID+" "), q.Payload...)
		}
	}, func(ln net.Listener) net.Listener { return tls.NewListener(ln, server) })
	broker := "ssl://" + f.addr
	withTLS := func(o *paho3.ClientOptions) { o.SetTLSConfig(client.Clone()) }

	var own *tls.Conn
	anon := old(t, broker, anonA, func(o *paho3.ClientOptions) {
		o.SetCustomOpenConnectionFn(func(*url.URL, paho3.ClientOptions) (net.Conn, error) {
			var err error
			own, err = tls.Dial("tcp", f.addr, client.Clone())
			return own, err
		})
	})
	must(t, anon.Connect())
	replies, onReply := inbox()
	must(t, anon.Subscribe("signet/v1/"+anonA+"/rs", 1, onReply))
	all := anon.Subscribe("#", 1, onReply)
	_ = done(t, all) // paho calls a refusal no error
	if code := all.(*paho3.SubscribeToken).Result()["#"]; code != 0x80 {
		t.Errorf("anonymous: '#' got code %#x", code)
	}
	must(t, anon.Publish("signet/v1/"+anonA+"/rq", 1, false, "hello"))
	if got := receive(t, "the reply", replies); got != "signet/v1/"+anonA+"/rs "+anonA+" hello" {
		t.Errorf("got %q", got)
	}
	first := <-named
	if state := own.ConnectionState(); !bytes.Equal(first, channel.Name(&state)) {
		t.Error("the connection has another name at its other end")
	}
	must(t, anon.Publish("signet/v1/"+anonA+"/rq", 1, false, "again"))
	receive(t, "the second reply", replies)
	if second := <-named; &second[0] != &first[0] {
		t.Error("the connection's name was derived anew")
	}

	watcher := old(t, broker, "w:w", withTLS)
	f.gate.grants[device(t, "w:w")] = grantAll(t)
	must(t, watcher.Connect())
	seen, onSeen := inbox()
	must(t, watcher.Subscribe("devices/#", 1, onSeen))

	lost := make(chan error, 1)
	dev := old(t, broker, "p:n", func(o *paho3.ClientOptions) {
		withTLS(o)
		o.SetWill("devices/p/n/gone", "bye", 1, false).SetConnectionLostHandler(func(_ paho3.Client, err error) { lost <- err })
	})
	must(t, dev.Connect())
	must(t, dev.Publish("devices/p/n/x", 1, false, "1"))
	if got := receive(t, "the message", seen); got != "devices/p/n/x 1" {
		t.Errorf("got %q", got)
	}
	f.End(device(t, "p:n"), ReasonAdministrative)
	receive(t, "the lost connection", lost)
	if got := receive(t, "the will", seen); got != "devices/p/n/gone bye" {
		t.Errorf("got %q", got)
	}
	wrong := old(t, broker, "p:m", func(o *paho3.ClientOptions) { withTLS(o); o.SetPassword("x") })
	if err := done(t, wrong.Connect()); err == nil {
		t.Error("a wrong token was admitted")
	}
}

// A version 5 client hears why.
func TestPaho5(t *testing.T) {
	f := start(t, nil)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	nc, err := net.Dial("tcp", f.addr)
	if err != nil {
		t.Fatal(err)
	}
	got, gone := make(chan string, 8), make(chan byte, 1)
	c := paho.NewClient(paho.ClientConfig{
		Conn: nc,
		OnPublishReceived: []func(paho.PublishReceived) (bool, error){func(p paho.PublishReceived) (bool, error) {
			got <- p.Packet.Topic + " " + string(p.Packet.Payload)
			return true, nil
		}},
		OnServerDisconnect: func(d *paho.Disconnect) { gone <- d.ReasonCode },
	})
	expiry := uint32(600)
	ack, err := c.Connect(ctx, &paho.Connect{
		ClientID: "p:n/a", Username: "p:n", Password: []byte("token-p:n"), UsernameFlag: true, PasswordFlag: true, KeepAlive: 30,
		Properties: &paho.ConnectProperties{SessionExpiryInterval: &expiry},
	})
	if err != nil {
		t.Fatal(err)
	}
	if p := ack.Properties; p.SessionExpiryInterval != nil || p.RetainAvailable || p.MaximumPacketSize == nil {
		t.Errorf("the CONNACK's properties: %+v", p)
	}
	sub, err := c.Subscribe(ctx, &paho.Subscribe{Subscriptions: []paho.SubscribeOptions{
		{Topic: "devices/p/n/#", QoS: 1}, {Topic: "signet/v1/p:n/a/rs"}, {Topic: "signet/v1/p:n/rs"},
	}})
	if err == nil || sub.Reasons[0] != 1 || sub.Reasons[1] != 0 || sub.Reasons[2] != 0x87 {
		t.Errorf("subscribing: %+v, %v", sub, err)
	}
	pub, err := c.Publish(ctx, &paho.Publish{Topic: "devices/p/m/x", QoS: 1})
	if err == nil || pub.ReasonCode != 0x87 {
		t.Errorf("publishing to another's: %+v, %v", pub, err)
	}
	for _, qos := range []byte{0, 1, 2} {
		if _, err := c.Publish(ctx, &paho.Publish{Topic: "devices/p/n/x", QoS: qos, Payload: []byte("hi")}); err != nil {
			t.Errorf("QoS %d: %v", qos, err)
		}
		if m := receive(t, "the message", got); m != "devices/p/n/x hi" {
			t.Errorf("got %q", m)
		}
	}
	if _, err := c.Publish(ctx, &paho.Publish{Topic: "signet/v1/p:n/a/rq", Payload: []byte("q")}); err != nil {
		t.Error(err)
	}
	if m := receive(t, "the reply", got); m != "signet/v1/p:n/a/rs re:q" {
		t.Errorf("got %q", m)
	}
	f.End(device(t, "p:n"), ReasonExpired)
	if code := receive(t, "the DISCONNECT", gone); Reason(code) != ReasonExpired {
		t.Errorf("reason %#x", code)
	}
	<-c.Done()
}

func TestWebSocket(t *testing.T) {
	named := make(chan []byte, 4)
	f := start(t, func(c *Config, _ *fixture) {
		c.Respond = func(_ context.Context, q Request) []byte { named <- q.Channel; return q.Payload }
	})
	web := serveWeb(t, f)
	u, err := url.Parse(web.URL)
	if err != nil {
		t.Fatal(err)
	}
	roots := web.Client().Transport.(*http.Transport).TLSClientConfig
	c := old(t, "wss://"+u.Host+"/mqtt", anonA, func(o *paho3.ClientOptions) { o.SetTLSConfig(&tls.Config{RootCAs: roots.RootCAs}) })
	must(t, c.Connect())
	replies, onReply := inbox()
	must(t, c.Subscribe("signet/v1/"+anonA+"/rs", 0, onReply))
	must(t, c.Publish("signet/v1/"+anonA+"/rq", 0, false, "hello"))
	if got := receive(t, "the reply", replies); got != "signet/v1/"+anonA+"/rs hello" || len(<-named) != protocol.ChannelLen {
		t.Errorf("got %q, or on a connection without a name", got)
	}
}

func serveWeb(t *testing.T, f *fixture) *httptest.Server {
	t.Helper()
	web := httptest.NewTLSServer(f.Handler())
	t.Cleanup(web.Close)
	t.Cleanup(web.Client().CloseIdleConnections)
	return web
}

func TestHostileWebSocket(t *testing.T) {
	f := start(t, nil)
	web := serveWeb(t, f)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	dial := func(protocols ...string) (*websocket.Conn, error) {
		ws, _, err := websocket.Dial(ctx, web.URL, &websocket.DialOptions{HTTPClient: web.Client(), Subprotocols: protocols})
		return ws, err
	}
	// The wrong protocol, the wrong kind of message, a hostile packet.
	ws, err := dial()
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := ws.Read(ctx); websocket.CloseStatus(err) != websocket.StatusPolicyViolation {
		t.Errorf("without a subprotocol: %v", err)
	}
	if ws, err = dial("mqtt"); err != nil {
		t.Fatal(err)
	}
	_ = ws.Write(ctx, websocket.MessageText, []byte("hello"))
	if _, _, err := ws.Read(ctx); err == nil {
		t.Error("a text message was answered")
	}
	if ws, err = dial("mqtt"); err != nil {
		t.Fatal(err)
	}
	r := newRaw(t, websocket.NetConn(ctx, ws, websocket.MessageBinary))
	r.v = 5
	r.send(as("p:n", 5).bytes())
	if kind, body := r.next(); kind != 0x20 || body[1] != 0 {
		t.Fatalf("packet %#x %x", kind, body)
	}
	r.send([]byte{0x82, 6, 0, 1, 0, 0, 1, 'a'})
	r.ended(ReasonMalformed)
	if ws, err = dial("mqtt"); err != nil {
		t.Fatal(err)
	}
	r = newRaw(t, websocket.NetConn(ctx, ws, websocket.MessageBinary))
	r.v = 5
	r.send(as("p:n", 5).bytes())
	r.next()
	f.End(device(t, "p:n"), ReasonAdministrative)
	r.ended(ReasonAdministrative)
}

// TestEmptyFrames: pings, pongs and empty messages without end are no packets, and end a connection; a message of many
// frames, with a ping between each, does not.
func TestEmptyFrames(t *testing.T) {
	var told met
	f := start(t, func(c *Config, _ *fixture) { c.OnBound = told.bound })
	web := serveWeb(t, f)
	frame := func(first byte, payload ...byte) []byte { // masked by zeros
		return append([]byte{first, 0x80 | byte(len(payload)), 0, 0, 0, 0}, payload...)
	}
	open := func(p connectPacket) net.Conn {
		nc, err := tls.Dial("tcp", web.Listener.Addr().String(), &tls.Config{RootCAs: web.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs, ServerName: "example.com"})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { nc.Close() })
		_ = nc.SetDeadline(time.Now().Add(patience))
		_, _ = io.WriteString(nc, "GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n")
		_, _ = nc.Write(frame(0x82, p.bytes()...))
		eventually(t, "it is connected", func() bool { return f.Count() == 1 })
		return nc
	}
	for name, one := range map[string][]byte{"pings": frame(0x89), "pongs": frame(0x8a), "empty messages": frame(0x82)} {
		nc := open(connectPacket{version: 5, id: anonA})
		go io.Copy(io.Discard, nc)
		many := bytes.Repeat(one, 100)
		sent := 0
		for ; sent < 100_000; sent += 100 {
			if _, err := nc.Write(many); err != nil {
				break
			}
		}
		if eventually(t, name+" end it", func() bool { return f.Count() == 0 }); sent < 5000 {
			t.Errorf("%s: ended after %d", name, sent)
		}
	}
	if n := told.of[BoundFraming]; n != 3 {
		t.Errorf("%d were told of", n)
	}
	nc := open(as("p:n", 5))
	const pings = 3000
	go nc.Write(bytes.Repeat(slices.Concat(frame(0x02, 0xc0), frame(0x89), frame(0x00), frame(0x80, 0)), pings))
	if _, err := io.CopyN(io.Discard, nc, pings*4); err != nil { // each is answered in a frame of four bytes
		t.Error(err)
	}
}

// TestWebOrigins: pages of origins that are listed may connect, and those of others may not, and are told of;
// what is no page says nothing of an origin.
func TestWebOrigins(t *testing.T) {
	var mu sync.Mutex
	told := map[intake.Cause]int{}
	f := start(t, func(c *Config, _ *fixture) {
		c.Origins = []string{"https://dashboard.example", "http://localhost:8080"}
		c.Refused = func(why intake.Cause, _ string, _ error) { mu.Lock(); defer mu.Unlock(); told[why]++ }
	})
	web := serveWeb(t, f)
	for origin, ok := range map[string]bool{
		"": true, "https://dashboard.example": true, "http://localhost:8080": true,
		"http://dashboard.example": false, "https://dashboard.example:8443": false, "https://dashboard.example.evil.example": false, "https://evil.example": false, "null": false,
		web.URL: false, // its own, too
	} {
		header := http.Header{}
		if origin != "" {
			header.Set("Origin", origin)
		}
		ws, res, err := websocket.Dial(t.Context(), web.URL, &websocket.DialOptions{HTTPClient: web.Client(), Subprotocols: []string{"mqtt"}, HTTPHeader: header})
		switch {
		case (err == nil) != ok:
			t.Errorf("%q: %v", origin, err)
		case err == nil:
			_ = ws.CloseNow()
		case res == nil || res.StatusCode != http.StatusForbidden:
			t.Errorf("%q: %v", origin, err)
		}
	}
	mu.Lock()
	defer mu.Unlock()
	if told[intake.CauseOrigin] != 6 {
		t.Errorf("told of %v", told)
	}
}

// TestWebSocketEnd: whoever is told why his connection ends reads that and then an end in good
// order, however much he sent that nobody read.
func TestWebSocketEnd(t *testing.T) {
	f := start(t, nil)
	web := serveWeb(t, f)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	ws, _, err := websocket.Dial(ctx, web.URL, &websocket.DialOptions{HTTPClient: web.Client(), Subprotocols: []string{"mqtt"}})
	if err != nil {
		t.Fatal(err)
	}
	nc := websocket.NetConn(ctx, ws, websocket.MessageBinary)
	r := newRaw(t, nc)
	r.v = 5
	r.send(as("p:n", 5).bytes())
	r.next()
	f.End(device(t, "p:n"), ReasonAdministrative)
	r.send(make([]byte, 20_000))
	if kind, body := r.next(); kind != 0xe0 || Reason(body[0]) != ReasonAdministrative {
		t.Errorf("packet %#x %x", kind, body)
	}
	if n, err := nc.Read(make([]byte, 1)); n > 0 || !errors.Is(err, io.EOF) {
		t.Errorf("then %d bytes, %v", n, err)
	}
}

// Debian's clients, with nothing but a user name and a token. In CI they must be there.
func TestMosquittoClients(t *testing.T) {
	for _, program := range []string{"mosquitto_pub", "mosquitto_sub"} {
		if _, err := exec.LookPath(program); err != nil && os.Getenv("CI") == "true" {
			t.Fatalf("%s is not installed (Debian package mosquitto-clients)", program)
		} else if err != nil {
			t.Skipf("%s is not installed (Debian package mosquitto-clients)", program)
		}
	}
	f := start(t, nil)
	host, port, err := net.SplitHostPort(f.addr)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for _, version := range []string{"mqttv311", "mqttv5"} {
		args := []string{"-h", host, "-p", port, "-V", version, "-u", "p:n", "-P", "token-p:n", "-q", "1"}
		sub := exec.CommandContext(ctx, "mosquitto_sub", append(args, "-i", "p:n/sub", "-C", "1", "-t", "devices/p/n/#")...)
		var out bytes.Buffer
		sub.Stdout = &out
		if err := sub.Start(); err != nil {
			t.Fatal(err)
		}
		eventually(t, "it has subscribed", func() bool { return f.subscriptions.Len() == 1 })
		// Without -i the server gives it a client id.
		if b, err := exec.CommandContext(ctx, "mosquitto_pub", append(args, "-t", "devices/p/n/x", "-m", "hi")...).CombinedOutput(); err != nil {
			t.Errorf("%s: %v: %s", version, err, b)
		}
		if err := sub.Wait(); err != nil || out.String() != "hi\n" {
			t.Errorf("%s: received %q, %v", version, &out, err)
		}
		wrong := append([]string{}, args...)
		wrong[9] = "forged"
		if err := exec.CommandContext(ctx, "mosquitto_pub", append(wrong, "-t", "devices/p/n/x", "-m", "hi")...).Run(); err == nil {
			t.Errorf("%s: a forged token was admitted", version)
		}
		eventually(t, "they are gone", func() bool { return f.Count() == 0 })
	}
}
