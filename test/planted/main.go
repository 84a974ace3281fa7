// Command planted plants bugs, one at a time, and wants the tests to find every one,
// each for the reason that is its own.
//
// A bug is a patch, NAME.patch in this folder, whose first lines say after a # what
// is wrong with it. It is applied to copies of the files that it names, and go test
// is told by -overlay to compile those instead: the tree is never touched, and
// no build of a program can contain a bug.
//
// A patch fits where the lines that it removes and keeps stand, once, wherever in the
// file that is; the line numbers in it mean nothing. One that no longer fits
// fails this program, and TestPatchesFit. To make it again, put the bug into the code, then
//
//	git diff -U1 FILE... >>test/planted/NAME.patch
//	git checkout FILE...
//
// and remove the patch's old hunks. To add a bug, add a row to plants, too.
//
// Usage, from the repository's root: go run ./test/planted [-tested] [-first] [NAME...]
//
// Each test is run without its bug first; not with -tested, where all tests have just passed. With -first
// only the first test of each bug is run.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"iter"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"

	"golang.org/x/sync/errgroup"
)

// folder holds the patches, as seen from the repository's root.
const folder = "test/planted"

// A plant is a test that must find a bug: it passes without it, and fails
// with it in words of which one line fits the reason, a regular expression.
type plant struct{ bug, pkg, test, reason string }

