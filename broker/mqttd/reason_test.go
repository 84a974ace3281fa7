package mqttd

import (
	"context"
	"net"
	"strings"
	"testing"
	"time"

	"github.com/eclipse/paho.golang/paho"
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

// Every text fits its length byte, and none goes to who takes no packet of that size.
func TestFarewell(t *testing.T) {
	for code := range 256 {
		r := Reason(code)
		whole := farewell(r, 0)
		if int(whole[1]) != len(whole)-2 || whole[1] > 127 || Reason(whole[2]) != r || int(whole[3]) != len(whole)-4 {
			t.Errorf("reason %#x: % x", code, whole)
		}
		if n := len(whole); n > 4 && (int(whole[6]) != n-7 || len(farewell(r, uint32(n))) != n || len(farewell(r, uint32(n-1))) != 4) {
			t.Errorf("reason %#x: % x", code, whole)
		}
	}
	for _, r := range []Reason{
		ReasonMalformed, ReasonProtocol, ReasonBusy, ReasonShutdown, ReasonKeepAlive, ReasonTakenOver, ReasonTooLarge,
		ReasonQuota, ReasonAdministrative, ReasonExpired,
	} {
		if r.text() == "" || len(farewell(r, 0)) == 4 {
			t.Errorf("reason %#x has no words", byte(r))
		}
	}
}
