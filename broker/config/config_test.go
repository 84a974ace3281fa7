package config_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/signetd/signet/broker/config"
)

func TestConfigSaysWhereItIsNotUnderstood(t *testing.T) {
	for _, c := range []struct{ name, text, says string }{
		{"mistyped key", "data: a\nlisten:\n  mqt: :1\n", `line 3, column 3: unknown key "mqt", did you mean "mqtt"?`},
		{"mistyped section", "data: a\nlitsen:\n  mqtt: :1\n", `line 2, column 1: unknown key "litsen", did you mean "listen"?`},
		{"key of another section", "listen:\n  level: info\n", `line 2, column 3: unknown key "level" here; it is log.level`},
		{"nothing near", "log:\n  zzzzzzzz: 1\n", `line 2, column 3: unknown key "zzzzzzzz"; there are: format, level`},
		{"wrong type", "data: a\nnames: {a: b}\n", "line 2, column 8: "},
		{"not YAML", "data: [1\nfoo", "line 2, column 1: "},
		{"not a mapping", "hello", "line 1, column 1: "},
		{"twice", "data: a\ndata: b\n", `line 2, column 1: key "data" comes twice; it is on line 1 already`},
		{"two documents", "data: a\n---\nfoo: b\n", "a second YAML document"},
		{"bad network", "hooks:\n  allow: [10.0.0.0/99]\n", "prefix length out of range"},
		{"issuer without https", "issuer: http://signet.example\n", `issuer "http://signet.example": want https://host`},
		{"issuer with a path", "issuer: https://signet.example/x\n", "want https://host"},
		{"address", "listen:\n  mqtt: foo\n", `listen.mqtt "foo": want host:port or :port`},
		{"port", "listen:\n  https: :99999\n", `listen.https ":99999": port "99999" is not a number up to 65535`},
		{"level", "log: {level: loud}\n", `log.level "loud": want debug, info, warn or error`},
		{"format", "log: {format: xml}\n", `log.format "xml": want json or text`},
		{"no data", "data: ''\n", "data: name the folder"},
		{"large", "#" + strings.Repeat("x", 64<<10), "more than 65536 bytes"},
		{"brackets", "names: " + strings.Repeat("[", 2000), "line 1, column 24: nested too deep"},
		{"brackets over lines", "names:\n" + strings.Repeat(" {a:\n", 2000), "line 18, column 2: nested too deep"},
		{"sequences", strings.Repeat("- ", 1000), "line 1, column 33: nested too deep"},
		{"complex keys", strings.Repeat("? ", 1000), "nested too deep"},
		{"indents", "a:\n" + strings.Repeat(" ", 70) + "b: 1\n", "line 2, column 65: nested too deep"},
		{"anchor", "names: &a [x]\n", "line 1, column 8: anchors and aliases"},
		{"alias", "names: [*a]\n", "line 1, column 9: anchors and aliases"},
		{"long line", "data: " + strings.Repeat("x", 5000), "a line of more than 4096 bytes"},
		{"binary", "\x00\x01\x02", ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, err := config.Default().Load(file(t, c.text), nil)
			if !errors.Is(err, config.ErrConfig) || !strings.Contains(err.Error(), c.says) || strings.Contains(err.Error(), "\n") {
				t.Errorf("got %v, want %s", err, c.says)
			}
		})
	}
	if _, err := config.Default().Load(filepath.Join(t.TempDir(), "none.yaml"), nil); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("missing file: got %v", err)
	}
}

