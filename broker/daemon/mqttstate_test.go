package daemon_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestMQTTState: what the MQTT server held lies in the data folder between a planned end and the
// next start, for its owner alone; a start takes it away, and a damaged one keeps nobody from
// starting.
func TestMQTTState(t *testing.T) {
	s := newSite(t)
	file := filepath.Join(s.cfg.Data, "mqtt.state")
	there := func() bool {
		info, err := os.Stat(file)
		if err == nil && info.Mode().Perm() != 0o600 {
			t.Errorf("its mode is %v", info.Mode())
		}
		return err == nil
	}
	for _, damage := range []func([]byte) []byte{
		func(b []byte) []byte { return b },
		func(b []byte) []byte { b[len(b)-1] ^= 1; return b },
		func(b []byte) []byte { b[3] ^= 1; return b },
		func(b []byte) []byte { return b[:len(b)-1] },
		func([]byte) []byte { return nil },
		func(b []byte) []byte { return append(b[:16], 0xff, 0xff, 0xff, 0xff) },
	} {
		_, stop := s.serve(t)
		if there() {
			t.Error("it is there while signetd runs")
		}
		if err := stop(); err != nil {
			t.Fatal(err)
		}
		if !there() {
			t.Fatal("it is not there after a planned end")
		}
		raw, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		whole := string(raw)
		raw = damage(raw)
		if err := os.WriteFile(file, raw, 0o600); err != nil {
			t.Fatal(err)
		}
		before := strings.Count(s.log.String(), "not restored")
		if _, stop = s.serve(t); there() {
			t.Error("it is there after the start")
		}
		if err := stop(); err != nil {
			t.Fatal(err)
		}
		if told := strings.Count(s.log.String(), "not restored") - before; (told == 1) == (string(raw) == whole) {
			t.Errorf("told of damage %d times", told)
		}
	}
}