var plants = []plant{
	{"replay", "./test", `^TestAnswerIsGoodOnce$`, `a replayed answer was granted`},
	{"replay", "./test/sim", `^TestSimulation$`, `.* was granted what was never committed`},
	{"fsync-skipped", "./broker/boltstore", `^TestSynced$`, `was acknowledged with .* not yet on the disk`},
	{"will", "./broker/mqttd", `^TestWillIsChecked(Again)?$`, `will .*: code 0x0, want`},
	{"goodbye", "./test/sim", `^TestSimulation$`, `hears a will although its connection ended in good order`},
	{"early", "./test/sim", `^TestSimulation$`, `hears a will (before its time|although its device was back in time)`},
	{"leftover", "./broker/mqttd/packet", `^TestStatements$`, `FAIL: TestStatements/MQTT-3.1.4-1_bytes_after_the_end`},
	{"nul", "./broker/mqttd/packet", `^TestStatements$`, `FAIL: TestStatements/MQTT-1.5.4-2_U\+0000_in_a_content_type`},
	{"freed", "./broker/mqttd/session", `^TestExactlyOnce$`, `the client holds map\[\d+:|id \d+ is given to another message`},
	{"type", "./protocol/token", `^TestTypes$`, `CWT access read as CWT ID: <nil>`},
	{"transcript", "./test/sim", `^TestSimulation$`, `the network opened a grant`},
	{"successor", "./test/sim", `^TestSimulation$`, `a refresh token of .* has two successors`},
	{"tries", "./test", `^TestGuessesAreBoundedOverExchanges$`, `the hook saw \d+ of 40 guesses`},
	{"disabled", "./test/sim", `^TestSimulation$`, `a login of .* was committed after its disabling`},
	{"rebind", "./test", `^TestReenrollment$`, `other key: <nil>, want exists`},
	{"expiry", "./test", `^TestChallengeExpires$`, `too late: <nil>, want expired`},
	{"nonce", "./agent", `^TestGrantRefused$`, `FAIL: TestGrantRefused/old_nonce`},
	{"nonce", "./test/sim", `^TestSimulation$`, `.* accepted a grant that no replica made`},
	{"skew", "./test/sim", `^TestSimulation$`, `a family of .* was refreshed after its end \(disabling\)`},
	{"anchor", "./agent", `^TestAnchorIsReplaced$`, `the owner of a replaced anchor, another successor: <nil>`},
	{"anchor", "./test/sim", `^TestSimulation$`, `.* accepted a grant that no replica made`},
	{"token", "./agent", `^TestTokenTakesNothingBack$`, `a replaced anchor's token and its owner: <nil>`},
	{"token", "./test/sim", `^TestSimulation$`, `.* accepted a grant that no replica made`},
	{"secret", "./agent", `^TestSecretsWaitForTheAnchor$`, `the middle read \["1234"\]`},
	{"secret", "./test/sim", `^TestSimulation$`, `the owner of .* was asked for a secret that goes to the network`},
	{"late", "./agent", `^TestLateMessages$`, `FAIL: TestLateMessages/challenge_comes_twice`},
	{"late", "./test/sim", `^TestDoubled$`, `times: refused: denied`},
	{"audience", "./protocol/verify", `^TestVerifyRefuses$`, `FAIL: TestVerifyRefuses/audience `},
	{"relay", "./broker/mqttfront", `^TestRelay$`, `pushed to the device's own connection: true, want false`},
	{"connect", "./broker/mqttfront", `^TestProofsAreForOneConnection$`, `a proof was good on another connection`},
	{"bearer", "./broker/mqttfront", `^TestBearersRefused$`, `access token, CWT at .*: <nil>`},
	{"connect", "./test/sim", `^TestRelayed$`, `the network connects as .* by a connect proof of another connection`},
	{"shown", "./test/sim", `^TestRelayed$`, `.* shows the network a password`},
	{"shown", "./broker/mqttfront", `^TestRelayGainsNothing$`, `the device showed the relay 1 passwords|a backend believes`},
	{"relay", "./test/sim", `^TestSimulation$`, `a connection of .* became|the network connects as .* by a connect proof of another connection`},
	{"behind", "./broker/boltstore", `^TestStore$`, `told of \w+ made .* longer, read`},
	{"behind", "./test/sim", `^TestSimulation$`, `the network goes on as .* by an MQTT password|replica \d has heard of all`},
	{"standing", "./broker/mqttfront", `^TestRevokeByAnotherClock$`, `1m0s behind, .*: a token from before was admitted|never: the connection's end`},
	{"standing", "./test/sim", `^TestSimulation$`, `a (credential of .* was taken|connection of .* goes on) after the end of its family`},
	{"retired", "./broker/mqttfront", `^TestStolenSigningKey$`, `never: the connection's end`},
	{"retired", "./test/sim", `^TestSimulation$`, `the network goes on as .* by a signing key that was retired`},
	{"takeover", "./broker/mqttd", `^TestReauthentication$`, `another (device|device, later|pool's): AUTH success script welcome .:., want DISCONNECT not authorized`},
	{"here", "./broker/mqttfront", `^TestSignetMethod$`, `over a relay began a session`},
	{"nonces", "./broker/mqttfront", `^TestACERelayed$`, `taken false:  CONNACK 0x0`},
	{"epoch", "./test/sim", `^TestSimulation$`, `is not in .* after the last fault: .*key statement is older`},
	{"ratchet", "./agent", `^TestNewestTimeCounts$`, `10 years off, and right again: floor`},
	{"ratchet", "./test/sim", `^TestSimulation$`, `is not in .* after the last fault: out of date`},
	{"restored", "./test", `^TestAnswerIsGoodOnceOverARestore$`, `an answer from before the restore was granted once more`},
	{"lost", "./test/sim", `^TestClone$`, `found 0 times`},
	{"overtaken", "./test", `^TestHeldBackLogin$`, `a login that was held back .*: granted`},
	{"ahead", "./test", `^TestStoreBehindItsDevices$`, `got \*protocol.Refusal refused: denied, want a grant`},
	{"forget", "./broker/boltstore", `^TestNothingIsForgottenByAWrongClock$`, `ahead: 0 rows in sessions`},
	{"forget", "./test/sim", `^TestSimulation$`, `of \d+ records \d+ are left after a while with a wrong clock`},
	{"ended", "./test/sim", `^TestSimulation$`, `is in and does not renew its session`},
	{"remain", "./broker/mqttd", `^TestEndedDeviceRetainsNothing$`, `got  \["t/x=1 q0 retained" "t/y=2 q0 retained for=1000" "t/z=3 q0 retained" "t/w=gone q0 retained"\]`},
	{"lastwill", "./broker/mqttd", `^TestWillWhenStandingEnds$`, `FAIL: TestWillWhenStandingEnds/disabled_while_away`},
	{"ended", "./test", `^TestClockAheadLeavesNoSession$`, `got \*protocol.Refusal .*, want a grant`},
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	tested := flag.Bool("tested", false, "all tests have just passed without a bug: do not run them so again")
	first := flag.Bool("first", false, "run only the first test of each bug")
	flag.Parse()
	if err := run(ctx, os.Stdout, *tested, *first, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "planted:", err)
		os.Exit(1)
	}
}

