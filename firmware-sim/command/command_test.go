package command

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/signetd/signet/agent"
	"github.com/signetd/signet/firmware-sim/fault"
	"github.com/signetd/signet/firmware-sim/firmware"
	"github.com/signetd/signet/firmware-sim/firmwaretest"
	"github.com/signetd/signet/firmware-sim/fleet"
	"github.com/signetd/signet/protocol"
	"github.com/signetd/signet/protocol/ident"
	"github.com/signetd/signet/protocol/ident/identtest"
)

func TestMistakes(t *testing.T) {
	folder := t.TempDir()
	bad := filepath.Join(folder, "bad.json")
	if err := os.WriteFile(bad, []byte(`{"name":"x","steps":[{"do":"enroll"}],"colour":1}`), 0o600); err != nil {
		t.Fatal(err)
	}
	broker := "--broker=mqtts://localhost:1"
	for name, tt := range map[string]struct {
		args []string
		code int
		says string
	}{
		"nothing":          {nil, 2, "report"},
		"unknown command":  {[]string{"dance"}, 2, `no command "dance"`},
		"unknown flag":     {[]string{"run", "--colour"}, 2, "colour"},
		"no broker":        {[]string{"run", "--broker="}, 2, "--broker"},
		"no devices":       {[]string{"run", broker, "--devices=0"}, 2, "--devices 0"},
		"no concurrency":   {[]string{"run", broker, "--concurrency=0"}, 2, "--concurrency"},
		"bad pool":         {[]string{"run", broker, "--pool=De mo"}, 2, "--pool"},
		"bad prefix":       {[]string{"run", broker, "--prefix=a/b"}, 2, "--prefix"},
		"bad key":          {[]string{"run", broker, "--key=rsa"}, 2, "--key"},
		"bad faults":       {[]string{"run", broker, "--faults=2"}, 2, "--faults"},
		"faults NaN":       {[]string{"run", broker, "--faults=NaN"}, 2, "--faults"},
		"storm with rate":  {[]string{"run", broker, "--scenario=storm", "--rate=5"}, 2, "storm has no rate"},
		"no scenario file": {[]string{"run", broker, "--scenario=" + folder + "/none"}, 4, "neither steady nor storm"},
		"bad scenario":     {[]string{"run", broker, "--scenario=" + bad}, 2, "colour"},
		"no token":         {[]string{"run", broker}, 2, "--token"},
		"damaged token":    {[]string{"run", broker, "--token=sgne_abc"}, 2, "copy it again"},
		"extra argument":   {[]string{"run", broker, "storm"}, 2, `"storm"`},
		"report of what":   {[]string{"report"}, 2, "report FILE"},
		"not a report":     {[]string{"report", bad}, 1, "invalid report"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("SIGNET_ENROLLMENT", "")
			var out, log bytes.Buffer
			if code := Main(t.Context(), tt.args, &out, &log); code != tt.code || !strings.Contains(log.String(), tt.says) {
				t.Errorf("code %d, says %q", code, log.String())
			}
			if out.Len() > 0 {
				t.Errorf("on standard output: %s", &out)
			}
		})
	}
}

// Help that was asked for goes to standard output; a flag that does not exist
// costs one line and a hint.
func TestHelp(t *testing.T) {
	for _, args := range [][]string{{"run", "-h"}, {"run", "--help"}, {"report", "-h"}, {"--help"}, {"help"}} {
		var out, log bytes.Buffer
		if code := Main(t.Context(), args, &out, &log); code != 0 || log.Len() > 0 || out.Len() == 0 {
			t.Errorf("%v: code %d, %q, %q", args, code, &out, &log)
		}
	}
	var out, log bytes.Buffer
	if code := Main(t.Context(), []string{"run", "--colour"}, &out, &log); code != 2 || strings.Count(log.String(), "\n") != 2 {
		t.Errorf("code %d, %q", code, &log)
	}
}

