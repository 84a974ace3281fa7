package command

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/signetd/signet/broker/config"
	"github.com/signetd/signet/certs"
)

// aged gives data an authority whose intermediate was made so long ago, for that life.
func aged(t *testing.T, ago, life time.Duration) (data string) {
	t.Helper()
	data = filepath.Join(t.TempDir(), "data")
	initData(t, data, "")
	ca := filepath.Join(data, config.CAFolder)
	if err := os.RemoveAll(ca); err != nil {
		t.Fatal(err)
	}
	made := time.Now().Add(-ago)
	if err := certs.Create(ca, certs.Options{IntermediateLife: life, Now: func() time.Time { return made }}); err != nil {
		t.Fatal(err)
	}
	return data
}

// TestIntermediateEnds: whoever meets an intermediate that has ended says the one command,
// and after that all is well.
func TestIntermediateEnds(t *testing.T) {
	data := aged(t, 48*time.Hour, 24*time.Hour)
	for _, line := range []string{"serve", "check-config"} {
		code, _, errs := signetd(t, nil, line+" --data "+data)
		if code == 0 || !strings.Contains(errs, "signetd ca renew --data "+data) {
			t.Errorf("%s: exit %d, %s", line, code, errs)
		}
	}
	if code, out, _ := signetd(t, nil, "ca show --data "+data); code != 0 || !strings.Contains(out, "ended on") || !strings.Contains(out, "signetd ca renew --data "+data) {
		t.Errorf("ca show: exit %d, %s", code, out)
	}
	key := filepath.Join(data, config.CAFolder, certs.RootKeyFile)
	safe := filepath.Join(t.TempDir(), "root.key")
	if err := os.Rename(key, safe); err != nil {
		t.Fatal(err)
	}
	if code, _, errs := signetd(t, nil, "ca renew --data "+data); code == 0 || !strings.Contains(errs, "--ca-root-key FILE") {
		t.Errorf("without the root's key: exit %d, %s", code, errs)
	}
	if code, out, errs := signetd(t, nil, "ca renew --data "+data+" --ca-root-key "+safe); code != 0 || !strings.Contains(out, "within seconds") {
		t.Fatalf("ca renew: exit %d, %s%s", code, out, errs)
	}
	if code, _, errs := signetd(t, nil, "check-config --data "+data); code != 0 || errs != "" {
		t.Errorf("after it: exit %d, %s", code, errs)
	}
	if code, out, _ := signetd(t, nil, "ca show --data "+data); code != 0 || strings.Contains(out, "warning") || !strings.Contains(out, "not in ") {
		t.Errorf("after it: exit %d, %s", code, out)
	}
}

// TestIntermediateIsDue: check-config warns from a third of its life on, and not before.
func TestIntermediateIsDue(t *testing.T) {
	for ago, warns := range map[time.Duration]bool{60 * time.Hour: false, 68 * time.Hour: true} {
		code, out, errs := signetd(t, nil, "check-config --data "+aged(t, ago, 100*time.Hour))
		if code != 0 || !strings.Contains(out, "configuration ok") || strings.Contains(errs, "signetd ca renew") != warns {
			t.Errorf("%v of 100h: exit %d, %s", ago, code, errs)
		}
	}
}
