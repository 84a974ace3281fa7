package test

import (
	"bytes"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/signetd/signet/protocol/exit"
)

// gosWords are what Go's libraries say of faults and what no user should have to read.
var gosWords = regexp.MustCompile(`strconv\.|invalid syntax|dial tcp|dial unix|\blookup \S+ on |i/o timeout|context (deadline exceeded|canceled)|` +
	`(^|: )(open|read|stat|lstat|mkdir|connect|bind|exec|x509|tls|json|yaml|net/http|http|asn1|pem): |\bEOF\b|%!|\bnil\b|goroutine|panic|` +
	`time: |parsing time|invalid duration|flag provided|looking for beginning|unexpected end of JSON|unmarshal|fork/exec|<nil>|\[\]string|map\[`)

// twice finds a part of a message that is said again at once.
func twice(line string) bool {
	parts := strings.Split(line, ": ")
	for i := 1; i < len(parts); i++ {
		if parts[i] == parts[i-1] || strings.HasSuffix(parts[i-1], " "+parts[i]) {
			return true
		}
	}
	return false
}

// A stage is where faults are tried: a broker, a folder and the environment of who types.
type stage struct {
	bin, dir, mqtt, https string
	env                   []string
}

// newStage starts a development broker on free ports.
func newStage(t *testing.T) *stage {
	t.Helper()
	s := &stage{bin: programs(t), dir: t.TempDir(), mqtt: free(t), https: free(t)}
	var log bytes.Buffer
	cmd := exec.Command(filepath.Join(s.bin, "signetd"), "serve", "--dev", "--data", filepath.Join(s.dir, "dev"),
		"--listen-mqtt", s.mqtt, "--listen-https", s.https, "--listen-health", free(t))
	cmd.Stdout, cmd.Stderr, cmd.Env = &log, &log, []string{"HOME=" + s.dir, "PATH=" + os.Getenv("PATH")}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(os.Interrupt)
		_ = cmd.Wait()
	})
	var raw []byte
	for range 600 {
		var err error
		if raw, err = os.ReadFile(filepath.Join(s.dir, "dev", "dev.env")); err == nil {
			if conn, err := net.Dial("tcp", s.https); err == nil {
				_ = conn.Close()
				break
			}
		}
		time.Sleep(50 * time.Millisecond)
	}
	if raw == nil {
		t.Fatalf("the broker does not come up: %s", &log)
	}
	s.env = append(strings.Fields(string(raw)), "HOME="+s.dir, "PATH="+s.bin+":"+os.Getenv("PATH"), "XDG_RUNTIME_DIR="+s.dir)
	return s
}

func free(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	return ln.Addr().String()
}

// run types a line, in which quoted words may have spaces.
func (s *stage) run(t *testing.T, line string) (code int, out, errs string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "sh", "-c", line)
	var o, e bytes.Buffer
	cmd.Dir, cmd.Env, cmd.Stdout, cmd.Stderr = s.dir, s.env, &o, &e
	err := cmd.Run()
	var left *exec.ExitError
	if err != nil && !errors.As(err, &left) {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), o.String(), e.String()
}

