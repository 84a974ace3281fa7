package command

import (
	"bytes"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/signetd/signet/agent/keyfile"
	"github.com/signetd/signet/protocol/exit"
)

// enrollArgs are a good enrollment's.
func enrollArgs(b *broker, dir string, more ...string) []string {
	return append([]string{"enroll", "--broker", b.url, "--pool", "demo", "--name", "lamp-1", "--token", b.Token.Reveal(), "--state", dir}, more...)
}

// A device that was told the root's fingerprint finds the root in the chain, once:
// it keeps it, and the broker need not send it again.
func TestFingerprintLeadsToTheRoot(t *testing.T) {
	b, m, dir := newBroker(t), &machine{t: t}, folder(t)
	m.fails(3, "fingerprint", "compare --ca-fingerprint", enrollArgs(b, dir, "--ca-fingerprint", strings.Repeat("00", 32))...)
	m.must(enrollArgs(b, dir, "--ca-fingerprint", strings.ToUpper(b.fingerprint()))...)
	b.present(t, time.Now().Add(-time.Hour), time.Now().Add(time.Hour), false)
	if out := m.must("check", "--state", dir); !strings.Contains(out, "login  ok") {
		t.Error(out)
	}
	m.fails(2, "no root in the CA file has that", "give one of --ca and --ca-fingerprint", enrollArgs(b, dir, "--ca", b.ca(t), "--ca-fingerprint", strings.Repeat("00", 32))...)
	m.must(enrollArgs(b, dir, "--ca", b.ca(t), "--ca-fingerprint", b.fingerprint())...)
}

// The whole way with clocks that are decades off: certificates, tokens, the offset.
func TestWrongClocks(t *testing.T) {
	for year, clock := range map[int]string{1970: "clock  wrong, which does no harm: 1970-", 2038: "clock  ok: 2038-", 2099: "clock  ok: 2099-"} {
		b, dir := newBroker(t), folder(t)
		shift := time.Until(time.Date(year, 1, 2, 0, 0, 0, 0, time.UTC))
		m := &machine{t: t}
		m.shift.Store(int64(shift))
		m.must(enrollArgs(b, dir, "--ca", b.ca(t))...)
		if out := m.must("check", "--state", dir); !strings.Contains(out, clock) || !strings.Contains(out, "login  ok") {
			t.Errorf("%d: %s", year, out)
		}
		stop := m.start(filepath.Join(dir, socketName), "--state", dir)
		var st Status
		if err := json.Unmarshal([]byte(m.must("status", "--state", dir, "-o", "json")), &st); err != nil {
			t.Fatal(err)
		}
		if st.Offset == nil || (time.Duration(*st.Offset)*time.Second+shift).Abs() > 10*time.Second || st.Left < 3500 || st.For > 60 {
			t.Errorf("%d: offset %v, want %v; %+v", year, st.Offset, -shift, st)
		}
		if out := m.must("status", "--state", dir); !strings.Contains(out, "this machine's clock is off by") {
			t.Errorf("%d: %s", year, out)
		}
		stop()
		// The floor knows better than the clock: no certificate from before it is taken,
		// once the broker has told the time again.
		b.present(t, time.Now().AddDate(0, -2, 0), time.Now().Add(-time.Hour), true)
		m.fails(3, "certificate has expired", "renew the broker's certificate", "check", "--state", dir)
		// What begins after the floor is judged at its beginning: time may have passed.
		b.present(t, time.Now().AddDate(1, 0, 0), time.Now().AddDate(2, 0, 0), true)
		m.must("check", "--state", dir)
	}
}

