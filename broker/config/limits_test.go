package config

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"github.com/signetd/signet/broker/intake"
)

func TestLimitsConfig(t *testing.T) {
	file := filepath.Join(t.TempDir(), "signetd.yaml")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("limits:\n  connections: 50\n  per_source: -1\n  rate: 0.5\n  per_device: 3\n  refusals: -1\n  requests: 3\n  handshakes: -1\n")
	c, err := Default().Load(file, map[string]string{"SIGNET_LIMITS_BURST": "7", "SIGNET_LIMITS_REFUSAL_BURST": "9", "SIGNET_LIMITS_PER_POOL": "40", "SIGNET_LIMITS_LONG_CONNECTS": "5"})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := c.Limits.Intake(), (intake.Limits{Conns: 50, PerSource: -1, Rate: 0.5, Burst: 7, PerDevice: 3, PerPool: 40}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if got, want := c.Limits.HTTPSIntake(), (intake.Limits{Conns: 10, Strangers: -1, PerSource: -1, Rate: 0.5, Burst: 7, PerDevice: 3, PerPool: 40}); got != want {
		t.Errorf("over HTTPS %+v, want %+v", got, want)
	}
	if got := (Limits{HTTPSConnections: 7}).HTTPSIntake().Conns; got != 7 {
		t.Errorf("%d over HTTPS", got)
	}
	if got := (Limits{}).HTTPSIntake().Conns; got != 2000 {
		t.Errorf("%d over HTTPS by default", got)
	}
	if c.Limits.Handshakes != -1 || c.Limits.LongConnects != 5 {
		t.Errorf("handshakes %d, long CONNECTs %d", c.Limits.Handshakes, c.Limits.LongConnects)
	}
	if c.Limits.Refusals != -1 || c.Limits.Requests != 3 || c.Limits.RefusalBurst != 9 {
		t.Errorf("refusals %v, at once %d", c.Limits.Refusals, c.Limits.RefusalBurst)
	}
	for _, none := range []string{"calls", "strangers", "per_source", "per_device"} {
		write("hooks:\n  " + none + ": 7\n")
		if _, err := Default().Load(file, nil); err != nil {
			t.Errorf("hooks.%s: %v", none, err)
		}
		write("hooks:\n  " + none + ": -1\n")
		if _, err := Default().Load(file, nil); !errors.Is(err, ErrConfig) {
			t.Errorf("hooks.%s: none at all: %v", none, err)
		}
	}
	for _, none := range []string{"connections", "refusal_burst", "request_burst", "device_request_burst"} {
		write("limits:\n  " + none + ": -1\n")
		if _, err := Default().Load(file, nil); !errors.Is(err, ErrConfig) {
			t.Errorf("%s: none at all: %v", none, err)
		}
	}
}
