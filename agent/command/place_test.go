package command

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Where nothing says where an identity is to lie it lies nowhere: not in the working
// folder, from which the next start would not find it.
func TestNoPlace(t *testing.T) {
	t.Chdir(t.TempDir())
	b := newBroker(t)
	for name, env := range map[string]map[string]string{
		"nothing":        {},
		"relative":       {"HOME": "home", "XDG_STATE_HOME": "state", "STATE_DIRECTORY": "signet"},
		"nothing useful": {"HOME": ".", "STATE_DIRECTORY": ":"},
	} {
		m := &machine{t: t, env: env}
		m.fails(2, "no place for the device", "name the device's own folder: --state", "enroll", "--broker", b.url, "--pool", "demo", "--name", "lamp-1", "--token", b.Token.Reveal(), "--ca", b.ca(t))
		for _, command := range []string{"run", "status", "check", "token", "unenroll", "key"} {
			m.fails(2, "no place for the device", "name the device's own folder: --state", command)
		}
		if left, err := os.ReadDir("."); err != nil || len(left) > 0 {
			t.Errorf("%s: left in the working folder: %v, %v", name, left, err)
		}
	}
}

// What systemd says of several StateDirectory= is a list.
func TestSystemdsFolders(t *testing.T) {
	b := newBroker(t)
	one, two := filepath.Dir(folder(t)), filepath.Dir(folder(t))
	m := &machine{t: t, env: map[string]string{"STATE_DIRECTORY": one + ":" + two}}
	m.must(enrollArgs(b, two, "--ca", b.ca(t))...)
	if out := m.must("status"); !strings.Contains(out, "demo:lamp-1") {
		t.Error(out)
	}
	m.must("enroll", "--broker", b.url, "--pool", "demo", "--name", "lamp-2", "--token", b.Token.Reveal(), "--ca", b.ca(t))
	if _, err := os.Stat(filepath.Join(one, settingsName)); err != nil {
		t.Errorf("the first folder has no device: %v", err)
	}
	for _, name := range []string{"lamp-1", "lamp-2"} {
		if out := m.must("status", "--name", name); !strings.Contains(out, "demo:"+name) {
			t.Errorf("%s: %s", name, out)
		}
	}
	if _, err := os.Stat(one + ":" + two); err == nil {
		t.Error("the list was taken for one path")
	}
}

// A command that names a device works on no other, whatever folder the environment names.
func TestNameAndFolderMustAgree(t *testing.T) {
	b, dir := newBroker(t), folder(t)
	m := &machine{t: t}
	m.must(enrollArgs(b, dir, "--ca", b.ca(t))...)
	for _, variable := range []string{"SIGNET_STATE", "STATE_DIRECTORY"} {
		other := &machine{t: t, env: map[string]string{variable: dir}}
		for _, command := range []string{"unenroll", "status", "token", "check", "run"} {
			other.fails(5, "another device's folder", "name its folder", command, "--name", "lamp-2")
		}
		other.must("status", "--name", "lamp-1")
		other.must("status")
	}
	elsewhere := &machine{t: t, env: map[string]string{"SIGNET_NAME": "lamp-2"}}
	elsewhere.must("status", "--state", dir) // the flag goes before the variable
}

// Each variable says what its flag says, and the flag goes before it.
func TestVariables(t *testing.T) {
	b, dir := newBroker(t), folder(t)
	m := &machine{t: t, env: map[string]string{
		"SIGNET_BROKER": b.url, "SIGNET_CA": b.ca(t), "SIGNET_POOL": "demo", "SIGNET_NAME": "lamp-1", "SIGNET_ENROLLMENT": b.Token.Reveal(), "SIGNET_STATE": dir,
	}}
	m.must("enroll")
	m.must("check")
	if out := m.must("status"); !strings.Contains(out, "demo:lamp-1: enrolled") {
		t.Error(out)
	}
	m.fails(3, "fingerprint", "", "enroll", "--ca-fingerprint", strings.Repeat("00", 32)) // not SIGNET_CA's word
	m.env["SIGNET_CA"], m.env["SIGNET_CA_FINGERPRINT"] = "", b.fingerprint()
	m.must("enroll")
	m.env["SIGNET_POOL"] = "Not a pool"
	m.must("enroll", "--pool", "demo")
	m.fails(2, "--pool", "", "enroll")
	m.env["SIGNET_ENROLLMENT"] = "nonsense"
	m.fails(2, "--token", "copy the token again", "enroll", "--pool", "demo")
	if out := m.must("enroll", "-h"); strings.Contains(out, b.Token.Reveal()) || strings.Contains(out, "nonsense") {
		t.Errorf("help prints what the environment says: %s", out)
	}
}