func TestCheckTellsWhereTheWayEnds(t *testing.T) {
	b, m, dir := newBroker(t), &machine{t: t}, folder(t)
	m.must(enrollArgs(b, dir, "--ca", b.ca(t))...)
	good := mustRead(t, filepath.Join(dir, settingsName))
	edit := func(change func(c *settings)) {
		var c settings
		if err := json.Unmarshal(good, &c); err != nil {
			t.Fatal(err)
		}
		change(&c)
		raw, err := json.Marshal(c)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, settingsName), raw, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for name, tt := range map[string]struct {
		code       exit.Code
		change     func(c *settings)
		last, hint string
	}{
		"no such name": {exit.Unavailable, func(c *settings) { c.Broker = "mqtts://broker.invalid:8883" }, "DNS    failed:", "is the broker up"},
		"port closed":  {exit.Unavailable, func(c *settings) { c.Broker = "mqtts://localhost:" + closedPort(t) }, "TLS    failed:", "is the broker up"},
		"other root":   {exit.Refused, func(c *settings) { c.CA = string(mustRead(t, newBroker(t).ca(t))) }, "TLS    failed:", "give the broker's root"},
		"other name":   {exit.Refused, func(c *settings) { c.Broker = strings.Replace(c.Broker, "localhost", "127.0.0.1", 1) }, "TLS    failed:", "name the broker as"},
	} {
		edit(tt.change)
		out := m.fails(int(tt.code), "check stopped at", tt.hint, "check", "--state", dir)
		if lines := strings.Split(strings.TrimSpace(out), "\n"); !strings.HasPrefix(lines[len(lines)-1], tt.last) {
			t.Errorf("%s: %s", name, out)
		}
	}
	edit(func(*settings) {})
	b.disabled.Store(true)
	if out := m.fails(3, "device disabled", "ask the operator", "check", "--state", dir); !strings.Contains(out, "TLS    ok") || !strings.Contains(out, "login  failed") {
		t.Error(out)
	}
	b.disabled.Store(false)
	m.must("check", "--state", dir)
}

