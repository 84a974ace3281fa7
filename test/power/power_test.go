package power

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// kills per round, of each command.
const (
	enrollKills = 5
	tokenKills  = 4
	runKills    = 3
)

func number(t *testing.T, name string, def int) int {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return def
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		t.Fatalf("%s=%q: want a number above 0", name, text)
	}
	return n
}

// TestAgentSurvivesKills kills signet-agent wherever it is: while it enrolls with a
// token that is good for one device, while it fetches tokens (each of which uses
// its refresh token up), while it runs. Afterwards the same commands, typed again,
// work without anybody's help, and the broker knows one device with one key, the
// first one. SIGNET_KILL_ROUNDS and SIGNET_KILL_SEED choose more, and others; a
// seed fixes when the kills come, not what they hit.
func TestAgentSurvivesKills(t *testing.T) {
	if testing.Short() {
		t.Skip("a race detector in here sees nothing of the programs")
	}
	s := newSite(t)
	rounds, seed := number(t, "SIGNET_KILL_ROUNDS", 10), number(t, "SIGNET_KILL_SEED", 1)
	rng := rand.New(rand.NewPCG(uint64(seed), 0)) //nolint:gosec // repeatable on purpose
	first := s.victim(t, "warm-up", rng)
	start := time.Now()
	first.enroll(t)
	usual := time.Since(start)
	landed := map[string]int{}
	for i := range rounds {
		v := s.victim(t, fmt.Sprintf("lamp-%d", i+1), rng)
		v.usual, v.landed = usual, landed
		v.round(t)
	}
	if n := s.cloned(t, ""); n > 0 {
		t.Errorf("%d times a device that was killed was taken for two", n)
	}
	t.Logf("%d rounds, seed %d: kills that found the program alive: %v", rounds, seed, landed)
	for _, command := range []string{"enroll", "token", "run"} {
		if landed[command] == 0 {
			t.Errorf("no kill found %s alive", command)
		}
	}
}

// A victim is one device.
type victim struct {
	*site
	name, state, token string
	rng                *rand.Rand
	usual              time.Duration  // that an enrollment takes
	landed             map[string]int // kills, by command
	key                []byte         // that the broker has seen, or may have
}

func (s *site) victim(t *testing.T, name string, rng *rand.Rand) *victim {
	t.Helper()
	dir, err := os.MkdirTemp("", "pw") // short enough for a socket's path
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	var made struct{ Token string }
	s.mustJSON(t, &made, "signet", "enrollment", "create", "--pool", "demo", "--uses", "1", "--expires", "1h")
	return &victim{site: s, name: name, state: filepath.Join(dir, "d"), token: made.Token, rng: rng}
}

func (v *victim) enrollArgs() []string {
	return []string{"enroll", "--broker", v.env["SIGNET_BROKER"], "--ca", v.env["SIGNET_CA"], "--pool", "demo", "--name", v.name, "--token", v.token, "--state", v.state}
}

func (v *victim) enroll(t *testing.T) {
	t.Helper()
	v.must(t, "signet-agent", v.enrollArgs()...)
}

func (v *victim) round(t *testing.T) {
	for range enrollKills {
		v.kill(t, v.enrollArgs()...)
		v.sameKey(t)
	}
	v.enroll(t)
	v.sameKey(t)
	subject := v.subject(t)
	for range tokenKills {
		v.kill(t, "token", "--state", v.state)
		v.sameKey(t)
	}
	for range runKills {
		v.kill(t, "run", "--state", v.state)
		v.sameKey(t)
	}
	v.must(t, "signet-agent", "token", "--state", v.state)
	v.runs(t)
	if again := v.subject(t); again != subject {
		t.Errorf("%s: subject %s has become %s", v.name, subject, again)
	}
	v.known(t, subject)
}

// kill starts the agent and kills it at a random moment of an enrollment's usual
// time and a half.
func (v *victim) kill(t *testing.T, args ...string) {
	t.Helper()
	cmd := v.command("signet-agent", args...)
	var said bytes.Buffer
	cmd.Stderr = &said
	after := time.Duration(v.rng.Int64N(int64(v.usual * 3 / 2)))
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	time.Sleep(after)
	_ = cmd.Process.Kill()
	err := cmd.Wait()
	var exit *exec.ExitError
	switch {
	case err == nil:
	case errors.As(err, &exit) && exit.Sys().(syscall.WaitStatus).Signaled():
		v.landed[args[0]]++
	default:
		t.Errorf("%s: %s failed before it was killed (after %v): %v\n%s", v.name, args[0], after, err, &said)
	}
}

// sameKey wants the key never to change once it is there.
func (v *victim) sameKey(t *testing.T) {
	t.Helper()
	key, err := os.ReadFile(filepath.Join(v.state, "device.key"))
	if errors.Is(err, fs.ErrNotExist) && v.key == nil {
		return // killed before it made one
	}
	if err != nil || v.key != nil && !bytes.Equal(key, v.key) {
		t.Fatalf("%s: the key has changed (%v)", v.name, err)
	}
	v.key = key
}

func (v *victim) subject(t *testing.T) string {
	t.Helper()
	var st struct {
		Subject  string
		Enrolled bool
	}
	v.mustJSON(t, &st, "signet-agent", "status", "--state", v.state)
	if !st.Enrolled || st.Subject == "" {
		t.Errorf("%s: %+v", v.name, st)
	}
	return st.Subject
}

// runs starts the agent for good, wants it online, and ends it as a user does.
func (v *victim) runs(t *testing.T) {
	t.Helper()
	cmd := v.command("signet-agent", "run", "--state", v.state)
	var said bytes.Buffer
	cmd.Stderr = &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	online := false
	for range 400 {
		out, _ := v.command("signet-agent", "status", "--state", v.state).Output()
		if online = strings.Contains(string(out), "online"); online {
			break
		}
		time.Sleep(25 * time.Millisecond)
	}
	_ = cmd.Process.Signal(syscall.SIGTERM)
	if err := cmd.Wait(); err != nil || !online {
		t.Errorf("%s: online %t, ended with %v\n%s", v.name, online, err, &said)
	}
}

// known wants the broker to know one device of this name, with one key.
func (v *victim) known(t *testing.T, subject string) {
	t.Helper()
	var list []struct {
		Name, Subject  string
		Authenticators []struct{ Kind string }
	}
	v.mustJSON(t, &list, "signet", "device", "list", "--pool", "demo")
	found := 0
	for _, d := range list {
		if d.Name != v.name {
			continue
		}
		if found++; d.Subject != subject || len(d.Authenticators) != 1 {
			t.Errorf("the broker knows %+v, the device is %s", d, subject)
		}
	}
	if found != 1 {
		t.Errorf("the broker knows %d devices named %s", found, v.name)
	}
}
