package mqttfront_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/signetd/signet/agent"
	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/broker/access"
	"github.com/signetd/signet/broker/control"
	"github.com/signetd/signet/broker/control/controltest"
	"github.com/signetd/signet/broker/exchange"
	"github.com/signetd/signet/broker/intake"
	"github.com/signetd/signet/broker/keyring/verifier"
	"github.com/signetd/signet/broker/mqttd"
	"github.com/signetd/signet/protocol"
	"github.com/signetd/signet/protocol/channel"
	"github.com/signetd/signet/protocol/ident"
	"github.com/signetd/signet/protocol/token"
	"github.com/signetd/signet/test/harness"
)

var versions = []byte{4, 5}

// A device comes back by a connect proof, whatever the form of its token, and a program
// comes by an MQTT password, in each form that has.
func TestConnects(t *testing.T) {
	f := start(t, nil)
	a, g := f.enrolled("lamp", false)
	cwt := f.password(a, f, protocol.FormatCWT)
	raw, err := base64.RawURLEncoding.DecodeString(string(cwt))
	if err != nil {
		t.Fatal(err)
	}
	f.known.bearer[string(raw)] = true
	for name, password := range map[string][]byte{
		"proof, JWT": f.login(a, f, protocol.FormatJWT), "proof, CWT": f.login(a, f, protocol.FormatCWT), "proof, the enrollment's": g.Access,
		"password, JWT": f.password(a, f, protocol.FormatJWT), "password, base64url CWT": cwt, "password, raw CWT": raw,
	} {
		for _, v := range versions {
			c := f.mustConnect(v, "demo:lamp", password)
			if err := c.subscribe("devices/demo/lamp/#"); err != nil {
				t.Errorf("%s, version %d: subscribing: %v", name, v, err)
			}
			c.works()
			if got := c.message(); got != "devices/demo/lamp/up 1" {
				t.Errorf("%s, version %d: %q", name, v, got)
			}
			if err := c.subscribe("devices/demo/other/#"); err == nil {
				t.Errorf("%s, version %d: another's topics", name, v)
			}
		}
	}
}

// TestBearersRefused: of all that a broker signs, an MQTT password alone is a password,
// at every door: over TLS, without it, over WebSocket, in both versions.
func TestBearersRefused(t *testing.T) {
	refusals := make(chan error, 1000)
	f := startWith(t, mqttd.Config{Refused: func(_ intake.Cause, _ string, err error) { refusals <- err }}, nil)
	a, g := f.enrolled("lamp", false)
	jwt := protocol.FormatJWT
	both, err := a.Authenticate(t.Context(), f, agent.Ask{Format: &jwt})
	if err != nil {
		t.Fatal(err)
	}
	good := f.password(a, f, protocol.FormatCWT)
	for name, password := range map[string][]byte{
		"access token, JWT": both.Access, "access token, CWT": g.Access, "access token, CWT in base64url": base64url(g.Access),
		"ID token, JWT": both.IDJWT, "ID token, CWT": g.ID, "ID token, CWT in base64url": base64url(g.ID), "MQTT password": good,
	} {
		for door, connect := range f.doors() {
			for _, v := range versions {
				c := &client{t: t, got: make(chan string, 16), ended: make(chan byte, 2)}
				err := c.over(connect(), v, "demo:lamp", "demo:lamp", password)
				if (err == nil) != (name == "MQTT password") {
					t.Errorf("%s at %s, version %d: %v", name, door, v, err)
				}
				if err == nil {
					continue
				}
				if why := receive(t, "a refusal", refusals); !errors.Is(why, access.ErrBearer) {
					t.Errorf("%s at %s: the broker tells of %v", name, door, why)
				}
			}
		}
	}
}