// TestAllMistakesInOneRun: what is wrong in the file, in the environment and with values is
// told together, with its place, and what is right is read all the same.
func TestAllMistakesInOneRun(t *testing.T) {
	c, err := config.Default().Load(file(t, `data: kept
issuer: http://x
listen:
  mqt: ":1"
  https: ":8883"
  health: 127.0.0.1:8883
names: {a: b}
limits:
  burst: many
  connections: -1
hooks: {allow: [10.0.0.0/99]}
balancer: yes
log: {level: loud, format: xml, colour: red}
`), map[string]string{"SIGNET_ISSUR": "x", "SIGNET_LIMITS_RATE": "fast", "SIGNET_LIMITS_REFUSALS": "few"})
	var all config.Mistakes
	if !errors.As(err, &all) || !errors.Is(err, config.ErrConfig) {
		t.Fatalf("got %v", err)
	}
	for _, want := range []string{
		`line 4, column 3: unknown key "mqt"`, "line 7, column 8: names: ", "line 9, column 10: limits.burst: ", "hooks.allow: ", "balancer has keys of its own",
		`line 13, column 33: unknown key "colour"`, "SIGNET_ISSUR is not a setting", "SIGNET_LIMITS_RATE: ", "SIGNET_LIMITS_REFUSALS: ", `issuer "http://x"`,
		`listen.https ":8883": listen.mqtt is ":8883"`, `listen.health "127.0.0.1:8883": listen.mqtt is ":8883"`, "limits.connections -1", "log.level", "log.format",
	} {
		if n := strings.Count(err.Error(), want); n != 1 {
			t.Errorf("%q is told %d times", want, n)
		}
	}
	if !strings.Contains(err.Error(), " things are wrong\n") || c.Data != "kept" {
		t.Errorf("data %q, %v", c.Data, err)
	}
}

// TestNumbersAreNumbers: a limit is what was written, or is refused.
func TestNumbersAreNumbers(t *testing.T) {
	for _, text := range []string{"connections: 1.5", "connections: 010", "connections: 0x10", "connections: 60000.9", `connections: "5"`, "connections: 1_000", "connections: 99999999999999999999",
		`rate: "5"`, "rate: .inf", "rate: .nan", "rate: 1e3", "rate: yes"} {
		if _, err := config.Default().Load(file(t, "limits: {"+text+"}\n"), nil); err == nil || !strings.Contains(err.Error(), "line 1, column") {
			t.Errorf("%s: %v", text, err)
		}
	}
	for _, text := range []string{"NaN", "Inf", "-inf", "x", "0x1p4x"} {
		if _, err := config.Default().Load("", map[string]string{"SIGNET_LIMITS_RATE": text}); err == nil || !strings.Contains(err.Error(), "SIGNET_LIMITS_RATE: ") || strings.Contains(err.Error(), "strconv") {
			t.Errorf("%s: %v", text, err)
		}
	}
	c, err := config.Default().Load(file(t, "limits: {connections: 60000, rate: 0.5}\n"), map[string]string{"SIGNET_LIMITS_DEVICE_RATE": "2.5"})
	if err != nil || c.Limits.Connections != 60000 || c.Limits.Rate != 0.5 || c.Limits.DeviceRate != 2.5 {
		t.Errorf("%+v, %v", c.Limits, err)
	}
}

// TestWebOrigins: an origin is what browsers say, or the mistake is told with it.
func TestWebOrigins(t *testing.T) {
	for origin, want := range map[string]string{
		"https://dashboard.example": "", "http://localhost:8080": "", "https://[2001:db8::1]:8443": "", "capacitor://localhost": "",
		"https://dashboard.example/": `browsers write it "https://dashboard.example"`, "https://Dashboard.example": `browsers write it "https://dashboard.example"`,
		"https://dashboard.example:443": `browsers write it "https://dashboard.example"`, "http://x:80/y?z": `browsers write it "http://x"`,
		"dashboard.example": "want scheme://host", "https://*.example": "want scheme://host", "*": "want scheme://host", "null": "want scheme://host", "https://": "want scheme://host",
		"https://me@x.example": "want scheme://host", "https://bücher.example": "want scheme://host", "": "want scheme://host",
	} {
		c := config.Default()
		c.Data, c.MQTT.WebOrigins = t.TempDir(), []string{origin}
		err := c.Check()
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), fmt.Sprintf("mqtt.web_origins %q: %s", origin, want))) {
			t.Errorf("%q: %v, want %q", origin, err, want)
		}
	}
	c, err := config.Default().Load("", map[string]string{"SIGNET_DATA": t.TempDir(), "SIGNET_MQTT_WEB_ORIGINS": "https://a.example,https://b.example"})
	if err != nil || len(c.MQTT.WebOrigins) != 2 {
		t.Errorf("%q, %v", c.MQTT.WebOrigins, err)
	}
}