// run plants the bugs that are named, or all, and tells how each fared.
func run(ctx context.Context, out io.Writer, tested, first bool, names []string) error {
	for _, name := range names {
		if !slices.ContainsFunc(plants, func(p plant) bool { return p.bug == name }) {
			return fmt.Errorf("there is no bug %q", name)
		}
	}
	dir, err := os.MkdirTemp("", "planted-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	g := garden{out: out, dir: dir, tested: tested, sound: map[plant]bool{}}
	beds, ctx := errgroup.WithContext(ctx)
	beds.SetLimit(runtime.NumCPU()) // a test is linked, and often runs, on one
	for bug, rows := range byBug(plants) {
		if first {
			rows = rows[:1]
		}
		if len(names) == 0 || slices.Contains(names, bug) {
			beds.Go(func() error { return g.tryAll(ctx, bug, rows) })
		}
	}
	if err := beds.Wait(); err != nil {
		return err
	}
	if g.missed > 0 {
		return fmt.Errorf("%d missed", g.missed)
	}
	return nil
}

// A garden is where bugs are planted: a temporary folder and what is known so far.
type garden struct {
	dir    string
	tested bool // all tests pass without a bug

	mu     sync.Mutex // guards the rest
	out    io.Writer
	sound  map[plant]bool // package and test alone: passes without a bug
	missed int
}

// say tells how a bug fared, which was found or not.
func (g *garden) say(found bool, format string, args ...any) {
	g.mu.Lock()
	defer g.mu.Unlock()
	fmt.Fprintf(g.out, format+"\n", args...)
	if !found {
		g.missed++
	}
}

func (g *garden) miss(format string, args ...any) { g.say(false, format, args...) }

func (g *garden) isSound(test plant) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	return g.tested || g.sound[test]
}

// byBug gives each bug, in order, with its tests.
func byBug(plants []plant) iter.Seq2[string, []plant] {
	return func(yield func(string, []plant) bool) {
		done := map[string]bool{}
		for _, p := range plants {
			if done[p.bug] {
				continue
			}
			done[p.bug] = true
			rows := slices.DeleteFunc(slices.Clone(plants), func(q plant) bool { return q.bug != p.bug })
			if !yield(p.bug, rows) {
				return
			}
		}
	}
}

// tryAll plants one bug before all tests that are to find it, one after another.
func (g *garden) tryAll(ctx context.Context, bug string, rows []plant) error {
	file, err := overlay(".", bug, filepath.Join(g.dir, bug))
	if err != nil {
		g.miss("BROKEN  %s, see the comment in %s/main.go: %v", bug, folder, err)
		return nil
	}
	for _, p := range rows {
		if err := g.try(ctx, p, file); err != nil {
			return err
		}
	}
	return nil
}

// try plants one bug, by the overlay that says so, before one test. Its error is an end to all, such as an
// interrupt; a bug that is not found is counted.
func (g *garden) try(ctx context.Context, p plant, overlay string) error {
	test := plant{pkg: p.pkg, test: p.test}
	if !g.isSound(test) {
		said, passed, err := goTest(ctx, p, "-v")
		switch {
		case err != nil:
			return err
		case !passed:
			g.miss("%sBROKEN  %s in %s fails without %s", last(said, 20), p.test, p.pkg, p.bug)
			return nil
		case !regexp.MustCompile(`(?m)^--- PASS`).Match(said):
			g.miss("BROKEN  %s in %s does not run", p.test, p.pkg)
			return nil
		}
		g.mu.Lock()
		g.sound[test] = true
		g.mu.Unlock()
	}
	said, passed, err := goTest(ctx, p, "-overlay", overlay)
	if err != nil {
		return err
	}
	why := regexp.MustCompile(`(?m)^.*(?:` + p.reason + `).*$`).Find(said)
	switch {
	case passed:
		g.miss("MISSED  %s by %s in %s", p.bug, p.test, p.pkg)
	case why == nil:
		g.miss("%sBROKEN  %s in %s fails with %s, but not because of it", last(said, 20), p.test, p.pkg, p.bug)
	default:
		g.say(true, "caught  %s by %s in %s: %.120s", p.bug, p.test, p.pkg, strings.TrimSpace(string(why)))
	}
	return nil
}

// goTest runs one test, with some flags, and tells what it said and whether it passed.
func goTest(ctx context.Context, p plant, flags ...string) (said []byte, passed bool, err error) {
	args := append(append([]string{"test", "-count=1", "-vet=off"}, flags...), "-run", p.test, p.pkg)
	cmd := exec.CommandContext(ctx, "go", args...)
	cmd.Env = os.Environ()
	if os.Getenv("SIGNET_SIM_SEEDS") == "" {
		cmd.Env = append(cmd.Env, "SIGNET_SIM_SEEDS=40")
	}
	said, err = cmd.CombinedOutput()
	if ctx.Err() != nil {
		return nil, false, ctx.Err()
	}
	var failed *exec.ExitError
	if err != nil && !errors.As(err, &failed) {
		return nil, false, fmt.Errorf("run go test: %w", err)
	}
	return said, err == nil, nil
}

// last gives the last n lines of what a test said.
func last(said []byte, n int) string {
	lines := slices.Collect(strings.Lines(string(said)))
	return strings.Join(lines[max(0, len(lines)-n):], "")
}