// TestStolenSigningKey: whoever has a pool's signing key connects as a device by an MQTT
// password that he made. That ends when the key is retired by force, and brings no session: he can
// renew none and begin none, and the device's own go on.
func TestStolenSigningKey(t *testing.T) {
	f := start(t, nil)
	var state agent.Memory
	a, err := agent.New(t.Context(), agent.Config{Device: f.Name(t, "lamp"), Prover: harness.NewP256(t), State: &state, Pin: f.Pin(t)})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := a.Enroll(t.Context(), f, agent.Admission{Token: f.Token(t, 1)}); err != nil {
		t.Fatal(err)
	}
	ring, err := f.Keys.Ring(t.Context(), f.Pool)
	if err != nil {
		t.Fatal(err)
	}
	key, id := harness.KeyOf(ring.Signer), f.Name(t, "lamp")
	began := f.lastSession(id)
	password, _ := f.sign(token.MQTTPassword, func(*token.Claims) {})
	access, _ := f.sign(token.Access, func(c *token.Claims) { c.Confirmation = token.Confirm(ring.Signer.Key()) })
	if _, err := f.connectBy(5, "demo:lamp", "demo:lamp", f.proof(key, "demo:lamp", access)); err == nil {
		t.Error("a token for a key that is not the device's: connected")
	}
	thief, err := f.connectBy(5, "demo:lamp", "demo:lamp", func([]byte) []byte { return base64url(password) })
	if err != nil {
		t.Fatalf("the attack is none: %v", err)
	}
	thief.works()
	copied, err := state.Load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var loot agent.Memory
	if err := loot.Save(t.Context(), copied); err != nil {
		t.Fatal(err)
	}
	as, err := agent.New(t.Context(), agent.Config{Device: id, Prover: key, State: &loot, Pin: f.Pin(t)})
	if err != nil {
		t.Fatal(err)
	}
	for what, try := range map[string]func(context.Context, agent.Link, agent.Ask) (*agent.Tokens, error){"renews": as.Refresh, "begins": as.Authenticate} {
		if _, err := try(t.Context(), f, agent.Ask{}); err == nil {
			t.Errorf("whoever has the signing key %s a session", what)
		}
	}
	f.Rotate(t, token.ES256)
	if _, err := f.Control.RetireKey(t.Context(), broker.By{Actor: broker.ActorLocal}, f.Pool, ring.Signer.Key().KID(), true); err != nil {
		t.Fatal(err)
	}
	thief.isOver(5, mqttd.ReasonAdministrative)
	if _, err := f.connectBy(5, "demo:lamp", "demo:lamp", func([]byte) []byte { return base64url(password) }); err == nil {
		t.Error("connected by what a retired key has signed")
	}
	if g, err := a.Refresh(t.Context(), f, agent.Ask{}); err != nil || g.Session != began {
		t.Errorf("the device's own session does not go on: %v", err)
	}
}

// TestProofsAreForOneConnection: whoever has seen a connect proof, or has a device's token
// and another key, gets in nowhere; and nobody by a proof where there is no name to compare.
func TestProofsAreForOneConnection(t *testing.T) {
	f := start(t, nil)
	key := harness.NewP256(t)
	a := f.device("lamp", key, "")
	g, err := a.Enroll(t.Context(), f, agent.Admission{Token: f.Token(t, 1)})
	if err != nil {
		t.Fatal(err)
	}
	over := f.proof(key, "demo:lamp", g.Access)
	var seen []byte // by somebody who looks on
	if _, err := f.connectBy(4, "demo:lamp", "demo:lamp", func(channel []byte) []byte {
		seen = over(channel)
		return seen
	}); err != nil {
		t.Fatal(err)
	}
	old := &tls.Config{RootCAs: f.clientTLS().RootCAs, ServerName: "example.com", MaxVersion: tls.VersionTLS12}
	for _, v := range versions {
		for door, connect := range f.doors() {
			c := &client{t: t, got: make(chan string, 16), ended: make(chan byte, 2)}
			if err := c.over(connect(), v, "demo:lamp", "demo:lamp", seen); err == nil {
				t.Errorf("version %d, %s: a proof was good on another connection", v, door)
			}
		}
		for name, c := range map[string]struct {
			id       string
			password func([]byte) []byte
			good     bool
		}{
			"as it should be":    {"demo:lamp", over, true},
			"another client id":  {"demo:lamp/2", over, false},
			"another key":        {"demo:lamp", f.proof(harness.NewP256(t), "demo:lamp", g.Access), false},
			"another connection": {"demo:lamp", func([]byte) []byte { return over(make([]byte, protocol.ChannelLen)) }, false},
			"another purpose": {"demo:lamp", func(name []byte) []byte {
				proof, err := key.Prove(protocol.ProofInput(protocol.PurposeRefresh, protocol.Transcript{}.Add(name).Add([]byte("demo:lamp")).Add(g.Access)))
				if err != nil {
					t.Fatal(err)
				}
				raw, err := protocol.EncodeConnectProof(&protocol.ConnectProof{Access: g.Access, Channel: name, Proof: proof})
				if err != nil {
					t.Fatal(err)
				}
				return raw
			}, false},
		} {
			if _, err := f.connectBy(v, c.id, "demo:lamp", c.password); (err == nil) != c.good {
				t.Errorf("version %d, %s: %v", v, name, err)
			}
		}
		// TLS 1.2 has a name if the handshake had the extended master secret, as Go's has.
		nc, err := tls.Dial("tcp", f.secure, old)
		if err != nil {
			t.Fatal(err)
		}
		state := nc.ConnectionState()
		c := &client{t: t, got: make(chan string, 16), ended: make(chan byte, 2)}
		if err := c.over(nc, v, "demo:lamp", "demo:lamp", over(channel.Name(&state))); err != nil || state.Version != tls.VersionTLS12 {
			t.Errorf("version %d over TLS 1.2: %v", v, err)
		}
	}
}

