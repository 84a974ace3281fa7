package mqttfront_test

import (
	"bytes"
	"context"
	"log/slog"
	"net"
	"testing"
	"time"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/broker/control"
	"github.com/signetd/signet/broker/mqttd"
	"github.com/signetd/signet/broker/mqttfront"
	"github.com/signetd/signet/protocol"
	"github.com/signetd/signet/protocol/token"
)

// second makes another broker of f's cluster with an MQTT front of its own, which
// hears of f by the journal alone.
func (f *fixture) second() *fixture {
	f.t.Helper()
	two := &fixture{Signet: f.Second(f.t), t: f.t, known: f.known, root: f.root}
	log := slog.New(slog.DiscardHandler)
	two.front = mqttfront.New(two.Exchange, two.Access, log)
	var err error
	if two.server, err = mqttd.New(mqttd.Config{Gate: two.front, Respond: two.front.Respond, Log: log}); err != nil {
		f.t.Fatal(err)
	}
	two.front.Attach(two.server)
	two.Tail.Tell(two.front.Recorded)
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		f.t.Fatal(err)
	}
	two.secure = ln.Addr().String()
	served := make(chan error, 1)
	go func() { served <- two.server.Serve(context.Background(), ln, f.identity) }()
	f.t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), patience)
		defer cancel()
		if err := two.server.Close(ctx); err != nil {
			f.t.Error(err)
		}
		if err := <-served; err != nil {
			f.t.Error(err)
		}
	})
	return two
}

// What an operator does at one broker, the connections at another feel, by the journal.
func TestFeltAtAnotherBroker(t *testing.T) {
	f := start(t, nil)
	two := f.second()
	a, _ := f.enrolled("lamp", false)
	b, _ := f.enrolled("other", false)
	by, id := broker.By{Actor: broker.ActorLocal}, f.Name(t, "lamp")
	bystander := two.mustConnect(5, "demo:other", f.login(b, f, protocol.FormatCWT))
	for what, change := range map[string]func() error{
		"disabled":        func() error { _, err := f.Control.DisableDevice(t.Context(), by, id); return err },
		"sessions ended":  func() error { _, err := f.Control.RevokeSessions(t.Context(), by, id); return err },
		"a session ended": func() error { return f.Control.RevokeSession(t.Context(), by, id, f.lastSession(id)) },
	} {
		if _, err := f.Control.EnableDevice(t.Context(), by, id); err != nil {
			t.Fatal(err)
		}
		c := two.mustConnect(5, "demo:lamp", f.login(a, f, protocol.FormatCWT))
		c.works()
		if err := change(); err != nil {
			t.Fatal(what, err)
		}
		c.isOver(5, mqttd.ReasonAdministrative)
	}
	if err := bystander.publish("devices/demo/other/up", "1"); err != nil {
		t.Errorf("a connection of which nothing was changed: %v", err)
	}
	if err := f.Control.DeletePool(t.Context(), by, f.Pool, true); err != nil {
		t.Fatal(err)
	}
	bystander.isOver(5, mqttd.ReasonAdministrative)
}

// A rotation at one broker reaches the keys of another.
func TestRotationReachesAnotherBroker(t *testing.T) {
	f := start(t, nil)
	two := f.second()
	if _, err := two.Keys.Ring(t.Context(), f.Pool); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the other broker is up to date", two.Tail.Fresh)
	first, err := two.Keys.Ring(t.Context(), f.Pool)
	if err != nil {
		t.Fatal(err)
	}
	if again, err := two.Keys.Ring(t.Context(), f.Pool); err != nil || again != first {
		t.Errorf("nothing was changed, and the keys were read again: %v", err)
	}
	made, err := f.Control.RotateKey(t.Context(), broker.By{Actor: broker.ActorLocal}, f.Pool, token.EdDSA, true)
	if err != nil {
		t.Fatal(err)
	}
	two.Hears(t, made.ID)
}

// What changes in a pool itself at one broker, another goes by from the record on: it ends
// connections by MQTT passwords that are taken no more, and shows the new anchor.
func TestPoolChangedAtAnotherBroker(t *testing.T) {
	f := start(t, nil)
	two := f.second()
	a, _ := f.enrolled("lamp", false)
	c := two.mustConnect(5, "demo:lamp/1", f.password(a, f, protocol.FormatJWT))
	off := time.Duration(0)
	if _, err := f.Control.ChangePool(t.Context(), broker.By{Actor: broker.ActorLocal}, f.Pool, control.PoolChange{MQTTPasswordLife: &off}, nil); err != nil {
		t.Fatal(err)
	}
	c.isOver(5, mqttd.ReasonAdministrative)
	p, err := f.Control.RotateAnchor(t.Context(), broker.By{Actor: broker.ActorLocal}, f.Pool, nil)
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the other broker has the new anchor", func() bool {
		ring, err := two.Keys.Ring(t.Context(), f.Pool)
		return err == nil && bytes.Equal(ring.Anchor, p.Anchor)
	})
}

// The deletion of a pool ends all its devices' connections, and no other's.
func TestDeletedPool(t *testing.T) {
	f := start(t, nil)
	a, _ := f.enrolled("lamp", false)
	access := f.login(a, f, protocol.FormatCWT)
	f.anonymous()
	var all []*client
	for _, id := range []string{"demo:lamp", "demo:lamp/1", "demo:lamp/2"} {
		c, err := f.connectAs(5, id, "demo:lamp", access)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, c)
	}
	if err := f.Control.DeletePool(t.Context(), broker.By{Actor: broker.ActorLocal}, f.Pool, true); err != nil {
		t.Fatal(err)
	}
	for _, c := range all {
		c.isOver(5, mqttd.ReasonAdministrative)
	}
	eventually(t, "the anonymous connection alone is left", func() bool { return f.server.Count() == 1 })
	if _, err := f.connect(5, "demo:lamp", access); err == nil {
		t.Error("admitted into a pool that is gone")
	}
}