// TestFaultsAreSaidPlainly: faults that people make, typed at the real programs. Each exits
// with the code of the one table, and says in a line what is wrong and in another what to do,
// none of it in the words of Go's libraries and none twice.
func TestFaultsAreSaidPlainly(t *testing.T) {
	if testing.Short() {
		t.Skip("types a hundred lines")
	}
	s := newStage(t)
	for _, line := range []string{
		"signet-agent enroll --name lamp-1", "signet pool create other", "printf '{' > bad.json", "printf ':\\n  - x: [' > bad.yaml", "mkdir folder; touch empty",
		"signet-agent key --state other-key > other.jwk", "signetd init --data made", "head -c 100 /dev/urandom > random", "signet-agent token --name lamp-1 > token",
	} {
		if code, out, errs := s.run(t, line); code != 0 {
			t.Fatalf("%s: exit %d\n%s%s", line, code, out, errs)
		}
	}
	closed, broker := free(t), "--broker mqtts://localhost"+s.mqtt[strings.LastIndex(s.mqtt, ":"):]
	for _, c := range []struct {
		code exit.Code
		line string
	}{
		{exit.Usage, "signet pool"},
		{exit.Usage, "signet polo"},
		{exit.Usage, "signet help polo"},
		{exit.Usage, "signetd help polo"},
		{exit.Usage, "firmware-sim help polo"},
		{exit.Usage, "signet-agent help polo"},
		{exit.Usage, "signet apply settings.yaml"},
		{exit.Usage, "signet device list --count=perhaps"},
		{exit.Usage, "signet audit list --limit many"},
		{exit.Usage, "signet audit list --limit 99999999999999999999999"},
		{exit.Usage, "signet audit list --since yesterday"},
		{exit.Usage, "signet token verify --leeway long --format jws --key jwks.json < token"},
		{exit.Usage, "signet token verify --format jws --key none < token"},
		{exit.Usage, "signet token verify --format jws --key folder < token"},
		{exit.Failed, "signet token verify --format jws --key bad.json < token"},
		{exit.Failed, "signet token inspect random"},
		{exit.NotFound, "signet token inspect none"},
		{exit.Failed, "signet token inspect folder"},
		{exit.Unavailable, "signet status --server https://" + closed},
		{exit.Unavailable, "signet status --server https://signet.invalid"},
		{exit.Unavailable, "signet status --server https://localhost" + s.mqtt[strings.LastIndex(s.mqtt, ":"):]},
		{exit.Usage, "signet status --server localhost"},
		{exit.Usage, "signet status --server 'https://a b'"},
		{exit.Refused, "env -u SIGNET_CA signet status"},
		{exit.Refused, "env -u SIGNET_CA signet status --ca-fingerprint " + strings.Repeat("00", 32)},
		{exit.Refused, "signet status --token sgnt_x"},
		{exit.Usage, "env -u SIGNET_TOKEN signet status --token-file random"},
		{exit.NotFound, "env -u SIGNET_TOKEN signet status --token-file none"},
		{exit.Failed, "env -u SIGNET_TOKEN signet status --token-file folder"},
		{exit.NotFound, "env -u SIGNET_CA signet status --ca none"},
		{exit.Usage, "signet status --ca bad.json"},
		{exit.NotFound, "signet status --profile none"},
		{exit.NotFound, "signet device show nobody"},
		{exit.NotFound, "signet device list --pool none"},
		{exit.Usage, "signet device create 'la mp'"},
		{exit.Usage, "signet device create lämp"},
		{exit.NotFound, "signet device create x --key none"},
		{exit.Usage, "signet device create x --key random"},
		{exit.Usage, "signet device create x --key empty"},
		{exit.Conflict, "signet pool create other"},
		{exit.Conflict, "signet pool delete demo"},
		{exit.Usage, "signet apply -f bad.yaml"},
		{exit.NotFound, "signet apply -f none"},
		{exit.Failed, "signet apply -f folder"},
		{exit.Usage, "signet diff -f none"},
		{exit.Usage, "signet enrollment create --expires 1x"},
		{exit.Usage, "signet enrollment create --uses -1"},
		{exit.Usage, "signet client create x --max-sessions 1e9"},
		{exit.Failed, "signet pool list > /dev/full"},
		{exit.Usage, "env -u SIGNET_TOKEN signet login < /dev/null"},
		{exit.Usage, "env HOME= SIGNET_TOKEN= signet status"},

		{exit.Usage, "signet-agent"},
		{exit.Usage, "signet-agent enroll --colour"},
		{exit.Usage, "signet-agent enroll --wait=perhaps"},
		{exit.Usage, "signet-agent enroll --name 'la mp'"},
		{exit.Usage, "signet-agent enroll --name x --token nonsense"},
		{exit.NotFound, "signet-agent enroll --name x --token @none"},
		{exit.Failed, "signet-agent enroll --name x --token @folder"},
		{exit.Usage, "signet-agent enroll --name x --token $SIGNET_TOKEN"},
		{exit.Usage, "signet-agent enroll --name x --broker http://h"},
		{exit.Usage, "signet-agent enroll --name x --broker 'mqtts://a b'"},
		{exit.Usage, "signet-agent enroll --name x --broker mqtts://h:port"},
		{exit.Unavailable, "signet-agent enroll --name x --broker mqtts://" + closed},
		{exit.Unavailable, "signet-agent enroll --name x --broker mqtts://signet.invalid"},
		{exit.Unavailable, "signet-agent enroll --name x " + strings.Replace(broker, "mqtts", "wss", 1)},
		{exit.Refused, "env -u SIGNET_CA signet-agent enroll --name x"},
		{exit.Refused, "env -u SIGNET_CA signet-agent enroll --name x --ca-fingerprint " + strings.Repeat("00", 32)},
		{exit.Usage, "env -u SIGNET_CA signet-agent enroll --name x --ca-fingerprint 12"},
		{exit.NotFound, "signet-agent enroll --name x --ca none"},
		{exit.Usage, "signet-agent enroll --name x --ca bad.json"},
		{exit.Usage, "chmod 600 random; signet-agent enroll --name x --psk-file random"},
		{exit.Failed, "signet-agent enroll --name x --psk-file bad.json"},
		{exit.Refused, "env -u SIGNET_ENROLLMENT signet-agent enroll --name y --anchor " + strings.Repeat("ab", 16)},
		{exit.Conflict, "signet-agent enroll --name lamp-1 --state again"},
		{exit.Refused, "signet-agent token --name lamp-1 --audience nope"},
		{exit.NotFound, "signet-agent token --name nobody"},
		{exit.Usage, "signet-agent answer - --name lamp-1 <&-"},
		{exit.Usage, "signet-agent enroll --name x --state empty"},
		{exit.NotFound, "signet-agent answer 1 --name lamp-1"},
		{exit.Failed, "signet-agent token --name lamp-1 > /dev/full"},
		{exit.Usage, "signet-agent run --name lamp-1 --group staff"},
		{exit.NotFound, "signet-agent run --name lamp-1 --socket none/s"},
		{exit.NotFound, "signet-agent status --state empty/x"},

		{exit.Usage, "signetd serve --nope"},
		{exit.NotFound, "signetd serve --data none"},
		{exit.NotFound, "signetd check-config --config none"},
		{exit.Failed, "signetd check-config --config folder"},
		{exit.Usage, "signetd check-config --config bad.yaml"},
		{exit.Conflict, "signetd init --data made"},
		{exit.NotFound, "signetd operator list --data none"},
		{exit.Usage, "signetd operator create NO --data made"},
		{exit.Usage, "signetd operator create x --expires long --data made"},
		{exit.NotFound, "signetd backup --data none b.tar"},
		{exit.Conflict, "signetd backup --data made empty"},
		{exit.NotFound, "signetd ca show --data none"},
		{exit.NotFound, "signetd ca renew --data none"},
		{exit.NotFound, "signetd restore --data new none.tar"},
		{exit.Failed, "signetd restore --data new random"},
		{exit.Conflict, "signetd serve --data made --listen-https " + s.https},
		{exit.Conflict, "signetd serve --data dev --listen-https 127.0.0.1:0 --listen-mqtt 127.0.0.1:0 --listen-health 127.0.0.1:0"},
		{exit.Usage, "SIGNET_LOG_LEVEL=loud signetd check-config"},

		{exit.Usage, "firmware-sim"},
		{exit.Usage, "firmware-sim run --devices many"},
		{exit.Usage, "firmware-sim run --devices 99999999999999999999999"},
		{exit.Usage, "firmware-sim run --timeout soon"},
		{exit.Usage, "firmware-sim run --rate fast"},
		{exit.NotFound, "firmware-sim report none"},
		{exit.Failed, "firmware-sim report empty"},
		{exit.Failed, "firmware-sim run --report folder"},
		{exit.NotFound, "firmware-sim run --report none/r.json"},
		{exit.Failed, "firmware-sim report folder"},
		{exit.Failed, "firmware-sim report bad.json"},
		{exit.NotFound, "firmware-sim run --scenario none"},
		{exit.Usage, "firmware-sim run --scenario bad.json"},
		{exit.NotFound, "firmware-sim run --ca none"},
		{exit.NotFound, "firmware-sim run --token @none"},
		{exit.Unavailable, "firmware-sim run --devices 1 --timeout 2s --faults off --broker mqtts://" + closed},
		{exit.Refused, "env -u SIGNET_CA firmware-sim run --devices 1 --timeout 2s --faults off"},
	} {
		code, out, errs := s.run(t, c.line)
		if code != int(c.code) {
			t.Errorf("%s: exit %d, want %d (%s)\n%s%s", c.line, code, c.code, c.code, out, errs)
		}
		if errs == "" {
			t.Errorf("%s: says nothing", c.line)
		}
		for line := range strings.Lines(errs) {
			line = strings.TrimSpace(line)
			if strings.HasPrefix(line, "time=") {
				continue // the log, which says all it knows
			}
			if found := gosWords.FindString(line); found != "" || twice(line) {
				t.Errorf("%s: %q in: %s", c.line, found, line)
			}
		}
	}
}