// TestRulesThatNoLongerHold: a connection ends when what it rests on is taken away: its pool
// takes no passwords any more, the key that signed its token is gone, its client is. By other
// changes none ends.
func TestRulesThatNoLongerHold(t *testing.T) {
	f := start(t, nil)
	by, ctx := broker.By{Actor: broker.ActorLocal}, t.Context()
	must := func(_ any, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	for _, id := range []string{"app", "spare"} {
		must(controltest.PutClient(ctx, f.Control, by, broker.NewClient(f.Pool, id), true))
	}
	life := func(d time.Duration) {
		t.Helper()
		must(f.Control.ChangePool(ctx, by, f.Pool, control.PoolChange{MQTTPasswordLife: &d}, nil))
	}
	lamp, _ := f.enrolled("lamp", false)
	_, text, err := f.Control.CreateEnrollToken(ctx, by, control.NewEnrollToken{Pool: f.Pool})
	must(nil, err)
	tok, err := protocol.ParseEnrollToken(text)
	must(nil, err)
	other := f.device("other", harness.NewP256(t), "app")
	must(other.Enroll(ctx, f, agent.Admission{Token: &tok}))
	proved := f.mustConnect(5, "demo:lamp", f.login(lamp, f, protocol.FormatCWT))
	bearer, err := f.connectAs(5, "demo:lamp/1", "demo:lamp", f.password(lamp, f, protocol.FormatJWT))
	must(nil, err)
	app := f.mustConnect(5, "demo:other", f.login(other, f, protocol.FormatCWT))

	keys, err := f.Control.ListKeys(ctx, f.Pool)
	must(nil, err)
	life(2 * time.Minute)
	must(nil, f.Control.Clients().Delete(ctx, by, f.Pool, "spare", nil, false))
	next, err := f.Control.RotateKey(ctx, by, f.Pool, token.ES256, true)
	must(nil, err)
	f.Hears(t, next.ID)
	appWorks := func() { must(nil, app.publish("devices/demo/other/up", "1")) }
	proved.works()
	appWorks()
	must(nil, bearer.publish("devices/demo/lamp/up", "1"))
	life(0)
	bearer.isOver(5, mqttd.ReasonAdministrative)
	proved.works()
	appWorks()
	must(f.Control.RetireKey(ctx, by, f.Pool, keys[0].ID, true))
	proved.isOver(5, mqttd.ReasonAdministrative)
	app.isOver(5, mqttd.ReasonAdministrative)
	proved, app = f.mustConnect(5, "demo:lamp", f.login(lamp, f, protocol.FormatCWT)), f.mustConnect(5, "demo:other", f.login(other, f, protocol.FormatCWT))
	must(nil, f.Control.Clients().Delete(ctx, by, f.Pool, "app", nil, true))
	app.isOver(5, mqttd.ReasonAdministrative)
	proved.works()
}

// TestPasswordsSwitchedOff: a pool that has no MQTT passwords gives none and takes none,
// and devices are as before.
func TestPasswordsSwitchedOff(t *testing.T) {
	f := start(t, nil)
	a, g := f.enrolled("lamp", false)
	before := f.password(a, f, protocol.FormatJWT)
	made := f.mustConnect(5, "demo:lamp/1", before)
	off := time.Duration(0)
	if _, err := f.Control.ChangePool(t.Context(), broker.By{Actor: broker.ActorLocal}, f.Pool, control.PoolChange{MQTTPasswordLife: &off}, nil); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it is known", func() bool {
		ring, err := f.Keys.Ring(t.Context(), f.Pool)
		return err == nil && ring.MQTTPasswordLife == 0
	})
	made.isOver(5, mqttd.ReasonAdministrative)
	if _, err := f.connect(5, "demo:lamp/2", before); err == nil {
		t.Error("a password from before was taken")
	}
	if _, err := a.Refresh(t.Context(), f, agent.Ask{MQTTPassword: true}); !errors.Is(err, protocol.CodeDenied) {
		t.Errorf("asked for a password: %v", err)
	}
	f.mustConnect(5, "demo:lamp", g.Access).works()
}

