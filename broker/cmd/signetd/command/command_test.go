package command

import (
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// signetd runs one command line in this process.
func signetd(t *testing.T, environ []string, line string) (code int, out, errs string) {
	t.Helper()
	var stdout, stderr bytes.Buffer
	code = Main(t.Context(), environ, strings.Fields(line), &stdout, &stderr)
	return code, stdout.String(), stderr.String()
}

func TestMistakesSayTheNextStep(t *testing.T) {
	dir := t.TempDir()
	data := filepath.Join(dir, "data")
	if code, out, errs := signetd(t, nil, "init --data "+data); code != 0 || !strings.Contains(out, "sgnt_") || !strings.Contains(out, "signet login --server https://localhost:8443 --ca-fingerprint ") {
		t.Fatalf("init: %d %s %s", code, out, errs)
	}
	typo := filepath.Join(dir, "typo.yaml")
	if err := os.WriteFile(typo, []byte("listen:\n  mqt: :1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		env, line string
		code      int
		says      string
	}{
		{"", "sreve", 2, "did you mean signetd serve?"},
		{"", "sreve --listen-mqtt :1", 2, "did you mean signetd serve?"},
		{"", "operator lits -o json", 2, "did you mean signetd operator list?"},
		{"", "serve extra", 2, "\"extra\" is too many"},
		{"", "serve --nope", 2, "see signetd serve --help"},
		{"", "backup", 2, "signetd backup needs FILE"},
		{"", "operator", 2, "create, delete, list"},
		{"", "operator lits", 2, "did you mean signetd operator list?"},
		{"", "operator create a --expires 1x", 2, "30d"},
		{"", "init --data " + data, 5, "signetd serve --data " + data},
		{"", "serve --data " + filepath.Join(dir, "none"), 4, "signetd init --data"},
		{"", "serve --config " + typo, 2, `line 2, column 3: unknown key "mqt", did you mean "mqtt"?`},
		{"", "serve --dev --config " + typo, 2, "mqtt"},
		{"", "check-config --config " + typo, 2, "mqtt"},
		{"", "check-config --config " + filepath.Join(dir, "none.yaml"), 4, "none.yaml"},
		{"SIGNET_LISTEN_MQT=:1", "check-config", 2, "did you mean SIGNET_LISTEN_MQTT?"},
		{"SIGNET_LOG_LEVEL=loud", "serve --dev", 2, "debug, info, warn or error"},
		{"", "serve --data " + data + " --listen-mqtt foo", 2, "host:port"},
		{"", "operator create ada --expires 0s --data " + data, 2, "signetd: expires: is 0s; leave it out"},
		{"", "operator create NO --data " + data, 2, "signetd: name: expected string to be a-z, 0-9 and -"},
		{"", "operator delete nobody --data " + data, 4, "not found"},
		{"", "backup --data " + dir + " " + filepath.Join(dir, "b.tar"), 4, "say where it is with --data"},
		{"", "restore --data " + data + " " + typo, 5, "not empty"},
		{"", "restore --data " + filepath.Join(dir, "new") + " " + typo, 1, "try another backup"},
	} {
		code, out, errs := signetd(t, []string{c.env}, c.line)
		if code != c.code || !strings.Contains(errs, c.says) || out != "" || !strings.HasPrefix(errs, "signetd: ") {
			t.Errorf("%s signetd %s: exit %d, %q, %q; want %d and %q", c.env, c.line, code, out, errs, c.code, c.says)
		}
	}
}

func TestFlagsBeforeEnvironmentBeforeFile(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "signetd.yaml")
	if err := os.WriteFile(file, []byte("data: from-file\nlisten: {mqtt: ':1', https: ':2', health: ':3'}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	o := &options{file: file, mqtt: ":31", environ: map[string]string{"SIGNET_LISTEN_MQTT": ":21", "SIGNET_LISTEN_HTTPS": ":22"}}
	got, err := o.devConfig()
	if err != nil {
		t.Fatal(err)
	}
	if got.Data != "from-file" || got.Listen.MQTT != ":31" || got.Listen.HTTPS != ":22" || got.Listen.Health != ":3" || got.Issuer != "https://localhost:22" {
		t.Errorf("got %+v", got)
	}
}

// TestEveryCommandHelpsItself: each command has an example.
// Devices are told that the broker's log says why they were refused: in development,
// too, it does.
func TestDevelopmentLogsRefusals(t *testing.T) {
	cfg, err := (&options{}).devConfig()
	if err != nil || cfg.Log.Level != "info" {
		t.Errorf("level %q, %v", cfg.Log.Level, err)
	}
}

func TestEveryCommandHelpsItself(t *testing.T) {
	for _, line := range []string{"serve", "init", "check-config", "backup", "restore", "operator create", "operator list", "operator delete", "version"} {
		if code, out, _ := signetd(t, nil, line+" --help"); code != 0 || !strings.Contains(out, "Examples:\n  signetd "+line) {
			t.Errorf("%s: exit %d, %s", line, code, out)
		}
	}
	for _, line := range []string{"completion bash", "completion zsh", "completion fish", "version", "--version", "", "check-config"} {
		if code, out, errs := signetd(t, nil, line); code != 0 || out == "" {
			t.Errorf("%s: exit %d, %s", line, code, errs)
		}
	}
}

// TestBackUpAndBack is the whole way by command line: a data folder, its backup, and
// another folder with the same operators.
func TestBackUpAndBack(t *testing.T) {
	dir := t.TempDir()
	data, again, tar := filepath.Join(dir, "data"), filepath.Join(dir, "again"), filepath.Join(dir, "b.tar")
	for _, line := range []string{
		"init --data " + data, "operator create ada --expires 30d --data " + data, "backup --data " + data + " " + tar, "restore --data " + again + " " + tar,
	} {
		if code, _, errs := signetd(t, nil, line); code != 0 {
			t.Fatalf("%s: %s", line, errs)
		}
	}
	if _, out, _ := signetd(t, nil, "operator list --data "+again); strings.Count(out, "\n") != 3 || !strings.Contains(out, "\nada  ") || !strings.Contains(out, "\nadmin  ") {
		t.Errorf("got %s", out)
	}
}

func TestQuotedForAShell(t *testing.T) {
	for in, want := range map[string]string{"/a/b.pem": "/a/b.pem", "/a b": "'/a b'", "/it's": `'/it'\''s'`, "/$(x)": "'/$(x)'"} {
		if got := quoted(in); got != want {
			t.Errorf("%s: got %s", in, got)
		}
	}
}

// TestOperatorsWhileNobodyServes: the commands open the data folder by themselves, and
// say so when there is none.
func TestOperatorsWhileNobodyServes(t *testing.T) {
	data := filepath.Join(t.TempDir(), "data")
	do := func(line string, want int, says string) string {
		t.Helper()
		var out, errs bytes.Buffer
		if code := Main(t.Context(), nil, append(strings.Fields(line), "--data", data), &out, &errs); code != want || !strings.Contains(out.String()+errs.String(), says) {
			t.Errorf("%s: exit %d, %s%s; want %d and %q", line, code, &out, &errs, want, says)
		}
		return out.String()
	}
	do("operator list", 4, "there is no store in "+data)
	if err := os.Symlink(data, data); err != nil {
		t.Fatal(err)
	}
	do("backup "+filepath.Join(t.TempDir(), "b"), 1, "too many levels of symbolic links") // what cannot be looked at may have a store
	do("operator list", 6, "signetd on this machine is not reached: "+data)
	if err := os.Remove(data); err != nil {
		t.Fatal(err)
	}
	do("init", 0, "made "+data)
	if got := do("operator create ada --expires 1h", 0, "the token is shown only now"); !strings.HasPrefix(got, "sgnt_") {
		t.Errorf("standard output: %q", got)
	}
	do("operator create ada", 5, "operator ada: already exists")
	do("operator list", 0, "ada")
	do("operator delete ../store", 4, "signetd: ")
	do("operator delete ada", 0, "has no access any more")
	do("operator delete ada", 4, "not found")
	if got := do("operator list", 0, "admin"); strings.Contains(got, "ada") || strings.Contains(got, "sgnt_") {
		t.Errorf("list: %s", got)
	}
}

// TestBackupOfFilesThatDoNotFit: no backup is made that nobody could restore, also while
// signetd runs with the right key in memory; and of an authority whose halves do not fit it is
// said. Where the key is kept apart, restoring with another one blames the key.
func TestBackupOfFilesThatDoNotFit(t *testing.T) {
	dir := t.TempDir()
	one, other := filepath.Join(dir, "one"), filepath.Join(dir, "other")
	for _, data := range []string{one, other} {
		if code, _, errs := signetd(t, nil, "init --data "+data); code != 0 {
			t.Fatal(errs)
		}
	}
	swap := func(name string) (back func()) {
		mine, err := os.ReadFile(filepath.Join(one, name))
		theirs, err2 := os.ReadFile(filepath.Join(other, name))
		if err := errors.Join(err, err2, os.WriteFile(filepath.Join(one, name), theirs, 0o600)); err != nil {
			t.Fatal(err)
		}
		return func() {
			if err := os.WriteFile(filepath.Join(one, name), mine, 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	file := filepath.Join(dir, "b.tar")
	refused := func(when string) {
		back := swap("signet.key")
		defer back()
		code, out, errs := signetd(t, nil, "backup --data "+one+" "+file)
		if _, err := os.Stat(file); code != 1 || out != "" || !strings.Contains(errs, "does not open the secrets") || !strings.Contains(errs, "key_file") || err == nil {
			t.Errorf("%s: %d %q %q, file: %v", when, code, out, errs, err)
		}
	}
	refused("stopped")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan int, 1)
	go func() {
		ended <- Main(ctx, nil, strings.Fields("serve --listen-mqtt 127.0.0.1:0 --listen-https 127.0.0.1:0 --listen-health 127.0.0.1:0 --data "+one), io.Discard, io.Discard)
	}()
	for range 500 {
		if _, err := os.Stat(filepath.Join(one, "control.sock")); err == nil {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	refused("running")
	cancel()
	if code := <-ended; code != 0 {
		t.Fatalf("serve: %d", code)
	}
	for _, name := range []string{"intermediate.key", "intermediate.pem", "root.pem"} {
		back := swap(filepath.Join("ca", name))
		code, _, errs := signetd(t, nil, "backup --data "+one+" "+filepath.Join(dir, name+".tar"))
		back()
		if code != 0 || !strings.Contains(errs, "warning: opening the certificate authority") {
			t.Errorf("another %s: %d %q", name, code, errs)
		}
		code, _, errs = signetd(t, nil, "restore --data "+filepath.Join(dir, "restored-"+name)+" "+filepath.Join(dir, name+".tar"))
		if code != 0 || !strings.Contains(errs, "warning: opening the certificate authority") {
			t.Errorf("another %s restored: %d %q", name, code, errs)
		}
	}
	back := swap(filepath.Join("ca", "root.key"))
	code, _, errs := signetd(t, nil, "ca renew --data "+one)
	back()
	if code != 1 || !strings.Contains(errs, "root.pem and root.key do not belong together") || !strings.Contains(errs, "put back the file") {
		t.Errorf("renewed with another root's key: %d %q", code, errs)
	}
	code, _, errs = signetd(t, nil, "ca renew --data "+one+" --ca-root-key "+filepath.Join(other, "ca", "root.key"))
	if code != 1 || !strings.Contains(errs, "the brought root and its key do not belong together") || !strings.Contains(errs, "or bring the right one") {
		t.Errorf("renewed with another root's key, brought: %d %q", code, errs)
	}
	away := filepath.Join(dir, "key")
	if err := os.Rename(filepath.Join(one, "signet.key"), away); err != nil {
		t.Fatal(err)
	}
	if code, out, errs := signetd(t, []string{"SIGNET_KEY_FILE=" + away}, "backup --data "+one+" "+file); code != 0 || errs != "" || !strings.Contains(out, "is not in it") {
		t.Fatalf("key apart: %d %q %q", code, out, errs)
	}
	if code, _, errs := signetd(t, []string{"SIGNET_KEY_FILE=" + away + "x"}, "backup --data "+one+" "+file+"x"); code != 0 || !strings.Contains(errs, "was not looked at") {
		t.Errorf("key apart and not there: %d %q", code, errs)
	}
	code, _, errs = signetd(t, []string{"SIGNET_KEY_FILE=" + filepath.Join(other, "signet.key")}, "restore --data "+filepath.Join(dir, "third")+" "+file)
	if code != 1 || !strings.Contains(errs, "the key does not open the secrets of the store in "+file) || !strings.Contains(errs, "SIGNET_KEY_FILE") {
		t.Errorf("restored with another key: %d %q", code, errs)
	}
}

// TestDataInEveryForm: what signetd shows as data comes in the forms that signet gives it in.
func TestDataInEveryForm(t *testing.T) {
	data := filepath.Join(t.TempDir(), "data")
	if code, _, errs := signetd(t, nil, "init --data "+data); code != 0 {
		t.Fatal(errs)
	}
	for _, line := range []string{"operator list", "operator create ada --expires 1h", "ca show"} {
		for _, form := range []string{"json", "yaml", "csv", "table"} {
			code, out, errs := signetd(t, nil, line+" -o "+form+" --data "+data)
			if code != 0 {
				t.Fatalf("%s -o %s: %d %s", line, form, code, errs)
			}
			if line == "operator create ada --expires 1h" {
				if code, _, errs := signetd(t, nil, "operator delete ada --data "+data); code != 0 {
					t.Fatal(errs)
				}
			}
			var v any
			if err := json.Unmarshal([]byte(out), &v); (err == nil) != (form == "json") {
				t.Errorf("%s -o %s: %s", line, form, out)
			}
			rows, err := csv.NewReader(strings.NewReader(out)).ReadAll()
			if form == "csv" && (err != nil || len(rows) < 2 || strings.ToUpper(rows[0][0]) != rows[0][0]) {
				t.Errorf("%s -o csv: %v %s", line, err, out)
			}
			if form == "yaml" && !strings.Contains(out, ": ") {
				t.Errorf("%s -o yaml: %s", line, out)
			}
		}
		if code, out, errs := signetd(t, nil, line+" -o xml --data "+data); code != 2 || out != "" || !strings.Contains(errs, "want table, json, yaml or csv") {
			t.Errorf("%s -o xml: %d %s", line, code, errs)
		}
	}
}

// TestKeyOfAnotherFolder: it names the key and the store that do not belong together, and
// what to do about it.
func TestKeyOfAnotherFolder(t *testing.T) {
	dir := t.TempDir()
	one, other := filepath.Join(dir, "one"), filepath.Join(dir, "other")
	for _, data := range []string{one, other} {
		if code, _, errs := signetd(t, nil, "init --data "+data); code != 0 {
			t.Fatal(errs)
		}
	}
	raw, err := os.ReadFile(filepath.Join(other, "signet.key"))
	if err == nil {
		err = os.WriteFile(filepath.Join(one, "signet.key"), raw, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{"check-config --data " + one, "operator list --data " + one, "serve --listen-mqtt 127.0.0.1:0 --listen-https 127.0.0.1:0 --listen-health 127.0.0.1:0 --data " + one} {
		code, out, errs := signetd(t, nil, line)
		want := "signetd: " + filepath.Join(one, "signet.key") + " does not open the secrets in " + filepath.Join(one, "signet.db") + ": it is the key of another folder, or one of the two is damaged\n  put back the key that belongs to it"
		if code != 1 || out != "" || !strings.Contains(errs, want) {
			t.Errorf("%s: exit %d, %q, want %q", line, code, errs, want)
		}
	}
}
