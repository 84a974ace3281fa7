package mqttfront_test

import (
	"context"
	"crypto/tls"
	"testing"

	"github.com/eclipse/paho.golang/packets"
	"github.com/eclipse/paho.golang/paho"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/broker/mqttd"
	"github.com/signetd/signet/protocol"
)

// keeper connects to a session that outlives its connection, retains something, subscribes to all of the device's,
// leaves a will that is due much later, and is lost. It gives whether there was a session.
func (f *fixture) keeper(password []byte) (present bool) {
	f.t.Helper()
	ctx, cancel := context.WithTimeout(f.t.Context(), patience)
	defer cancel()
	nc, err := tls.Dial("tcp", f.secure, f.clientTLS())
	if err != nil {
		f.t.Fatal(err)
	}
	m := paho.NewClient(paho.ClientConfig{Conn: packets.NewThreadSafeConn(nc), OnClientError: func(error) {}})
	seconds := uint32(600)
	ack, err := m.Connect(ctx, &paho.Connect{
		ClientID: "keeper", Username: "demo:lamp", Password: password, UsernameFlag: true, PasswordFlag: true, KeepAlive: 30,
		Properties:     &paho.ConnectProperties{SessionExpiryInterval: &seconds},
		WillMessage:    &paho.WillMessage{Topic: will, Payload: []byte("later"), QoS: 1},
		WillProperties: &paho.WillProperties{WillDelayInterval: &seconds},
	})
	if err != nil {
		f.t.Fatal(err)
	}
	if _, err := m.Publish(ctx, &paho.Publish{Topic: "devices/demo/lamp/state", Retain: true, Payload: []byte("on")}); err != nil {
		f.t.Fatal(err)
	}
	if _, err := m.Subscribe(ctx, &paho.Subscribe{Subscriptions: []paho.SubscribeOptions{{Topic: "devices/demo/lamp/#", QoS: 1}}}); err != nil {
		f.t.Fatal(err)
	}
	_ = nc.Close()
	<-m.Done()
	eventually(f.t, "it is away", func() bool { return f.server.Count() == 0 })
	return ack.SessionPresent
}

// What waits for a device that is away is gone, with its session and will, and what it retained, once it may nothing
// any more: when it may again, or another has its name, that begins anew.
func TestDisabledWhileAway(t *testing.T) {
	f := start(t, nil)
	a, _ := f.enrolled("lamp", false)
	by := broker.By{Actor: broker.ActorLocal}
	for name, change := range map[string]struct{ off, on func() error }{
		"disabled": {
			func() error { _, err := f.Control.DisableDevice(t.Context(), by, f.Name(t, "lamp")); return err },
			func() error { _, err := f.Control.EnableDevice(t.Context(), by, f.Name(t, "lamp")); return err },
		},
		"quarantined": {
			func() error {
				f.setStatus(broker.StatusQuarantined)
				f.changed(t.Context(), f.Name(t, "lamp"))
				return nil
			},
			func() error { f.setStatus(broker.StatusActive); return nil },
		},
		"deleted, and another made of its name before that is heard of": {
			func() error {
				id := f.Name(t, "lamp")
				f.front.Recorded(t.Context(), &broker.Record{Kind: broker.RecordDevice, Pool: id.Pool, Subject: id.Name.String(), What: broker.WhatDelete})
				return nil
			},
			func() error { return nil },
		},
		"deleted": {
			func() error { return f.Control.DeleteDevice(t.Context(), by, f.Name(t, "lamp")) },
			func() error { a, _ = f.enrolled("lamp", false); return nil },
		},
	} {
		if f.keeper(f.password(a, f, protocol.FormatJWT)) {
			t.Errorf("%s: there is a session before there was one", name)
		}
		if !f.keeper(f.password(a, f, protocol.FormatJWT)) {
			t.Errorf("%s: it is not kept", name)
		}
		c := f.mustConnect(5, "demo:lamp", f.login(a, f, protocol.FormatJWT))
		for range 3 {
			if err := c.publish("devices/demo/lamp/secret", "x"); err != nil {
				t.Fatal(err)
			}
		}
		if now := f.server.Figures(); now.Queued != 3 || now.Sessions != 2 || now.Retained != 1 {
			t.Errorf("%s: before: %+v", name, now)
		}
		if err := change.off(); err != nil {
			t.Fatal(err)
		}
		c.isOver(5, mqttd.ReasonAdministrative)
		eventually(t, name+": nothing is left", func() bool { return f.server.Figures() == mqttd.Figures{} })
		if err := change.on(); err != nil {
			t.Fatal(err)
		}
		if f.keeper(f.password(a, f, protocol.FormatJWT)) {
			t.Errorf("%s: its session outlived that", name)
		}
		f.server.End(f.Name(t, "lamp"), mqttd.ReasonAdministrative)
	}
}
