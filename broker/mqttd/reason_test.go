package mqttd

import (
	"bytes"
	"context"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/paho"

	"github.com/signetd/signet/broker/mqttd/packet"
)

// A client that another library wrote is told in words why it is sent away.
func TestReasonString(t *testing.T) {
	for name, c := range map[string]struct {
		end  func(*fixture)
		code Reason
		text string
	}{
		"disabled": {func(f *fixture) { f.End(device(t, "p:n"), ReasonAdministrative) }, ReasonAdministrative, "disabled"},
		"expired": {func(f *fixture) {
			if err := f.Upgrade("p:n", Standing{Device: device(t, "p:n"), Expires: time.Now().Add(time.Millisecond)}); err != nil {
				t.Error(err)
			}
		}, ReasonExpired, "over"},
		"taken over": {func(f *fixture) { f.mustConnect(as("p:n", 4)) }, ReasonTakenOver, "same client id"},
	} {
		t.Run(name, func(t *testing.T) {
			f := start(t, nil)
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			nc, err := net.Dial("tcp", f.addr)
			if err != nil {
				t.Fatal(err)
			}
			gone := make(chan *paho.Disconnect, 1)
			client := paho.NewClient(paho.ClientConfig{Conn: nc, OnServerDisconnect: func(d *paho.Disconnect) { gone <- d }})
			if _, err := client.Connect(ctx, &paho.Connect{
				ClientID: "p:n", Username: "p:n", Password: []byte("token-p:n"), UsernameFlag: true, PasswordFlag: true, KeepAlive: 30, CleanStart: true,
			}); err != nil {
				t.Fatal(err)
			}
			c.end(f)
			if d := receive(t, "the end", gone); Reason(d.ReasonCode) != c.code || !strings.Contains(d.Properties.ReasonString, c.text) {
				t.Errorf("reason %#x %q", d.ReasonCode, d.Properties.ReasonString)
			}
		})
	}
}

// Every reason has words, and none go to who takes no packet of that size or wants none.
func TestFarewell(t *testing.T) {
	for _, r := range Reasons {
		c := conn{takes: packet.Receiver{Version: packet.V5}}
		whole, bare := c.farewell(r), []byte{0xe0, 2, byte(r), 0}
		if r.text() == "" || !bytes.Contains(whole, []byte(r.text())) {
			t.Errorf("reason %#x: % x", byte(r), whole)
		}
		c.takes.MaximumPacketSize = uint32(len(whole))
		if got := c.farewell(r); !bytes.Equal(got, whole) {
			t.Errorf("reason %#x in %d bytes: % x", byte(r), c.takes.MaximumPacketSize, got)
		}
		c.takes.MaximumPacketSize--
		if got := c.farewell(r); !bytes.Equal(got, bare) {
			t.Errorf("reason %#x in %d bytes: % x", byte(r), c.takes.MaximumPacketSize, got)
		}
		c.takes.MaximumPacketSize, c.takes.NoProblems = 0, true
		if got := c.farewell(r); !bytes.Equal(got, bare) {
			t.Errorf("reason %#x without words: % x", byte(r), got)
		}
	}
}