func TestPasswordsRefused(t *testing.T) {
	f := start(t, nil)
	a, _ := f.enrolled("lamp", false)
	other, _ := f.enrolled("other", false)
	good := f.login(a, f, protocol.FormatJWT)
	tampered := bytes.Clone(good)
	tampered[len(tampered)-10] ^= 1
	foreign := start(t, nil) // another broker with a pool and a device of the same names
	b, _ := foreign.enrolled("lamp", false)
	passwords := map[string][]byte{
		"nothing": nil, "junk": []byte("let me in"), "tampered": tampered, "another's": f.login(other, f, protocol.FormatJWT),
		"another broker's": foreign.login(b, foreign, protocol.FormatJWT), "another broker's password": foreign.password(b, foreign, protocol.FormatJWT), "cut": good[:len(good)-1], "huge": bytes.Repeat([]byte("x"), 60_000/8),
	}
	for name, change := range map[string]func(*token.Claims){
		"expired":            func(c *token.Claims) { c.Expires = time.Now().Add(-2 * time.Second) }, // within a verifier's leeway
		"for another":        func(c *token.Claims) { c.Audience = "door" },
		"nobody's":           func(c *token.Claims) { c.Subject[0] ^= 1 },
		"of an older device": func(c *token.Claims) { c.Subject[15] ^= 1 },
	} {
		passwords[name+", CWT"], passwords[name+", JWT"] = f.sign(token.Access, change)
	}
	passwords["ID token, CWT"], passwords["ID token, JWT"] = f.sign(token.ID, func(*token.Claims) {})
	for name, change := range map[string]func(*token.Claims){
		"expired": func(c *token.Claims) { c.Expires = time.Now().Add(-2 * time.Second) }, "for the pool": func(c *token.Claims) { c.Audience = "demo" },
		"for another server": func(c *token.Claims) { c.Audience = "https://evil.example/pools/demo/mqtt" }, "nobody's": func(c *token.Claims) { c.Subject[0] ^= 1 },
		"without session": func(c *token.Claims) { c.OriginID = ident.UUID{} },
	} {
		cwt, jwt := f.sign(token.MQTTPassword, change)
		passwords["password "+name+", CWT"], passwords["password "+name+", JWT"] = cwt, jwt
		f.known.bearer[string(cwt)], f.known.bearer[string(jwt)] = true, true
	}
	for name, password := range passwords {
		for _, v := range versions {
			if _, err := f.connect(v, "demo:lamp", password); err == nil {
				t.Errorf("%s, version %d: admitted", name, v)
			}
		}
	}
	for _, user := range []string{"demo:other", "demo:nobody", "none:lamp", "lamp", "anon-00112233445566778899aabbccddeeff", "demo:other/x", "demo:+", ""} {
		if _, err := f.connect(5, user, good); err == nil {
			t.Errorf("the token of demo:lamp admitted %q", user)
		}
	}
	f.mustConnect(5, "demo:lamp", good).works()
}

// A token's end is its connection's: version 5 hears "maximum connect time", which
// is what the token granted; the last will is sent.
func TestExpiry(t *testing.T) {
	f := start(t, nil)
	f.enrolled("lamp", false)
	_, long := f.sign(token.Access, func(*token.Claims) {})
	watcher, err := f.connectAs(5, "demo:lamp/watch", "demo:lamp", long)
	if err != nil {
		t.Fatal(err)
	}
	if err := watcher.subscribe(will); err != nil {
		t.Fatal(err)
	}
	clients := map[*client]byte{}
	for _, v := range versions {
		for _, form := range []string{"cwt", "jwt"} {
			clients[f.connectBriefly(v, form)] = v
		}
	}
	for c, v := range clients {
		c.isOver(v, mqttd.ReasonExpired)
	}
	wills := map[string]int{}
	for range clients {
		wills[watcher.message()]++
	}
	if wills[will+" 4"] != 2 || wills[will+" 5"] != 2 {
		t.Errorf("wills: %v, want two of each version", wills)
	}
	watcher.works()
}

// connectBriefly connects with a token that soon ends: as soon as this machine, which may have
// much else to do, lets a client connect before that.
func (f *fixture) connectBriefly(version byte, form string) *client {
	f.t.Helper()
	for life := 2 * time.Second; ; life *= 2 {
		cwt, jwt := f.sign(token.Access, func(c *token.Claims) { c.Expires = time.Now().Add(life) })
		c, err := f.connectAs(version, "demo:lamp/"+form+fmt.Sprint(version), "demo:lamp", map[string][]byte{"cwt": cwt, "jwt": jwt}[form])
		if err == nil {
			return c
		}
		if life > patience/2 {
			f.t.Fatal(err)
		}
	}
}

// When a device was disabled, its tokens are worthless; it hears why and can do nothing
// more.
func TestDisable(t *testing.T) {
	f := start(t, nil)
	for _, v := range versions {
		a, _ := f.enrolled("lamp", true)
		all := f.all(a, f)
		c := f.mustConnect(v, "demo:lamp", all["access JWT"])
		if err := c.subscribe("signet/v1/demo:lamp/ev"); err != nil {
			t.Fatal(err)
		}
		if _, err := f.Control.DisableDevice(t.Context(), broker.By{Actor: broker.ActorLocal}, f.Name(t, "lamp")); err != nil {
			t.Fatal(err)
		}
		if got := c.message(); !bytes.Contains([]byte(got), []byte(protocol.EventDisabled)) {
			t.Errorf("version %d: told %q", v, got)
		}
		c.isOver(v, mqttd.ReasonAdministrative)
		if n := f.server.PushDevice(f.Name(t, "lamp"), nil); n != 0 {
			t.Error("a connection is still there")
		}
		for _, password := range all {
			if _, err := f.connect(v, "demo:lamp", password); err == nil {
				t.Error("a disabled device was admitted")
			}
		}
		if _, err := f.Control.EnableDevice(t.Context(), broker.By{Actor: broker.ActorLocal}, f.Name(t, "lamp")); err != nil {
			t.Fatal(err)
		}
		for form, password := range all {
			if _, err := f.connect(v, "demo:lamp", password); err == nil {
				t.Errorf("%s from before was admitted after enabling", form)
			}
		}
		f.mustConnect(v, "demo:lamp", f.login(a, f, protocol.FormatCWT)).works()
	}
}