func TestPortsThatCannotBeShared(t *testing.T) {
	for listen, want := range map[string]bool{
		"mqtt: ':1', https: ':2'": true, "mqtt: ':1', https: ':1'": false, "mqtt: '127.0.0.1:1', https: '127.0.0.2:1'": true, "mqtt: '127.0.0.1:1', https: 'localhost:1'": false,
		"mqtt: '[::]:1', https: '127.0.0.1:1'": false, "mqtt: ':0', https: ':0'": true, "mqtt: ':443', https: ':https'": false, "health: '127.0.0.1:8443'": false,
	} {
		if _, err := config.Default().Load(file(t, "listen: {"+listen+"}\n"), nil); (err == nil) != want {
			t.Errorf("%s: %v", listen, err)
		}
	}
}

func TestEnvironmentIsOverTheFile(t *testing.T) {
	path := file(t, "# ours\ndata: file\nlog: {level: warn}\nlisten: {mqtt: ':1', https: ':2'}\n")
	got, err := config.Default().Load(path, map[string]string{
		"SIGNET_DATA": "env", "SIGNET_LISTEN_HTTPS": ":3", "SIGNET_NAMES": "a.example,b.example", "SIGNET_HOOKS_ALLOW": "10.0.0.0/8,fd00::/8",
		"SIGNET_KEY_FILE": "/k", "SIGNET_TOKEN": "another program's", "SIGNET_CA": "too", "SIGNET_BROKER": "too", "HOME": "/root",
	})
	if err != nil {
		t.Fatal(err)
	}
	if got.Data != "env" || got.Log.Level != "warn" || got.Listen.MQTT != ":1" || got.Listen.HTTPS != ":3" || got.KeyFile != "/k" || len(got.Hooks.Allow) != 2 {
		t.Errorf("got %+v", got)
	}
	if diff := cmp.Diff([]string{"localhost", "a.example", "b.example"}, got.ServerNames()); diff != "" {
		t.Error(diff)
	}
	for name, says := range map[string]string{
		"SIGNET_LISTEN_MQT": "did you mean SIGNET_LISTEN_MQTT?", "SIGNET_ISSUR": "did you mean SIGNET_ISSUER?",
		"SIGNET_LOG_COLOUR": "is not a setting",
	} {
		if _, err := config.Default().Load("", map[string]string{name: "x"}); !errors.Is(err, config.ErrConfig) || !strings.Contains(err.Error(), name+" is not a setting") || !strings.Contains(err.Error(), says) {
			t.Errorf("%s: got %v", name, err)
		}
	}
	if _, err := config.Default().Load("", map[string]string{"SIGNET_HOOKS_ALLOW": "x"}); err == nil || !strings.Contains(err.Error(), "SIGNET_HOOKS_ALLOW: ") {
		t.Errorf("bad value: got %v", err)
	}
}

func TestServerNamesFollowTheIssuer(t *testing.T) {
	c := config.Default()
	c.Issuer = "https://signet.example:8443"
	if diff := cmp.Diff([]string{"signet.example", "localhost", "127.0.0.1"}, c.ServerNames()); diff != "" {
		t.Error(diff)
	}
}

func FuzzConfig(f *testing.F) {
	for _, s := range []string{"", "data: a", "listen:\n  mqt: 1", "log: {level: x}", "a: &a [*a]", "? x\n: y", "data: !!binary aGk="} {
		f.Add(s)
	}
	dir := f.TempDir()
	f.Fuzz(func(t *testing.T, text string) {
		path := filepath.Join(dir, "c.yaml")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := config.Default().Load(path, nil); err != nil && !errors.Is(err, config.ErrConfig) {
			t.Errorf("untyped error %v", err)
		}
	})
}

func file(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "signetd.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
