package command

import (
	"encoding/json"
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
	m.fails(7, "waiting for approval", "an operator has yet to approve it", enrollArgs(b, dir, "--ca", b.ca(t))...)
	const operator = "signet device approve lamp-1 --pool demo"
	var st Status
	if err := json.Unmarshal([]byte(m.must("status", "--state", dir, "-o", "json")), &st); err != nil {
		t.Fatal(err)
	}
	since, err := time.Parse(time.RFC3339, st.PendingSince)
	if err != nil || time.Since(since).Abs() > time.Minute || st.Phase != "pending" || st.Operator != operator || st.Running {
		t.Errorf("%+v, %v", st, err)
	}
	waits := "demo:lamp-1: waits for approval since " + st.PendingSince + "; an operator types: " + operator
	if out := m.must("status", "--state", dir); out != waits+"; the agent is not running (signet-agent run)\n" {
		t.Error(out)
	}
	time.Sleep(1100 * time.Millisecond) // the time is told in seconds, and stays that of the first refusal
	m.fails(7, "waiting for approval", "an operator has yet to approve it: "+operator+"; signet-agent run comes back", enrollArgs(b, dir, "--ca", b.ca(t))...)
	stop := m.startUntil("waits for approval", filepath.Join(dir, socketName), "--state", dir)
	if out := m.must("status", "--state", dir); out != waits+"\n" {
		t.Errorf("%s\n, want %s", out, waits)
	}
	m.fails(7, "waiting for approval", "an operator has yet to approve it: "+operator, "token", "--state", dir) // asked of the agent, it is the same
	if out := m.fails(7, "waiting for approval", "an operator has yet to approve it: "+operator, "check", "--state", dir); !strings.Contains(out, waits) {
		t.Error(out)
	}
	stop()
	m.fails(7, "waiting for approval", "an operator has yet to approve it: "+operator, "token", "--state", dir)
	before := asked.Load()
	time.AfterFunc(time.Second, func() { approved.Store(true) })
	m.start(filepath.Join(dir, socketName), "--state", dir)()
	if asked.Load() < before+2 {
		t.Error("it came online without being refused first")
	}
	if out := m.must("status", "--state", dir); !strings.Contains(out, "demo:lamp-1: enrolled") {
		t.Error(out)
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
	if code != 0 || !strings.Contains(out, "enrolled lamp-2") || strings.Count(errs, "signet device approve lamp-2 --pool demo") != 1 {
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
	m.fails(3, "disabled", "", append(args, "other")...)
	m.fails(3, "disabled", "", append(args, "works")...)
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
	m.fails(2, "2 devices in "+filepath.Join(home, "signet")+": other, works: name one", "add --name", "status")
}