// Only an active device is let in, even when its sessions were not ended.
func TestStatus(t *testing.T) {
	f := start(t, nil)
	a, _ := f.enrolled("lamp", false)
	jwt := f.login(a, f, protocol.FormatJWT)
	for _, status := range []broker.Status{broker.StatusPending, broker.StatusDisabled, broker.StatusQuarantined} {
		c := f.mustConnect(5, "demo:lamp", jwt)
		f.setStatus(status)
		f.changed(t.Context(), f.Name(t, "lamp")) // what was said is not what is stored
		c.isOver(5, mqttd.ReasonAdministrative)
		if _, err := f.connect(5, "demo:lamp", jwt); err == nil {
			t.Errorf("a %s device was admitted", status)
		}
		f.setStatus(broker.StatusActive)
	}
	f.mustConnect(5, "demo:lamp", jwt).works()
}

func (f *fixture) setStatus(status broker.Status) {
	f.t.Helper()
	_, err := f.Store.UpdateDevice(f.t.Context(), broker.By{Actor: broker.ActorLocal}, f.Name(f.t, "lamp"), func(d *broker.Device) error { d.Status = status; return nil })
	if err != nil {
		f.t.Fatal(err)
	}
}

// Ended sessions stay ended, whatever form their tokens have; what is granted
// afterwards counts, even in the same second, and survives later changes.
func TestRevokeSessions(t *testing.T) {
	f := start(t, nil)
	id := f.Name(t, "lamp")
	for _, v := range versions {
		for _, format := range []protocol.Format{protocol.FormatCWT, protocol.FormatJWT} {
			a, _ := f.enrolled("lamp", true)
			before := f.login(a, f, format)
			c := f.mustConnect(v, "demo:lamp", before)
			c.works()
			if _, err := f.Control.RevokeSessions(t.Context(), broker.By{Actor: broker.ActorLocal}, id); err != nil {
				t.Fatal(err)
			}
			c.isOver(v, mqttd.ReasonAdministrative)
			if _, err := f.connect(v, "demo:lamp", before); err == nil {
				t.Errorf("format %v: a token from before was admitted", format)
			}
			after := f.mustConnect(v, "demo:lamp", f.login(a, f, format))
			f.changed(t.Context(), id)
			after.works()
			if _, err := f.Control.RevokeSessions(t.Context(), broker.By{Actor: broker.ActorLocal}, id); err != nil {
				t.Fatal(err)
			}
			after.isOver(v, mqttd.ReasonAdministrative)
		}
	}
}

// The user name is the device's or the client id, whatever suffix that has.
func TestUserName(t *testing.T) {
	f := start(t, nil)
	a, _ := f.enrolled("lamp", false)
	access := f.login(a, f, protocol.FormatCWT)
	for _, v := range versions {
		for names, good := range map[[2]string]bool{
			{"demo:lamp/z", "demo:lamp/z"}: true, {"demo:lamp/z", "demo:lamp"}: true, {"demo:lamp", "demo:lamp"}: true,
			{"demo:lamp/z", "demo:lamp/y"}: false, {"demo:lamp", "demo:lamp/z"}: false, {"demo:lamp/z", "demo:lamp/"}: false,
			{"demo:other/z", "demo:lamp/z"}: false, {"demo:other/z", "demo:other/z"}: false,
		} {
			c, err := f.connectAs(v, names[0], names[1], access)
			if (err == nil) != good {
				t.Errorf("version %d, client id %q, user name %q: %v", v, names[0], names[1], err)
			}
			if err == nil {
				c.works()
			}
		}
	}
}

// Sessions end in the order in which the store wrote, not by the clocks: those of the
// replica that ends them may be behind those of the replica that let the device in.
func TestRevokeByAnotherClock(t *testing.T) {
	for _, behind := range []time.Duration{time.Minute, 25 * time.Hour} {
		f := start(t, nil)
		id := f.Name(t, "lamp")
		right := f.Control.Now
		for _, v := range versions {
			a, g := f.enrolled("lamp", true)
			passwords := f.all(a, f)
			link := f.anonymous()
			f.login(a, link, protocol.FormatCWT)
			live := map[string]*client{}
			passwords["enrolled"] = g.Access
			for form, password := range passwords {
				var err error
				if live[form], err = f.connectAs(v, "demo:lamp/"+strings.ReplaceAll(form, " ", "-"), "demo:lamp", password); err != nil {
					t.Fatal(err)
				}
			}
			f.Control.Now = func() time.Time { return time.Now().Add(-behind) }
			if _, err := f.Control.RevokeSessions(t.Context(), broker.By{Actor: broker.ActorLocal}, id); err != nil {
				t.Fatal(err)
			}
			f.Control.Now = right
			for form, password := range passwords {
				live[form].isOver(v, mqttd.ReasonAdministrative)
				if _, err := f.connect(v, "demo:lamp", password); err == nil {
					t.Errorf("%v behind, %s: a token from before was admitted", behind, form)
				}
			}
			receive(t, "the end of the connection that was upgraded", link.Done())
			f.mustConnect(v, "demo:lamp", f.login(a, f, protocol.FormatCWT)).works()
		}
	}
}

