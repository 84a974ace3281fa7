package cli_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/signetd/signet/broker/adminapi"
)

// TestOneTimeCodes: a generator is shown once, as a URI and a picture, is replaced
// only when that is said, and goes.
func TestOneTimeCodes(t *testing.T) {
	s := login(t)
	s.ok(t, "pool create demo")
	s.ok(t, "device create lamp-1 --pool demo")
	r := s.run(t, "", "device", "totp", "lamp-1", "--pool", "demo")
	uri := strings.TrimSpace(r.out)
	if r.code != 0 || !strings.HasPrefix(uri, "otpauth://totp/Signet:demo:lamp-1?") || strings.Contains(r.out, "\n\n") || strings.Contains(r.err, "secret=") {
		t.Fatalf("got %+v", r)
	}
	if r := s.run(t, "", "device", "totp", "lamp-1", "--pool", "demo"); r.code != 5 || r.out != "" {
		t.Errorf("a second one: %+v", r)
	}
	drawn := s.ok(t, "device totp lamp-1 --pool demo --replace --qr --digits 8 --algorithm sha256")
	if !strings.Contains(drawn, "▀") || !strings.Contains(drawn, "digits=8") || !strings.Contains(drawn, "algorithm=SHA256") || strings.Contains(drawn, uri) {
		t.Errorf("got %q", drawn)
	}
	lines := strings.Split(strings.TrimSpace(drawn), "\n")
	for _, l := range lines[:len(lines)-1] { // every line as wide as all: a square
		if strings.Count(l, "") != strings.Count(lines[0], "") {
			t.Errorf("a line of another length: %q", l)
		}
	}
	var made adminapi.MadeAuthenticator
	if err := json.Unmarshal([]byte(s.ok(t, "device totp lamp-1 --pool demo --replace -o json")), &made); err != nil || !strings.HasPrefix(made.Secret, "otpauth://totp/") || made.Name != "lamp-1" {
		t.Errorf("got %+v: %v", made, err)
	}
	if out := s.ok(t, "device show lamp-1 --pool demo"); !strings.Contains(out, "IDS             totp:") {
		t.Errorf("no id of it: %s", out)
	}
	if out := s.ok(t, "device show lamp-1 --pool demo -o json"); !strings.Contains(out, `"totp"`) || strings.Contains(out, "secret") {
		t.Errorf("got %s", out)
	}
	s.ok(t, "device totp lamp-1 --pool demo --remove")
	if out := s.ok(t, "device show lamp-1 --pool demo -o json"); strings.Contains(out, `"totp"`) {
		t.Errorf("got %s", out)
	}
	for _, line := range []string{"--digits 5", "--algorithm md5", "--remove --replace", "--remove --digits 8"} {
		if r := s.run(t, "", strings.Fields("device totp lamp-1 --pool demo "+line)...); r.code == 0 || r.out != "" {
			t.Errorf("%s: %+v", line, r)
		}
	}
	if r := s.run(t, "", "device", "totp", "nobody", "--pool", "demo"); r.code != 4 {
		t.Errorf("no such device: %+v", r)
	}
}
