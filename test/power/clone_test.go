package power

import (
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestCopiedFolder copies the folder of a device and lets signet-agent fetch tokens from
// either: two authentications of each at most, and signetd tells, or quarantines the device.
// It says how to release it, and that works.
func TestCopiedFolder(t *testing.T) {
	if testing.Short() {
		t.Skip("a race detector in here sees nothing of the programs")
	}
	s := newSite(t)
	s.must(t, "signet", "client", "update", "default", "--pool", "demo", "--grace", "0s")
	for _, policy := range []string{"note", "quarantine"} {
		s.must(t, "signet", "pool", "update", "demo", "--clones", policy)
		v := s.victim(t, "lamp-"+policy, rand.New(rand.NewPCG(1, 0))) //nolint:gosec // not used
		v.enroll(t)
		other := v.state + "-copy"
		if out, err := exec.Command("cp", "-a", v.state, other).CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, out)
		}
		var last error
		for range 2 {
			for _, folder := range []string{v.state, other} {
				_, last = s.command("signet-agent", "token", "--state", folder).Output()
			}
		}
		if n := s.cloned(t, v.name); n == 0 || (last != nil) != (policy == "quarantine") {
			t.Fatalf("%s: told %d times, and %v", policy, n, last)
		}
		if out := string(s.must(t, "signet", "device", "history", v.name, "--pool", "demo")); !strings.Contains(out, map[string]string{"note": "clone", "quarantine": "quarantine"}[policy]) {
			t.Errorf("%s: its history:\n%s", policy, out)
		}
		if policy == "note" {
			continue
		}
		raw, err := os.ReadFile(s.log)
		if err != nil {
			t.Fatal(err)
		}
		release := "signet device enable " + v.name + " --pool demo"
		if !strings.Contains(string(raw), release) {
			t.Errorf("signetd does not say what releases the device:\n%s", raw)
		}
		s.must(t, "signet", strings.Fields(release)[1:]...)
		if err := os.RemoveAll(filepath.Clean(other)); err != nil {
			t.Fatal(err)
		}
		for range 3 {
			s.must(t, "signet-agent", "token", "--state", v.state)
		}
	}
}