// A token that names no session, or one that is gone, is good for nothing here.
func TestTokenWithoutSession(t *testing.T) {
	f := start(t, nil)
	f.enrolled("lamp", false)
	for what, session := range map[string]ident.UUID{"no session": {}, "one that is gone": {1, 2, 3}, "another device's": f.otherSession()} {
		cwt, jwt := f.sign(token.Access, func(c *token.Claims) { c.OriginID = session })
		bearerCWT, bearerJWT := f.sign(token.MQTTPassword, func(c *token.Claims) { c.OriginID = session })
		f.known.bearer[string(bearerCWT)], f.known.bearer[string(bearerJWT)] = true, true
		for _, password := range [][]byte{cwt, jwt, bearerCWT, bearerJWT} {
			if _, err := f.connect(5, "demo:lamp", password); err == nil {
				t.Errorf("a token with %s was admitted", what)
			}
		}
	}
}

func (f *fixture) otherSession() ident.UUID {
	f.t.Helper()
	f.enrolled("other", false)
	return f.lastSession(f.Name(f.t, "other"))
}

// TestAccessTokenIsSmall: a compact token of ordinary claims has 150 bytes, and names its session.
func TestAccessTokenIsSmall(t *testing.T) {
	f := start(t, nil)
	a, _ := f.enrolled("lamp", false)
	raw := f.login(a, f, protocol.FormatCWT)
	if len(raw) > 150 {
		t.Errorf("%d bytes", len(raw))
	}
	claims, _, err := verifier.New(f.Keys, time.Now).Verify(t.Context(), f.Pool, raw)
	if err != nil {
		t.Fatal(err)
	}
	if prefix, ok := claims.SessionPrefix(); !ok || prefix != f.lastSession(f.Name(t, "lamp")).Prefix() {
		t.Errorf("it names %x, %v", prefix, ok)
	}
	f.mustConnect(5, "demo:lamp", raw).works()
}

// One session that is ended takes its tokens and its connections along, and no others.
func TestRevokeOneSession(t *testing.T) {
	f := start(t, nil)
	id := f.Name(t, "lamp")
	a, _ := f.enrolled("lamp", false)
	kept := f.mustConnect(5, "demo:lamp", f.login(a, f, protocol.FormatCWT))
	for format, login := range map[string]func() []byte{
		"CWT": func() []byte { return f.login(a, f, protocol.FormatCWT) }, "JWT": func() []byte { return f.login(a, f, protocol.FormatJWT) },
		"password": func() []byte { return f.password(a, f, protocol.FormatCWT) },
	} {
		password := login()
		c, err := f.connectAs(5, "demo:lamp/2", "demo:lamp", password)
		if err != nil {
			t.Fatal(err)
		}
		if err := f.Control.RevokeSession(t.Context(), broker.By{Actor: broker.ActorLocal}, id, f.lastSession(id)); err != nil {
			t.Fatal(err)
		}
		c.isOver(5, mqttd.ReasonAdministrative)
		if _, err := f.connectAs(5, "demo:lamp/2", "demo:lamp", password); err == nil {
			t.Errorf("%s of an ended session was admitted", format)
		}
	}
	link := f.anonymous()
	f.login(a, link, protocol.FormatCWT)
	if err := f.Control.RevokeSession(t.Context(), broker.By{Actor: broker.ActorLocal}, id, f.lastSession(id)); err != nil {
		t.Fatal(err)
	}
	receive(t, "the end of the connection that was upgraded", link.Done())
	kept.works()
}

// A change that takes nothing from the device ends nothing.
func TestUnrelatedChange(t *testing.T) {
	f := start(t, nil)
	id := f.Name(t, "lamp")
	a, _ := f.enrolled("lamp", false)
	for _, v := range versions {
		for _, format := range []protocol.Format{protocol.FormatCWT, protocol.FormatJWT} {
			c := f.mustConnect(v, "demo:lamp", f.login(a, f, format))
			if _, err := f.Control.UpdateDevice(t.Context(), broker.By{Actor: broker.ActorLocal}, id, []string{"attic"}, map[string]string{"room": "7"}); err != nil {
				t.Fatal(err)
			}
			f.changed(t.Context(), id)
			c.works()
			select {
			case r := <-c.ended:
				t.Errorf("version %d: ended with %#x", v, r)
			default:
			}
		}
	}
}

