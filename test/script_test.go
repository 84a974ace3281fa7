package test

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/signetd/signet/broker/mqttd/packet"
)

// programs builds the real programs, once, into a folder.
func programs(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	cmd := exec.Command("go", "build", "-o", dir+string(filepath.Separator),
		"../broker/cmd/signetd", "../broker/cmd/signet", "../agent/cmd/signet-agent", "../firmware-sim/cmd/firmware-sim")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build: %v\n%s", err, out)
	}
	return dir
}

// TestScripts drives the real programs with scripts that a user could type.
func TestScripts(t *testing.T) {
	if _, err := exec.LookPath("mosquitto_sub"); err != nil && os.Getenv("CI") == "true" {
		t.Fatal("mosquitto_sub is not installed (Debian package mosquitto-clients)") // a script would be skipped
	}
	bin := programs(t)
	testscript.Run(t, testscript.Params{
		Dir: "script",
		Setup: func(env *testscript.Env) error {
			env.Setenv("PATH", bin+string(os.PathListSeparator)+os.Getenv("PATH"))
			env.Setenv("HOME", env.WorkDir)
			env.Values[brokerKey{}] = &running{}
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"broker": brokerCommand, "eventually": eventually, "session": sessionCommand},
	})
}

// brokerCommand starts a development broker on free ports: "broker DIR"; or kills
// the one that was started with -9: "broker kill"; or asks it to end: "broker stop".
func brokerCommand(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 1 {
		ts.Fatalf("usage: broker DIR | broker kill | broker stop")
	}
	switch args[0] {
	case "kill":
		endBroker(ts, syscall.SIGKILL)
	case "stop":
		endBroker(ts, syscall.SIGTERM)
	default:
		startBroker(ts, ts.MkAbs(args[0]))
	}
}

type brokerKey struct{}

// running is the broker of one script.
type running struct{ cmd *exec.Cmd }

func endBroker(ts *testscript.TestScript, sig os.Signal) {
	r := brokerOf(ts)
	if r.cmd == nil {
		ts.Fatalf("no broker runs")
	}
	ts.Check(r.cmd.Process.Signal(sig))
	err := r.cmd.Wait()
	r.cmd = nil
	if sig == syscall.SIGTERM {
		ts.Check(err)
	}
}

func startBroker(ts *testscript.TestScript, dir string) {
	ports := make([]any, 3)
	for i, name := range []string{"MQTT_ADDR", "HTTPS_ADDR", "HEALTH_ADDR"} {
		addr := ts.Getenv(name)
		if addr == "" { // the same again after a restart: agents come back to it
			addr = freeAddr(ts)
			ts.Setenv(name, addr)
		}
		ports[i] = addr
	}
	cmd := exec.Command(filepath.Join(strings.SplitN(ts.Getenv("PATH"), string(os.PathListSeparator), 2)[0], "signetd"), "serve", "--dev", "--data", dir,
		"--listen-mqtt", fmt.Sprint(ports[0]), "--listen-https", fmt.Sprint(ports[1]), "--listen-health", fmt.Sprint(ports[2]))
	log, err := os.Create(dir + ".log")
	ts.Check(err)
	cmd.Stdout, cmd.Stderr = log, log
	_ = os.Remove(filepath.Join(dir, "dev.env")) // that of the last start
	ts.Check(cmd.Start())
	r := brokerOf(ts)
	r.cmd = cmd
	ts.Defer(func() {
		if r.cmd != nil {
			_ = r.cmd.Process.Kill()
			_ = r.cmd.Wait()
			r.cmd = nil
		}
	})
	for range 300 {
		if readEnv(ts, filepath.Join(dir, "dev.env")) {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	raw, _ := os.ReadFile(dir + ".log")
	ts.Fatalf("signetd does not start:\n%s", raw)
}

func brokerOf(ts *testscript.TestScript) *running {
	return ts.Value(brokerKey{}).(*running)
}

// readEnv takes over what signetd left for scripts.
func readEnv(ts *testscript.TestScript, path string) bool {
	f, err := os.Open(path)
	if err != nil {
		return false
	}
	defer f.Close()
	found := false
	for s := bufio.NewScanner(f); s.Scan(); {
		if k, v, ok := strings.Cut(s.Text(), "="); ok {
			ts.Setenv(k, v)
			found = k == "SIGNET_ENROLLMENT"
		}
	}
	return found
}

// sessionCommand connects to a session that is to live for some seconds, with the password in the file of
// that name, prints whether there was one, and goes again: "session CLIENT-ID SECONDS".
func sessionCommand(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) != 2 {
		ts.Fatalf("usage: session CLIENT-ID SECONDS")
	}
	seconds, err := strconv.ParseUint(args[1], 10, 32)
	ts.Check(err)
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM([]byte(ts.ReadFile(ts.Getenv("SIGNET_CA"))))
	nc, err := tls.Dial("tcp", ts.Getenv("MQTT_ADDR"), &tls.Config{RootCAs: roots, ServerName: "localhost"})
	ts.Check(err)
	defer nc.Close()
	ts.Check(nc.SetDeadline(time.Now().Add(20 * time.Second)))
	_, err = nc.Write(packet.AppendConnect(nil, &packet.Connect{
		Version: packet.V5, ClientID: args[0], HasUserName: true, UserName: "demo:lamp-1", HasPassword: true, Password: []byte(strings.TrimSpace(ts.ReadFile("password"))),
		HasSessionExpiry: true, SessionExpiry: uint32(seconds), ReceiveMaximum: 1, RequestProblemInformation: true,
	}))
	ts.Check(err)
	var head [2]byte // a CONNACK's length takes one byte
	_, err = io.ReadFull(nc, head[:])
	ts.Check(err)
	body := make([]byte, head[1])
	_, err = io.ReadFull(nc, body)
	ts.Check(err)
	ack, err := packet.ParseConnack(packet.V5, body)
	ts.Check(err)
	if packet.Type(head[0]>>4) != packet.CONNACK || ack.Code != packet.Success {
		ts.Fatalf("packet %#x %v", head[0], ack.Code)
	}
	present := 0
	if ack.SessionPresent {
		present = 1
	}
	_, _ = fmt.Fprintln(ts.Stdout(), "present", present)
	_, err = nc.Write(packet.AppendDisconnect(nil, packet.V5, packet.Disconnect{Code: packet.NormalDisconnection}))
	ts.Check(err)
}

func freeAddr(ts *testscript.TestScript) string {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	ts.Check(err)
	defer ln.Close()
	return ln.Addr().String()
}

// eventually repeats a command until its standard output holds a text, for up to
// ten seconds: "eventually TEXT PROGRAM ARGS...".
func eventually(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: eventually TEXT PROGRAM ARGS...")
	}
	for range 200 {
		_ = ts.Exec(args[1], args[2:]...)
		if strings.Contains(ts.ReadFile("stdout"), args[0]) {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	ts.Fatalf("%q never came; last: %s%s", args[0], ts.ReadFile("stdout"), ts.ReadFile("stderr"))
}
