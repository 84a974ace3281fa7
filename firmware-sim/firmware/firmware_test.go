package firmware_test

import (
	"errors"
	"testing"
	"testing/synctest"

	"github.com/signetd/signet/agent"
	"github.com/signetd/signet/firmware-sim/fault"
	"github.com/signetd/signet/firmware-sim/firmware"
	"github.com/signetd/signet/firmware-sim/firmwaretest"
	"github.com/signetd/signet/protocol"
	"github.com/signetd/signet/protocol/ident"
	"github.com/signetd/signet/protocol/ident/identtest"
)

func newDevice(t *testing.T, b *firmwaretest.Broker, kind firmware.Kind, faults fault.Source) *firmware.Device {
	t.Helper()
	id := identtest.Device(t, "demo:sim-1")
	d, err := firmware.New(firmware.Config{Name: id, Key: kind, Dial: b.Dial, Voucher: agent.Admission{Token: b.Token}, Faults: faults})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.Hangup)
	return d
}

func newBroker(t *testing.T) *firmwaretest.Broker {
	t.Helper()
	b, err := firmwaretest.NewBroker()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestDeviceWithoutFaults(t *testing.T) {
	for _, kind := range []firmware.Kind{firmware.P256, firmware.Ed25519} {
		b := newBroker(t)
		d := newDevice(t, b, kind, fault.Source{})
		for _, op := range []firmware.Op{firmware.Enroll, firmware.Authenticate, firmware.Authenticate, firmware.Refresh, firmware.Authenticate, firmware.Enroll} {
			o := d.Try(t.Context(), op)
			if o.Err != nil || o.Fault != "" || !o.Timely || o.Breach || o.Call <= 0 {
				t.Errorf("%s, %s: %+v", kind, op, o)
			}
		}
		if n := b.Strays(); n != 0 {
			t.Errorf("%d logins do not name the device's last session", n)
		}
		if dials, open, _ := b.Counts(); dials != 1 || open != 1 || !d.Connected() {
			t.Errorf("%d connections made, %d open", dials, open)
		}
	}
	if _, err := firmware.New(firmware.Config{Key: "rsa"}); !errors.Is(err, firmware.ErrKind) {
		t.Error(err)
	}
}

// TestDeviceGetsOverEachFault injects one kind until it has fired often, into each
// place that it may strike, and wants the device in when the faults stop.
func TestDeviceGetsOverEachFault(t *testing.T) {
	for _, kind := range fault.Kinds() {
		for seed, op := range []firmware.Op{firmware.Enroll, firmware.Authenticate, firmware.Refresh} {
			t.Run(string(kind)+"/"+string(op), func(t *testing.T) {
				b := newBroker(t)
				synctest.Test(t, func(t *testing.T) {
					strike(t, newDevice(t, b, firmware.P256, fault.Source{Seed: uint64(seed), Rate: 0.5, Kinds: []fault.Kind{kind}}), op)
				})
			})
		}
	}
}

func strike(t *testing.T, d *firmware.Device, op firmware.Op) {
	enrolled, fired, clean := false, 0, 0
	for range 40 {
		now := op
		if !enrolled {
			now = firmware.Enroll
		}
		o := d.Try(t.Context(), now)
		switch {
		case o.Breach:
			t.Fatal("a tampered exchange was granted")
		case o.Err == nil && !o.Timely:
			t.Error("it does not know the time")
		case o.Err != nil && !o.Fault.Excuses():
			t.Errorf("%s after %q: %v", now, o.Fault, o.Err)
		}
		if o.Err == nil {
			enrolled = true
			clean++
		}
		if o.Fault != "" {
			fired++
		}
	}
	if clean < 5 || fired < 5 {
		t.Errorf("%d faults, %d granted", fired, clean)
	}
}

// TestTokenNotTaken wants a device whose access token is refused to come in with its key.
func TestTokenNotTaken(t *testing.T) {
	b := newBroker(t)
	asked := 0
	b.Login = func(c *agent.Credential) error {
		asked++
		return agent.ErrCredential
	}
	d := newDevice(t, b, firmware.Ed25519, fault.Source{})
	if o := d.Try(t.Context(), firmware.Enroll); o.Err != nil {
		t.Fatal(o.Err)
	}
	d.Hangup()
	if o := d.Try(t.Context(), firmware.Authenticate); o.Err != nil || !o.Stale || asked != 1 {
		t.Errorf("%+v, asked %d times", o, asked)
	}
}

func TestLostConnection(t *testing.T) {
	b := newBroker(t)
	d := newDevice(t, b, firmware.Ed25519, fault.Source{})
	if o := d.Try(t.Context(), firmware.Enroll); o.Err != nil {
		t.Fatal(o.Err)
	}
	b.Drop()
	if d.Connected() {
		t.Error("it thinks that it is connected")
	}
	if o := d.Try(t.Context(), firmware.Authenticate); o.Err != nil || !o.Lost {
		t.Errorf("%+v", o)
	}
	b.Refuse = func(ident.Name) error { return protocol.CodeDisabled }
	if o := d.Try(t.Context(), firmware.Authenticate); !errors.Is(o.Err, protocol.CodeDisabled) {
		t.Errorf("%+v", o)
	}
}