// Another key ends what the old one began, and nothing else.
func TestKeyReplaced(t *testing.T) {
	f := start(t, nil)
	for _, v := range versions {
		old, _ := f.enrolled("lamp", true)
		before := f.all(old, f)
		c := f.mustConnect(v, "demo:lamp", before["access JWT"])

		// The new key's enrollment comes over MQTT, as the broker learns of it.
		link := f.anonymous()
		_, text, err := f.Control.CreateEnrollToken(t.Context(), broker.By{Actor: broker.ActorLocal}, control.NewEnrollToken{Pool: f.Pool, Replace: true, NamePattern: "l*"})
		if err != nil {
			t.Fatal(err)
		}
		tok, err := protocol.ParseEnrollToken(text)
		if err != nil {
			t.Fatal(err)
		}
		a := f.device("lamp", harness.NewEd25519(t), "")
		g, err := a.Enroll(t.Context(), link, agent.Admission{Token: &tok})
		if err != nil {
			t.Fatal(err)
		}
		c.isOver(v, mqttd.ReasonAdministrative)
		if err := link.Publish(t.Context(), "devices/demo/lamp/up", 1, nil); err != nil {
			t.Errorf("the connection of the new key: %v", err)
		}
		for form, password := range before {
			if _, err := f.connect(v, "demo:lamp", password); err == nil {
				t.Errorf("%s of the old key was admitted", form)
			}
		}
		f.mustConnect(v, "demo:lamp", g.Access).works()
		// Enrolling again with the same key replaces nothing.
		same := f.mustConnect(v, "demo:lamp", g.Access)
		if _, err := a.Enroll(t.Context(), f.anonymous(), agent.Admission{}); err != nil {
			t.Fatal(err)
		}
		same.works()
	}
}

func TestDeletedAndMadeAgain(t *testing.T) {
	f := start(t, nil)
	a, _ := f.enrolled("lamp", false)
	before := f.all(a, f)
	c := f.mustConnect(5, "demo:lamp", before["access JWT"])
	if err := f.Control.DeleteDevice(t.Context(), broker.By{Actor: broker.ActorLocal}, f.Name(t, "lamp")); err != nil {
		t.Fatal(err)
	}
	c.isOver(5, mqttd.ReasonAdministrative)
	_, g := f.enrolled("lamp", false)
	for form, password := range before {
		if _, err := f.connect(5, "demo:lamp", password); err == nil {
			t.Errorf("%s of the deleted device was admitted", form)
		}
	}
	f.mustConnect(5, "demo:lamp", g.Access).works()
}

// broken is a store that can fail.
type broken struct {
	access.Reads
	now atomic.Bool
}

func (b *broken) Device(ctx context.Context, id ident.Device) (broker.Device, error) {
	if b.now.Load() {
		return broker.Device{}, errors.New("the disk is gone")
	}
	return b.Reads.Device(ctx, id)
}

