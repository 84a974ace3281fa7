package mqttd

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/signetd/signet/protocol/topic"
)

// withGenerousGate grants anonymous clients everything, which must have no effect.
func withGenerousGate(_ *Config, fx *fixture) {
	all := filters(fx.t, "#", "signet/#", "$SYS/#")
	fx.gate.anonymous.Permissions = topic.Permissions{Publish: all, Subscribe: all, Retain: true}
}

// What an unauthenticated connection may do: publish its rq, subscribe its rs
// and ev, by their exact names.
func TestAnonymousMaySubscribe(t *testing.T) {
	f := start(t, withGenerousGate)
	own := "signet/v1/" + anonA
	for _, version := range []byte{4, 5} {
		c := f.mustConnect(connectPacket{version: version, id: anonA})
		denied := byte(0x87)
		if version == 4 {
			denied = 0x80
		}
		for _, filter := range []string{
			own + "/rq", own, own + "/#", own + "/+", own + "/rs/#", own + "/rs/", "/" + own + "/rs", own + "/RS",
			"signet/v1/+/rs", "signet/v1/+/ev", "signet/v1/#", "signet/#", "+/v1/" + anonA + "/rs", "+/#", "#", "+",
			"signet/v1/" + anonB + "/rs", "signet/v1/" + anonB + "/ev", "signet/v1/p:n/rs", "signet/v1/p:n/rq",
			"$share/g/" + own + "/rs", "$share/g/#", "$SHARE/g/" + own + "/rs", "$share/g/signet/v1/+/rs",
			"$SYS/#", "$SYS/broker/clients/connected", "$sys/#", "devices/p/n/#", "devices/#",
			strings.Repeat("a/", 200) + "b",
		} {
			if code := c.subscribe(filter); code != denied && code != 0x8f {
				t.Errorf("version %d, filter %q: code %#x", version, filter, code)
			}
		}
		c.mustSubscribe(own+"/rs", own+"/ev")
		c.nc.Close()
		eventually(t, "it is gone", func() bool { return f.Count() == 0 })
	}
}

func TestAnonymousNUL(t *testing.T) {
	f := start(t, nil)
	c := f.mustConnect(connectPacket{version: 5, id: anonA})
	c.send(frame(0x82, []byte{0, 7, 0}, str("signet/v1/"+anonA+"/rs\x00"), []byte{0}))
	if kind, body, err := c.read(); err == nil && kind == 0x90 && body[len(body)-1] < 0x80 {
		t.Error("a filter with a NUL was granted")
	}
}

func TestAnonymousMayPublish(t *testing.T) {
	f := start(t, withGenerousGate)
	all := f.watch("w:w", "#")
	signet := f.watch("w:s", "devices/#")
	own := "signet/v1/" + anonA
	names := []string{
		own + "/rs", own + "/ev", own, own + "/rq/x", own + "/rq/", "signet/v1/" + anonB + "/rq", "signet/v1/" + anonB + "/rs",
		"signet/v1/p:n/rq", "devices/p/n/x", "x", "$share/g/x", "$x",
	}
	c := f.mustConnect(connectPacket{version: 5, id: anonA})
	for _, n := range append(names, "$SYS/x") {
		c.publish(0, n, "x")
		c.ping()
	}
	for _, n := range names {
		c.publish(2, n, "x")
		if kind, body := c.next(); kind != 0x40 || body[2] != 0x87 {
			t.Errorf("QoS 1 to %q: packet %#x %x, want a PUBACK with 0x87", n, kind, body)
		}
		c.publish(4, n, "x")
		if kind, body := c.next(); kind != 0x50 || body[2] != 0x87 {
			t.Errorf("QoS 2 to %q: packet %#x %x, want a PUBREC with 0x87", n, kind, body)
		}
	}
	// Retained, its own request is none.
	c.mustSubscribe(own + "/rs")
	c.publish(3, own+"/rq", "x")
	c.ended(ReasonRetain)
	// Version 3.1.1 has no code for it.
	for _, n := range names {
		old := f.mustConnect(connectPacket{version: 4, id: "anon-" + strings.Repeat("c3", 16)})
		old.publish(2, n, "x")
		old.closed()
	}
	all.ping()
	signet.ping()
}