func TestTokenAndRootsAreRead(t *testing.T) {
	b, err := firmwaretest.NewBroker()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte(b.Token.Reveal()+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	p := &program{getenv: func(name string) string {
		return map[string]string{"SIGNET_ENROLLMENT": "@" + file, "SIGNET_POOL": "other", "SIGNET_BROKER": "mqtts://h", "SIGNET_CA": "root.pem"}[name]
	}}
	o := &runFlags{pool: "mine"} // a flag goes before its variable
	if o.complete(p); o.pool != "mine" || o.broker != "mqtts://h" || o.ca != "root.pem" {
		t.Errorf("read as %+v", o)
	}
	v, err := o.admission()
	if err != nil || v.Token.Reveal() != b.Token.Reveal() {
		t.Errorf("%v, %v", v, err)
	}
	if _, err := readRoots(file); err == nil || !strings.Contains(err.Error(), "no certificate") {
		t.Error(err)
	}
}

func TestTooFewFiles(t *testing.T) {
	if allowed, err := openFiles(); err != nil || allowed > 1<<40 {
		t.Skip("there is no limit on open files here")
	}
	if err := checkFiles(1 << 41); !errors.Is(err, errNoFiles) {
		t.Error(err)
	}
	if err := checkFiles(1); err != nil {
		t.Error(err)
	}
}

// TestMain is also the program itself, for tests that need a process of their own.
func TestMain(m *testing.M) {
	if args := os.Getenv("FIRMWARE_SIM_TEST_ARGS"); args != "" {
		os.Exit(Main(context.Background(), strings.Fields(args), os.Stdout, os.Stderr))
	}
	os.Exit(m.Run())
}

// A process may have its soft limit raised, and is told when the hard one is too low.
func TestLimitOnOpenFiles(t *testing.T) {
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	b, err := firmwaretest.NewBroker()
	if err != nil {
		t.Fatal(err)
	}
	for limits, want := range map[string]string{
		"ulimit -n 300":                   "firmware-sim: too few open files allowed: 1000 devices need 1064, the limit is ",
		"ulimit -Sn 300; ulimit -Hn 1200": "firmware-sim: the fleet is not all in: time is up", // so it went on
	} {
		cmd := exec.Command("sh", "-c", limits+`; exec "$0"`, self)
		cmd.Env = []string{"FIRMWARE_SIM_TEST_ARGS=run --broker mqtts://localhost:1 --devices 1000 --timeout 1ms", "SIGNET_ENROLLMENT=" + b.Token.Reveal()}
		out, err := cmd.CombinedOutput()
		if err == nil || !strings.Contains(string(out), want) || !strings.Contains(string(out), "hint: ") {
			t.Errorf("%s: %v\n%s\nwant %s", limits, err, out, want)
		}
	}
}

// runFleetWith runs 12 devices against b and gives what was printed.
func runFleetWith(t *testing.T, b *firmwaretest.Broker, file string) (string, error) {
	t.Helper()
	pool := identtest.Pool(t, "demo")
	sc, err := fleet.Builtin(fleet.Storm, 0, 2)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	p := &program{out: &out, err: io.Discard}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	err = p.runFleet(ctx, fleet.Config{
		Pool: pool, Prefix: "sim", Devices: 12, Concurrency: 4, Keys: []firmware.Kind{firmware.Ed25519}, Scenario: sc,
		Faults: fault.Source{Seed: 1}, Voucher: agent.Admission{Token: b.Token}, Dial: b.Dial,
	}, file)
	return out.String(), err
}

func TestRunWritesAReport(t *testing.T) {
	b, err := firmwaretest.NewBroker()
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "report.json")
	said, err := runFleetWith(t, b, file)
	if err != nil || !strings.Contains(said, "all 12 devices authenticated") || !strings.Contains(said, "p99") {
		t.Errorf("%v: %s", err, said)
	}
	var out, log bytes.Buffer
	if code := Main(t.Context(), []string{"report", file}, &out, &log); code != 0 || out.String() != said {
		t.Errorf("run said:\n%s\nreport says (%d):\n%s%s", said, code, &out, &log)
	}
}

func TestRunFailsForADeviceLeftOut(t *testing.T) {
	b, err := firmwaretest.NewBroker()
	if err != nil {
		t.Fatal(err)
	}
	b.Refuse = func(n ident.Name) error {
		if n.String() == "sim-00003" {
			return protocol.CodeDisabled
		}
		return nil
	}
	said, err := runFleetWith(t, b, "")
	if !errors.Is(err, errFleet) || !strings.Contains(said, "1 of 12 devices not authenticated, 1 for no injected reason") || !strings.Contains(said, "sim-00003") {
		t.Errorf("%v: %s", err, said)
	}
}

func TestGroup(t *testing.T) {
	for n, want := range map[int]string{0: "0", 999: "999", 1000: "1,000", 1234567: "1,234,567"} {
		if got := group(n); got != want {
			t.Errorf("%d: %s", n, got)
		}
	}
}