// A change that can't be looked up is the worst that it could be.
func TestChangeFailsClosed(t *testing.T) {
	var store broken
	f := start(t, func(d access.Reads) access.Reads { store.Reads = d; return &store })
	a, _ := f.enrolled("lamp", false)
	jwt := f.login(a, f, protocol.FormatJWT)
	c := f.mustConnect(5, "demo:lamp", jwt)
	store.now.Store(true)
	if _, err := f.connect(5, "demo:lamp", jwt); err == nil {
		t.Error("admitted without looking")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel() // whoever asked for the change has gone
	store.now.Store(false)
	f.changed(ctx, f.Name(t, "lamp"))
	c.works()
	store.now.Store(true)
	f.changed(t.Context(), f.Name(t, "lamp"))
	c.isOver(5, mqttd.ReasonAdministrative)
}

// The connection on which a device authenticates is its own from the grant on:
// what it sends next already counts. It ends with that token, unless it was
// renewed on the same connection.
func TestUpgradeInPlace(t *testing.T) {
	f := start(t, nil)
	key := harness.NewP256(t)
	tok := f.Token(t, 1)
	whole := f.device("lamp", key, "")
	if _, err := whole.Enroll(t.Context(), f, agent.Admission{Token: tok}); err != nil {
		t.Fatal(err)
	}
	short := broker.Client{Pool: f.Pool, ID: "short", AccessLife: broker.MinAccessLife}
	if _, _, err := f.Control.Clients().Create(t.Context(), broker.By{Actor: broker.ActorLocal}, short); err != nil {
		t.Fatal(err)
	}
	brief := f.device("lamp", key, "short")
	f.Offset = 2500*time.Millisecond - broker.MinAccessLife // its tokens are nearly over when it gets them
	renewed, left := f.anonymous(), f.anonymous()
	if err := renewed.Publish(t.Context(), "devices/demo/lamp/up", 1, nil); err == nil {
		t.Fatal("a stranger may publish")
	}
	renewed = f.anonymous() // 3.1.1 knows no other refusal than the end
	for range 20 {
		f.login(brief, renewed, protocol.FormatCWT)
		if err := renewed.Publish(t.Context(), "devices/demo/lamp/up", 1, []byte("at once")); err != nil {
			t.Fatalf("publishing after the grant: %v", err)
		}
	}
	f.login(brief, left, protocol.FormatCWT)
	f.Offset = 0
	f.login(whole, renewed, protocol.FormatCWT) // before the other ends, with nothing between that takes its time
	if err := renewed.Subscribe(t.Context(), "devices/demo/lamp/#", 1, func(string, []byte) {}); err != nil {
		t.Errorf("subscribing: %v", err)
	}
	if err := renewed.Subscribe(t.Context(), "devices/demo/other/#", 1, func(string, []byte) {}); err == nil {
		t.Error("another's topics")
	}
	receive(t, "the end of the one that was not renewed", left.Done()) // later than the other's would have been
	if err := renewed.Publish(t.Context(), "devices/demo/lamp/up", 1, nil); err != nil {
		t.Errorf("renewed: %v", err)
	}
}

// Debian's clients, with a user name and an MQTT password. In CI they must be there.
func TestMosquittoWithPassword(t *testing.T) {
	for _, program := range []string{"mosquitto_pub", "mosquitto_sub"} {
		if _, err := exec.LookPath(program); err != nil && os.Getenv("CI") == "true" {
			t.Fatalf("%s is not installed (Debian package mosquitto-clients)", program)
		} else if err != nil {
			t.Skipf("%s is not installed (Debian package mosquitto-clients)", program)
		}
	}
	f := start(t, nil)
	a, _ := f.enrolled("lamp", false)
	host, port, err := net.SplitHostPort(f.addr)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for _, version := range []string{"mqttv311", "mqttv5"} {
		for form, password := range map[string]string{
			"JWT": string(f.password(a, f, protocol.FormatJWT)), "CWT": string(f.password(a, f, protocol.FormatCWT)),
		} {
			args := []string{"-h", host, "-p", port, "-V", version, "-q", "1", "-u", "demo:lamp", "-P", password}
			sub := exec.CommandContext(ctx, "mosquitto_sub", append(args, "-i", "demo:lamp", "-C", "1", "-t", "devices/demo/lamp/#")...)
			var out bytes.Buffer
			sub.Stdout = &out
			if err := sub.Start(); err != nil {
				t.Fatal(err)
			}
			eventually(t, "it is connected", func() bool { return f.server.Count() == 1 })
			publish := append(args, "-i", "demo:lamp/pub", "-t", "devices/demo/lamp/x", "-m", "hi")
			for stop := false; !stop; { // it may not have subscribed yet
				if b, err := exec.CommandContext(ctx, "mosquitto_pub", publish...).CombinedOutput(); err != nil {
					t.Fatalf("%s, %s: %v: %s", version, form, err, b)
				}
				stop = f.server.Count() == 0 || ctx.Err() != nil
			}
			if err := sub.Wait(); err != nil || out.String() != "hi\n" {
				t.Errorf("%s, %s: received %q, %v", version, form, &out, err)
			}
			args[len(args)-1] += "x"
			if err := exec.CommandContext(ctx, "mosquitto_pub", append(args, "-t", "devices/demo/lamp/x", "-m", "hi")...).Run(); err == nil {
				t.Errorf("%s, %s: a forged token was admitted", version, form)
			}
			eventually(t, "they are gone", func() bool { return f.server.Count() == 0 })
		}
	}
}

// TestDeviceHearsAmidRefusals: while strangers at its address have so much refused that all
// there hear "busy", a device renews on its own connection.
func TestDeviceHearsAmidRefusals(t *testing.T) {
	f := start(t, nil)
	link := f.anonymous()
	a := f.device("lamp", harness.NewP256(t), "")
	if _, err := a.Enroll(t.Context(), link, agent.Admission{Token: f.Token(t, 1)}); err != nil {
		t.Fatal(err)
	}
	if f.server.PushDevice(f.Name(t, "lamp"), []byte("psst")) != 1 {
		t.Fatal("its connection is not its own")
	}
	raw, err := protocol.Encode(&protocol.Refresh{Head: protocol.Head{Kind: protocol.TypeRefresh, ID: protocol.CallID{7}}, Body: []byte("made up"), Proof: make([]byte, 64)})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	var flood sync.WaitGroup
	busy := make(chan struct{}, 1)
	for range 64 {
		flood.Go(func() {
			for ctx.Err() == nil {
				m, err := protocol.Decode(f.Exchange.Respond(ctx, exchange.Caller{Remote: netip.MustParseAddrPort("127.0.0.1:9")}, raw).Message)
				if r, ok := m.(*protocol.Refusal); err == nil && ok && r.Problem.Signet.Code == protocol.CodeBusy {
					select {
					case busy <- struct{}{}:
					default:
					}
				}
			}
		})
	}
	receive(t, "busy for strangers", busy)
	_, err = a.Refresh(t.Context(), link, agent.Ask{})
	stop()
	flood.Wait()
	if err != nil {
		t.Errorf("a device's renewal on its own connection: %v", err)
	}
}