func closedPort(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	_, port, err := net.SplitHostPort(ln.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return port
}

func mustRead(t *testing.T, path string) []byte {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// Whatever goes wrong in a second enrollment, the device that works goes on.
func TestFailedEnrollmentLosesNothing(t *testing.T) {
	b, m, dir := newBroker(t), &machine{t: t}, folder(t)
	m.must(enrollArgs(b, dir, "--ca", b.ca(t))...)
	m.fails(3, "certificate", "give the broker's root", enrollArgs(b, dir)...)
	m.fails(5, "belongs to another device", "each device has a folder", append(enrollArgs(b, dir, "--ca", b.ca(t)), "--name", "lamp-2")...)
	m.fails(5, "P-256, not Ed25519", "leave --key away", enrollArgs(b, dir, "--ca", b.ca(t), "--key", "file:ed25519")...)
	m.must("check", "--state", dir)
	subject := m.must("status", "--state", dir, "-o", "json")
	m.must(enrollArgs(b, dir, "--ca", b.ca(t))...)
	if again := m.must("status", "--state", dir, "-o", "json"); again != subject {
		t.Errorf("enrolled again as another:\n%s%s", subject, again)
	}
}

// A device whose state no power cut could have damaged so enrolls again with its key.
func TestDamagedState(t *testing.T) {
	b, m, dir := newBroker(t), &machine{t: t}, folder(t)
	m.must(enrollArgs(b, dir, "--ca", b.ca(t))...)
	before, key := m.must("status", "--state", dir, "-o", "json"), mustRead(t, filepath.Join(dir, "device.key"))
	for _, name := range []string{"state", "state.old"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("torn"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	m.fails(1, "damaged", "signet-agent enroll, with a token", "check", "--state", dir)
	m.must(enrollArgs(b, dir, "--ca", b.ca(t))...)
	if after := m.must("status", "--state", dir, "-o", "json"); after != before || !bytes.Equal(key, mustRead(t, filepath.Join(dir, "device.key"))) {
		t.Errorf("another identity:\n%s%s", before, after)
	}
	if err := os.WriteFile(filepath.Join(dir, "device.key"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	m.fails(1, "device.key: file is damaged", "restore device.key", "check", "--state", dir)
}

// Whoever has not enrolled cannot run, and is told so.
func TestNotEnrolled(t *testing.T) {
	b, m, dir := newBroker(t), &machine{t: t}, folder(t)
	m.fails(3, "certificate", "give the broker's root", enrollArgs(b, dir)...)
	for _, command := range []string{"run", "token", "check"} {
		m.fails(4, "no enrolled device found", "signet-agent enroll", command, "--state", dir)
	}
	m.fails(2, "no anchor", "give an enrollment token", "enroll", "--broker", b.url, "--pool", "demo", "--name", "lamp-1", "--ca", b.ca(t), "--state", folder(t))
}

// While the broker is away programs get the token there is, to its last seconds,
// and none that has ended.
func TestTokenWithoutABroker(t *testing.T) {
	b, m, dir := newBroker(t), &machine{t: t}, folder(t)
	m.must(enrollArgs(b, dir, "--ca", b.ca(t))...)
	stop := m.start(filepath.Join(dir, socketName), "--state", dir)
	defer stop()
	other := &machine{t: t}
	token := other.must("token", "--state", dir, "--format", "cwt")
	b.mqtt.Close()
	m.shift.Store(int64(45 * time.Minute)) // of an hour: it would renew if it could
	if again := other.must("token", "--state", dir, "--format", "cwt"); again != token {
		t.Error("another token without a broker")
	}
	m.shift.Store(int64(61 * time.Minute))
	other.fails(1, "the agent says", "signet-agent status", "token", "--state", dir, "--format", "cwt")
}

// The key that was printed is the one that enrolls, in its folder and no other.
func TestKey(t *testing.T) {
	b, m, dir := newBroker(t), &machine{t: t}, folder(t)
	jwk := m.must("key", "--state", dir, "--key", "file:ed25519")
	if !strings.Contains(jwk, `"crv":"Ed25519"`) || strings.Contains(jwk, `"d"`) {
		t.Errorf("not a public Ed25519 key: %s", jwk)
	}
	if again := m.must("key", "--state", dir); again != jwk {
		t.Errorf("another key the second time: %s", again)
	}
	m.fails(5, "Ed25519, not P-256", "leave --key away", "key", "--state", dir, "--key", "file:p256")
	m.must(enrollArgs(b, dir, "--ca", b.ca(t))...)
	stop := m.start(filepath.Join(dir, socketName), "--state", dir)
	defer stop()
	other := &machine{t: t}
	if again := other.must("key", "--state", dir); again != jwk {
		t.Errorf("enrolled with another key: %s", again)
	}
}

// A folder that lost its settings can still be cleared.
func TestUnenroll(t *testing.T) {
	b, m, dir := newBroker(t), &machine{t: t}, folder(t)
	for _, damage := range []func(path string) error{os.Remove, func(path string) error { return os.WriteFile(path, []byte("torn"), 0o600) }} {
		m.must(enrollArgs(b, dir, "--ca", b.ca(t), "--name", "lamp-"+filepath.Base(filepath.Dir(dir)))...)
		if err := damage(filepath.Join(dir, settingsName)); err != nil {
			t.Fatal(err)
		}
		if out := m.must("unenroll", "--state", dir); !strings.Contains(out, "forgot the device") {
			t.Error(out)
		}
		m.fails(4, "no enrolled device", "signet-agent enroll", "unenroll", "--state", dir)
		dir = folder(t)
	}
}

// check goes the way to the broker also beside an agent that cannot get there.
func TestCheckBesideARunningAgent(t *testing.T) {
	b, m, dir := newBroker(t), &machine{t: t}, folder(t)
	m.must(enrollArgs(b, dir, "--ca", b.ca(t))...)
	stop := m.start(filepath.Join(dir, socketName), "--state", dir)
	defer stop()
	other := &machine{t: t}
	if out := other.must("check", "--state", dir); !strings.Contains(out, "DNS    ok") || !strings.Contains(out, "TLS    ok") || !strings.Contains(out, "login  ok") {
		t.Error(out)
	}
	b.mqtt.Close()
	if out := other.fails(6, "check stopped at TLS", "is the broker up", "check", "--state", dir); !strings.Contains(out, "agent  running") {
		t.Error(out)
	}
}

// Programs elsewhere find the agent by its socket, without its folder.
func TestSocketElsewhere(t *testing.T) {
	b, m, dir := newBroker(t), &machine{t: t}, folder(t)
	m.must(enrollArgs(b, dir, "--ca", b.ca(t))...)
	socket := filepath.Join(filepath.Dir(dir), "programs.sock")
	m.fails(2, "--group needs --socket", "", "run", "--state", dir, "--group", "50")
	m.fails(4, "no agent is running", "signet-agent run makes the socket", "token", "--socket", socket)
	stop := m.start(socket, "--state", dir, "--socket", socket, "--group", "50")
	defer stop()
	other := &machine{t: t, env: map[string]string{"SIGNET_AGENT_SOCKET": socket}}
	if out := other.must("status"); !strings.Contains(out, "demo:lamp-1: online") {
		t.Error(out)
	}
	if out := other.must("token", "--format", "cwt"); len(out) < 100 {
		t.Errorf("token %q", out)
	}
	other.must("check")
	if out := other.must("bugreport"); !strings.Contains(out, `"phase": "online"`) {
		t.Error(out)
	}
	if mode := stat(t, socket).Mode().Perm(); mode != 0o666 {
		t.Errorf("socket with groups has mode %v", mode)
	}
	m.fails(5, "a signet-agent runs on this device", "stop the running", "unenroll", "--state", dir, "--name", "lamp-1")
}

func stat(t *testing.T, path string) os.FileInfo {
	t.Helper()
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	return info
}

// Secrets of a device never show in what any command prints, but for token itself.
func TestNoSecretIsPrinted(t *testing.T) {
	b, m, dir := newBroker(t), &machine{t: t}, folder(t)
	m.must(enrollArgs(b, dir, "--ca", b.ca(t))...)
	stop := m.start(filepath.Join(dir, socketName), "--state", dir)
	other := &machine{t: t}
	access := strings.TrimSpace(other.must("token", "--state", dir, "--format", "cwt"))
	id := strings.TrimSpace(other.must("token", "--state", dir, "--type", "id"))
	other.said.Reset()
	for _, args := range [][]string{{"status"}, {"status", "-o", "json"}, {"check"}, {"bugreport"}} {
		other.must(append(args, "--state", dir)...)
	}
	b.disabled.Store(true)
	b.mqtt.HangUp()
	for range 400 {
		if _, out, _ := other.run("status", "--state", dir); strings.Contains(out, "disabled") {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	other.fails(3, "disabled", "", "token", "--state", dir)
	other.must("bugreport", "--state", dir)
	stop()
	other.must("bugreport", "--state", dir)
	m.run("check", "--state", dir)
	said := m.said.String() + other.said.String()
	if !strings.Contains(said, "phase=disabled") {
		t.Error("the log does not tell that the device was disabled")
	}
	view, err := keyfile.View(dir)
	if err != nil {
		t.Fatal(err)
	}
	r, err := view.Load(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(mustRead(t, filepath.Join(dir, "device.key")))
	for what, secret := range map[string][]byte{"key": block.Bytes[len(block.Bytes)/3:], "refresh token": r.Refresh} {
		for _, text := range []string{string(secret), hex.EncodeToString(secret), base64.RawURLEncoding.EncodeToString(secret), base64.RawStdEncoding.EncodeToString(secret)} {
			if strings.Contains(said, text) {
				t.Errorf("the %s was printed", what)
			}
		}
	}
	for what, text := range map[string]string{"enrollment token": b.Token.Reveal(), "access token": access, "ID token": id, "PEM": "PRIVATE KEY"} {
		if strings.Contains(said, text) {
			t.Errorf("the %s was printed", what)
		}
	}
}

// TestCredentialsMQTT: a program is given all that it connects with, by the running agent
// or without one, in three forms.
func TestCredentialsMQTT(t *testing.T) {
	b, m, dir := newBroker(t), &machine{t: t}, folder(t)
	m.must(enrollArgs(b, dir, "--ca", b.ca(t))...)
	other := &machine{t: t}
	for _, running := range []bool{false, true} {
		if running {
			defer m.start(filepath.Join(dir, socketName), "--state", dir)()
		}
		var l MQTTLogin
		if err := json.Unmarshal([]byte(other.must("credentials", "mqtt", "--state", dir, "-o", "json")), &l); err != nil {
			t.Fatal(err)
		}
		if "mqtts://"+l.Host+":"+l.Port != b.url || l.UserName != "demo:lamp-1" || !strings.HasPrefix(l.ClientID, l.UserName+"/") || l.Life < 60 || len(l.Password) < 100 {
			t.Errorf("running %v: %+v", running, l)
		}
		// A password is no proof: who asks for one is told when somebody else would see it.
		if _, _, errs := other.run("credentials", "mqtt", "--state", dir); l.Relayed || errs != "" {
			t.Errorf("running %v: whom the password is shown to: %v, %q", running, l.Relayed, errs)
		}
		b.Relays.Store(!running) // a running agent has one still
		_, over, errs := other.run("credentials", "mqtt", "--state", dir, "-o", "json")
		if relayed := strings.Contains(over, `"relayed": true`); relayed == running || relayed != strings.Contains(errs, "warning: TLS at localhost ends in somebody") {
			t.Errorf("running %v, over a relay: %s%s", running, over, errs)
		}
		b.Relays.Store(false)
		if out := other.must("credentials", "mqtt", "--state", dir, "-o", "password"); strings.ContainsAny(strings.TrimSpace(out), " \n") || len(out) < 100 {
			t.Errorf("running %v: %q", running, out)
		}
		for _, suffix := range []string{"a b", "#", "ü", "a\nb", strings.Repeat("x", 65)} {
			if code, _, _ := other.run("credentials", "mqtt", "--state", dir, "--suffix", suffix); code != 2 {
				t.Errorf("suffix %q: exit %d", suffix, code)
			}
		}
		out := other.must("credentials", "mqtt", "--state", dir, "--suffix", "pump")
		if !strings.Contains(out, "client id  demo:lamp-1/pump\n") || !strings.Contains(out, "user name  demo:lamp-1\n") {
			t.Errorf("running %v: %s", running, out)
		}
	}
	other.fails(2, "credentials mqtt", "", "credentials")
	other.fails(2, "credentials mqtt", "", "credentials", "x509")
	other.fails(2, "want text, json or password", "", "credentials", "mqtt", "--state", dir, "-o", "yaml")
}

// TestFilesOfAnotherDevice: whatever file of the folder is another device's, or is missing
// since half a copy was put back, is named, with what to do; status tells without the broker
// what it can.
func TestFilesOfAnotherDevice(t *testing.T) {
	b, m := newBroker(t), &machine{t: t}
	mine, other := folder(t), folder(t)
	m.must(enrollArgs(b, mine, "--ca", b.ca(t))...)
	m.must(append(enrollArgs(b, other, "--ca", b.ca(t)), "--name", "lamp-2")...)
	for _, c := range []struct {
		file, from string // from is "" for a file that is missing
		code       exit.Code
		says, hint string
		status     string // of a stopped agent, if it succeeds
	}{
		{"device.key", other, exit.Refused, "the device's key is not the one that it was let in with", "put back the device.key of demo:lamp-1, from the same copy", "cannot log in: the device's key is not the one"},
		{"state", other, exit.Conflict, "state belongs to another device: demo:lamp-2, not demo:lamp-1", "each device has a folder of its own", ""},
		{settingsName, other, exit.Conflict, "state belongs to another device: demo:lamp-1, not demo:lamp-2", "each device has a folder of its own", ""},
		{"device.key", "", exit.NotFound, "its key is gone", "restore device.key", "cannot log in: the device has enrolled but its key is gone"},
		{settingsName, "", exit.NotFound, "the state of one is there, and no agent.json", "put agent.json back", ""},
	} {
		path := filepath.Join(mine, c.file)
		right := mustRead(t, path)
		err := os.Remove(path)
		if err == nil && c.from != "" {
			err = os.WriteFile(path, mustRead(t, filepath.Join(c.from, c.file)), 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
		for _, command := range []string{"check", "token"} {
			m.fails(int(c.code), c.says, c.hint, command, "--state", mine)
		}
		if c.status != "" {
			if out := m.must("status", "--state", mine); !strings.Contains(out, c.status) {
				t.Errorf("another %s: status: %s", c.file, out)
			}
		}
		if c.code == exit.Refused { // an agent runs in spite of it: the same is said of it and by it
			runs := &machine{t: t}
			stop := runs.startUntil("refused", filepath.Join(mine, socketName), "--state", mine)
			m.fails(int(c.code), c.says, c.hint, "token", "--state", mine)
			m.fails(int(c.code), c.says, c.hint, "check", "--state", mine)
			if out := m.must("status", "--state", mine); !strings.Contains(out, c.says) {
				t.Errorf("another %s: status of one that runs: %s", c.file, out)
			}
			stop()
		}
		if err := os.WriteFile(path, right, 0o600); err != nil {
			t.Fatal(err)
		}
		m.must("check", "--state", mine)
		if out := m.must("status", "--state", mine); strings.Contains(out, "cannot") {
			t.Errorf("%s is back: %s", c.file, out)
		}
	}
}
