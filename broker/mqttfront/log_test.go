package mqttfront_test

import (
	"context"
	"log/slog"
	"strings"
	"testing"

	"github.com/signetd/signet/agent"
	"github.com/signetd/signet/broker/mqttd"
	"github.com/signetd/signet/test/harness"
)

// A told is a log that gives what it is told, by name, of each refusal.
type told struct {
	slog.Handler
	refusals chan map[string]string
	message  string // that tells of one
}

func (l told) Enabled(context.Context, slog.Level) bool { return true }

func (l told) Handle(_ context.Context, r slog.Record) error {
	if r.Message != l.message {
		return nil
	}
	said := map[string]string{}
	r.Attrs(func(a slog.Attr) bool {
		said[a.Key] = a.Value.String()
		return true
	})
	l.refusals <- said
	return nil
}

// A refusal in the log says which device it is about, at every step, from where it
// came and which call it was.
func TestRefusalIsTold(t *testing.T) {
	log := told{slog.DiscardHandler, make(chan map[string]string, 8), "refused"}
	f := startWith(t, mqttd.Config{Log: slog.New(log)}, nil)
	f.enrolled("lamp", false)
	for step, a := range map[string]*agent.Agent{
		"start":  f.device("lamp", harness.NewP256(t), "nobody"),
		"answer": f.device("lamp", harness.NewP256(t), ""),
	} {
		if _, err := a.Authenticate(t.Context(), f.anonymous(), agent.Ask{}); err == nil {
			t.Fatalf("%s: granted", step)
		}
		said := receive(t, "a refusal at "+step, log.refusals)
		if said["device"] != "demo:lamp" || !strings.HasPrefix(said["remote"], "127.0.0.1:") || len(said["call"]) != 32 || said["err"] == "" {
			t.Errorf("%s: %v", step, said)
		}
	}
}
