package command

import (
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/signetd/signet/agent/keyfile"
)

// Thirty programs that ask for a token at once all get one, whether the agent runs,
// starts meanwhile, or does not run at all.
func TestTokensInParallel(t *testing.T) {
	b, m, dir := newBroker(t), &machine{t: t}, folder(t)
	m.must(enrollArgs(b, dir, "--ca", b.ca(t))...)
	var all sync.WaitGroup
	for range 30 {
		all.Go(func() {
			if code, out, errs := (&machine{t: t}).run("token", "--state", dir); code != 0 || len(out) < 100 {
				t.Errorf("code %d: %s", code, errs)
			}
		})
	}
	stop := m.start(filepath.Join(dir, socketName), "--state", dir) // waits as the others do
	all.Wait()
	stop()
}

// run waits for a command that is at work on the folder, and a second one does not wait
// for the first.
func TestRunWaitsForOtherCommands(t *testing.T) {
	b, m, dir := newBroker(t), &machine{t: t}, folder(t)
	m.must(enrollArgs(b, dir, "--ca", b.ca(t))...)
	held, err := keyfile.Open(dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	free := time.AfterFunc(300*time.Millisecond, func() { _ = held.Close() })
	defer free.Stop()
	stop := m.start(filepath.Join(dir, socketName), "--state", dir)
	defer stop()
	other := &machine{t: t}
	other.fails(5, "a signet-agent runs on this device", "stop the running", "run", "--state", dir)
	for _, command := range [][]string{{"unenroll", "--state", dir}, enrollArgs(b, dir, "--ca", b.ca(t))} {
		other.fails(5, "a signet-agent runs on this device", "stop the running", command...)
	}
	if out := other.must("status", "--state", dir); !strings.Contains(out, "online") {
		t.Error(out)
	}
}
