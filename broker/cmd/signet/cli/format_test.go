package cli_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"
)

// TestEveryVerbObeysTheFormat: what prints a sentence for people prints data for programs, in
// the format asked for, and nothing beside it.
func TestEveryVerbObeysTheFormat(t *testing.T) {
	s := login(t)
	s.ok(t, "pool create demo")
	for _, format := range []string{"json", "yaml", "csv"} {
		s.ok(t, "pool create old")
		s.ok(t, "device create lamp-1 --pool demo")
		s.ok(t, "device create lamp-2 --pool demo")
		s.ok(t, "device totp lamp-1 --pool demo")
		s.ok(t, "group create lab --pool demo")
		s.ok(t, "operator create eve")
		s.env["EDITOR"] = "true"
		for _, c := range []struct{ line, action, kind, name string }{
			{"device sessions revoke lamp-1 --pool demo", "revoke", "sessions", "lamp-1"},
			{"device totp lamp-1 --remove --pool demo", "delete", "totp", "lamp-1"},
			{"group edit lab --pool demo", "unchanged", "group", "lab"},
			{"group delete lab --pool demo", "delete", "group", "lab"},
			{"device delete lamp-1 --pool demo", "delete", "device", "lamp-1"},
			{"device delete lamp-2 --pool demo", "delete", "device", "lamp-2"},
			{"operator delete eve", "delete", "operator", "eve"},
			{"pool delete old", "delete", "pool", "old"},
			{"profile use default", "use", "profile", "default"},
			{"device list --count --pool demo", "", "", ""},
		} {
			r := s.run(t, "", append(strings.Fields(c.line), "-o", format)...)
			if r.code != 0 || r.err != "" {
				t.Errorf("%s -o %s: %+v", c.line, format, r)
			}
			var got map[string]any
			switch format {
			case "json":
				if err := json.Unmarshal([]byte(r.out), &got); err != nil {
					t.Errorf("%s: %v\n%s", c.line, err, r.out)
				}
			case "yaml":
				if err := yaml.Unmarshal([]byte(r.out), &got); err != nil {
					t.Errorf("%s: %v\n%s", c.line, err, r.out)
				}
			case "csv":
				head, row, _ := strings.Cut(r.out, "\n")
				cells := strings.Split(row, ",")
				if c.action == "" {
					if r.out != "COUNT\n0\n" {
						t.Errorf("%s: %q", c.line, r.out)
					}
					continue
				}
				if head != "ACTION,KIND,POOL,NAME,SERVER,PROFILE" || len(cells) != 6 {
					t.Errorf("%s: %q", c.line, r.out)
					continue
				}
				got = map[string]any{"action": cells[0], "kind": cells[1], "name": cells[3], "server": cells[4]}
			}
			if c.action == "" {
				if _, ok := got["count"]; !ok {
					t.Errorf("%s: %v", c.line, got)
				}
				continue
			}
			if got["action"] != c.action || got["kind"] != c.kind || got["name"] != c.name || got["server"] != s.url {
				t.Errorf("%s -o %s: %v", c.line, format, got)
			}
		}
	}
	if r := s.run(t, "", "logout", "-o", "json"); r.code != 0 || !strings.Contains(r.out, `"action": "logout"`) || r.err != "" {
		t.Errorf("%+v", r)
	}
}

// TestWrongTokens: what cannot be an operator's token is named before it is sent anywhere.
func TestWrongTokens(t *testing.T) {
	s := login(t)
	token := func(text string) string {
		file := filepath.Join(t.TempDir(), "token")
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return file
	}
	for text, says := range map[string]string{
		"sgnt_a\nsgnt_b\n":        "has 2 lines or words",
		"# ada's token\nsgnt_a\n": "has 4 lines or words",
		"sgne_a\n":                "is a device's; an operator's begins with sgnt_",
		"sgnt_\xc3\xa4\n":         "has characters that no operator's token has",
		"":                        "holds no token",
	} {
		file := token(text)
		for _, line := range []string{"status", "login"} {
			r := s.run(t, "", line, "--server", s.url, "--ca", s.ca, "--token-file", file)
			if r.code != 2 || !strings.Contains(r.err, "signet: "+file) || !strings.Contains(r.err, says) || text != "" && strings.Count(r.err, "\n") != 2 {
				t.Errorf("%s of %q: %+v, want %q and what to do", line, text, r, says)
			}
		}
	}
	for text, says := range map[string]string{
		s.token + "\n" + s.token + "\n": "standard input has 2 lines or words",
		"\n" + s.token + "\nx\n":        "standard input has 2 lines or words",
		"sgne_a\n":                      "standard input has an enrollment token",
		" \n":                           "standard input holds no token",
	} {
		for _, line := range []string{"login --server " + s.url + " --ca " + s.ca, "login --server " + s.url + " --ca " + s.ca + " --token-file -"} {
			if r := s.run(t, text, strings.Fields(line)...); r.code != 2 || !strings.Contains(r.err, says) || strings.Contains(r.err, s.token) || strings.Count(r.err, "\n") != 2 {
				t.Errorf("%s < %q: %+v, want %q and what to do", line, text, r, says)
			}
		}
	}
	if r := s.run(t, "", "status", "--token", "a b"); r.code != 2 || !strings.Contains(r.err, "--token or SIGNET_TOKEN has 2 lines or words") {
		t.Errorf("%+v", r)
	}
}

// TestAuditIsOfThePool: it works in the pool of the variable or profile as all else does.
func TestAuditIsOfThePool(t *testing.T) {
	s := login(t)
	s.ok(t, "pool create demo")
	s.ok(t, "pool create other")
	s.env["SIGNET_POOL"] = "other"
	of := func(line string) string { return s.ok(t, "audit list -o csv "+line) }
	if out := of(""); !strings.Contains(out, "other:default") || strings.Contains(out, "demo:default") {
		t.Errorf("of the variable's pool: %s", out)
	}
	if out := of("--pool demo"); !strings.Contains(out, "demo:default") || strings.Contains(out, "other:default") {
		t.Errorf("of the flag's pool: %s", out)
	}
	for _, line := range []string{"--pool=", "--profile default"} {
		if out := of(line); !strings.Contains(out, "demo:default") || !strings.Contains(out, "other:default") {
			t.Errorf("%s: of all: %s", line, out)
		}
	}
	delete(s.env, "SIGNET_POOL")
	s.ok(t, "profile use default --pool demo")
	if out := of(""); !strings.Contains(out, "demo:default") || strings.Contains(out, "other:default") {
		t.Errorf("of the profile's pool: %s", out)
	}
	if r := s.run(t, "", "audit", "list"); !strings.Contains(r.err, "records of pool demo; those of all: --pool ''") {
		t.Errorf("a person is not told: %+v", r)
	}
}
