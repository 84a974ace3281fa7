package command

import (
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/signetd/signet/protocol"
	"github.com/signetd/signet/protocol/ident"
)

// A device that an operator has yet to approve: enroll says so and keeps what run needs,
// run comes back by itself when it is approved, and enroll --wait waits for that.
func TestApproval(t *testing.T) {
	b := newBroker(t)
	var approved atomic.Bool
	var asked atomic.Int64
	b.Refuse = func(ident.Name) error {
		if asked.Add(1); approved.Load() {
			return nil
		}
		return protocol.CodePending
	}
	m, dir := &machine{t: t}, folder(t)
	m.fails(1, "waiting for approval", "an operator has yet to approve it", enrollArgs(b, dir, "--ca", b.ca(t))...)
	if out := m.must("status", "--state", dir); !strings.Contains(out, "demo:lamp-1") {
		t.Error(out)
	}
	m.fails(1, "waiting for approval", "an operator has yet to approve it", "token", "--state", dir)
	before := asked.Load()
	time.AfterFunc(time.Second, func() { approved.Store(true) })
	m.start(filepath.Join(dir, socketName), "--state", dir)()
	if asked.Load() < before+2 {
		t.Error("it came online without being refused first")
	}

	approved.Store(false)
	patient, other := &machine{t: t}, folder(t)
	before = asked.Load()
	go func() {
		for asked.Load() < before+2 {
			time.Sleep(10 * time.Millisecond)
		}
		approved.Store(true)
	}()
	code, out, errs := patient.run(append(enrollArgs(b, other, "--ca", b.ca(t), "--wait"), "--name", "lamp-2")...)
	if code != exitOK || !strings.Contains(out, "enrolled lamp-2") || strings.Count(errs, "signet device approve lamp-2 --pool demo") != 1 {
		t.Errorf("code %d: %s%s", code, out, errs)
	}
	patient.must("check", "--state", other)
}

// What a new device was told is forgotten when the broker does not take it; a device that
// works keeps what it has.
func TestRefusedIsNoDevice(t *testing.T) {
	b, m := newBroker(t), &machine{t: t}
	home := filepath.Dir(folder(t))
	m.env = map[string]string{"XDG_STATE_HOME": home}
	args := []string{"enroll", "--broker", b.url, "--pool", "demo", "--token", b.Token.Reveal(), "--ca", b.ca(t), "--name"}
	m.must(append(args, "works")...)
	b.disabled.Store(true)
	m.fails(1, "disabled", "", append(args, "other")...)
	m.fails(1, "disabled", "", append(args, "works")...)
	b.disabled.Store(false)
	if out := m.must("status"); !strings.Contains(out, "demo:works: enrolled") { // the only one
		t.Error(out)
	}
	key := filepath.Join(home, "signet", "other", "device.key")
	before, err := os.ReadFile(key)
	if err != nil {
		t.Fatal(err)
	}
	m.must(append(args, "other")...)
	if after := mustRead(t, key); string(after) != string(before) {
		t.Error("the second attempt made a second identity")
	}
	m.fails(1, "2 devices in "+filepath.Join(home, "signet")+": other, works: name one", "add --name", "status")
}