// Requests are for the Responder: nobody can watch or answer them, whatever
// their grant says.
func TestReservedTopics(t *testing.T) {
	f := start(t, nil)
	f.gate.grants[device(t, "p:n")] = topic.Permissions{Publish: filters(t, "#", "signet/#"), Subscribe: filters(t, "#", "signet/#", "$SYS/#"), Retain: true}
	spy := f.mustConnect(as("p:n", 5)).mustSubscribe("#", "+/+/+/+", "$share/g/#")
	for _, filter := range []string{"signet/#", "signet/v1/" + anonA + "/rs", "signet/v1/" + anonA + "/rq", "signet/v1/p:n/rq", "signet/v1/p:n/2/rs", "$share/g/signet/v1/p:n/rs"} {
		if code := spy.subscribe(filter); code != 0x87 {
			t.Errorf("%q: code %#x, want 0x87", filter, code)
		}
	}
	for _, n := range []string{"signet/v1/" + anonA + "/rs", "signet/v1/" + anonA + "/ev", "signet/v1/" + anonA + "/rq"} {
		spy.publish(3, n, "forged")
		if kind, body := spy.next(); kind != 0x40 || body[2] != 0x87 {
			t.Errorf("%q: packet %#x %x, want a PUBACK with 0x87", n, kind, body)
		}
	}
	c := f.mustConnect(connectPacket{version: 5, id: anonA}).mustSubscribe("signet/v1/" + anonA + "/rs")
	c.publish(0, "signet/v1/"+anonA+"/rq", "hello")
	if _, got := c.message(); got != "re:hello" {
		t.Errorf("got %q", got)
	}
	spy.ping()
}

func TestDeviceACL(t *testing.T) {
	f := start(t, nil)
	for _, version := range []byte{4, 5} {
		c := f.mustConnect(as("p:n", version))
		for filter, ok := range map[string]bool{
			"devices/p/n/#": true, "devices/p/n": true, "devices/p/n/+/x": true, "signet/v1/p:n/rs": true, "signet/v1/p:n/ev": true,
			"devices/p/+/#": false, "devices/p/m/x": false, "devices/q/n/x": false, "devices/p/nn": false, "#": false, "$SYS/#": false,
			"signet/v1/p:n/rq": false, "signet/v1/p:n/+": false, "signet/v1/p:m/rs": false,
		} {
			if code := c.subscribe(filter); (code == 0) != ok {
				t.Errorf("version %d, filter %q: code %#x", version, filter, code)
			}
		}
		c.publish(0, "devices/p/n/x", "hello")
		if n, got := c.message(); n != "devices/p/n/x" || got != "hello" {
			t.Errorf("got %q %q", n, got)
		}
		c.publish(0, "devices/p/m/x", "x")
		c.ping()
		c.publish(1, "devices/p/n/x", "retained")
		if version == 4 {
			c.ping()
			c.nc.Close()
		} else { // which was told so
			c.ended(ReasonRetain)
		}
		eventually(t, "it is gone", func() bool { return f.Count() == 0 })
	}
	if n, _ := f.retained.Taken(); n != 0 {
		t.Errorf("%d messages were retained", n)
	}
}

func TestConnectCodes(t *testing.T) {
	f := start(t, func(c *Config, fx *fixture) { c.Gate = busyGate{fx.gate} })
	wrong := as("p:n", 5)
	wrong.pass = "x"
	method := as("p:n", 5)
	method.method = "SIGNET"
	other := as("p:n", 5)
	other.user, other.pass = "p:m", "token-p:m"
	for _, c := range []struct {
		connectPacket
		v4, v5 byte
	}{
		{wrong, 5, 0x87}, {as("p:busy", 5), 3, 0x88}, {method, 0, 0x8c}, {other, 2, 0x85}, {connectPacket{id: "anon-x"}, 2, 0x85},
	} {
		for version, want := range map[byte]byte{4: c.v4, 5: c.v5} {
			if c.version = version; c.method != "" && version == 4 {
				continue
			}
			if _, code := f.connect(c.connectPacket); code != want {
				t.Errorf("version %d, %+v: code %#x, want %#x", version, c.connectPacket, code, want)
			}
		}
	}
	if _, code := f.connect(as("p:n", 3)); code == 0 {
		t.Error("version 3.1 was admitted")
	}
	c := as("p:n", 5)
	c.id = ""
	r := f.dial()
	r.v = 5
	r.send(c.bytes())
	if kind, body := r.next(); kind != 0x20 || body[1] != 0 || !strings.Contains(string(body), "p:n/") {
		t.Errorf("without a client id: packet %#x %q, want one assigned", kind, body)
	}
}

type busyGate struct{ Gate }

func (g busyGate) Admit(ctx context.Context, c Connect) (Standing, error) {
	if c.UserName == "p:busy" {
		return Standing{}, fmt.Errorf("the store: %w", ErrBusy)
	}
	return g.Gate.Admit(ctx, c)
}

func grantAll(t *testing.T) topic.Permissions {
	t.Helper()
	return topic.Permissions{Publish: filters(t, "#"), Subscribe: filters(t, "#")}
}
