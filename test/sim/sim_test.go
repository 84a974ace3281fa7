package sim

import (
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/cryptotest"
	"testing/synctest"
)

// How many seeds, or which one:
//
//	SIGNET_SIM_SEEDS=2000 go test ./test/sim
//	SIGNET_SIM_SEED=1234 go test ./test/sim -run TestSimulation -v
const (
	seedsEnv  = "SIGNET_SIM_SEEDS"
	seedEnv   = "SIGNET_SIM_SEED"
	seeds     = 100
	keptLines = 80 // of a failed run's story; all of it when the seed is given
	enough    = 3  // failed seeds, then a shard gives up
)

func number(t *testing.T, name string, unset int) (n int, set bool) {
	t.Helper()
	text := os.Getenv(name)
	if text == "" {
		return unset, false
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 {
		t.Fatalf("%s=%q: want a number", name, text)
	}
	return n, true
}

// TestSimulation holds the rules through as many worlds as asked for.
func TestSimulation(t *testing.T) {
	if seed, set := number(t, seedEnv, 0); set {
		simulate(t, uint64(seed))
		return
	}
	if s := os.Getenv(shardEnv); s != "" {
		runShard(t, s, simulate)
		return
	}
	n, _ := number(t, seedsEnv, seeds)
	if testing.Short() {
		n = min(n, 20)
	}
	total := inShards(t, n)
	if t.Failed() {
		return
	}
	for _, what := range []string{"device in again", "device goes on"} {
		if got, want := total[what], n*devices; got != want {
			t.Errorf("%d times, want %d: %s", got, want, what)
		}
	}
	for _, what := range slices.Concat(mustHappen, mustMeet()) {
		t.Logf("%8d  %s", total[what], what)
		if total[what] == 0 && n >= seeds { // fewer may be too few
			t.Errorf("it never happened in %d seeds: %s", n, what)
		}
	}
}

// mustMeet is that what goes back and forth meets devices that are in, and such as sleep meanwhile, and
// that they live on while the broker's clock is wrong.
func mustMeet() (all []string) {
	for _, what := range backAndForth {
		all = append(all, what+met, what+asleep)
	}
	for _, clock := range []string{"clock of the broker years ahead", "clock of the broker years behind"} {
		for _, what := range []string{"login", "refresh", "credential taken", "disabling", "revocation"} {
			all = append(all, what+while+clock)
		}
	}
	return all
}

// mustHappen is what the rules are to hold against. Whatever of it does not happen
// proves nothing by holding.
var mustHappen = []string{
	// the network
	"message dropped", "message doubled", "message late", "message replayed", "message replayed to another", "bit flipped",
	"field dropped", "field swapped", "unknown optional field added", "unknown critical field added", "key to seal to swapped",
	"grant on a connection that the device did not name", "grant forged", "the network asks for a secret", "the network tries to open a grant", "hint",
	// the network as the owner of an MQTT broker
	"connection through the network's MQTT broker", "the network tries what it heard as a password", "the network tries a connect proof of another connection",
	"the network tries what it heard at a backend", "device says relayed: true", "device says relayed: false",
	// thieves
	"thief, with the key: true", "thief, with the key: false", "thief with the key got in", "thief without the key refused",
	"signing key stolen", "the network connects by a stolen signing key", "the network tries what a retired signing key signs", "MQTT passwords switched off", "connection of the network's ended",
	"connection ended with its signing key", "thief with the pool's signing key",
	// devices
	"clock of a device jumps" + met, "reboot", "device sleeps" + met, "connection lost", "connection expires", "power fails before a grant is saved",
	// replicas
	"replica crashes", "crash before a commit", "crash between a commit and its acknowledgement", "reply lost in a crash",
	"message on a connection that has ended", "clock of a replica set", "replicas further apart than a challenge lives",
	// sessions of MQTT
	"connection taken over", "replica restarted", "MQTT session goes on", "MQTT session outlives a restart", "message to a device's own session taken",
	"message of a device's own session heard", "message heard again",
	"will heard", "will heard that had waited", "goodbye", "device back before its will is sent",
	// operators
	"disabling", "disabling during a commit", "revocation", "connection ended after a change", "connection goes on after a change",
	"credential of a disabled device refused", "credential of an ended session refused", "family ended by revocation",
	"anchor rotated", "device follows to another anchor", "device follows over several anchors", "token of a replaced anchor used",
	"grant forged with a replaced anchor",
	// stores and clocks that go back
	"backup restored", "older copy put back", "older copy accepted", "older store file put back", "older store file refused",
	"older anchor restored", "device told to believe an older anchor", "device goes back to an anchor at its owner's word", "keys rotated", "device enrolls anew", "device shows a newer key statement", "device has more than the store knows of",
	"clock of the broker years ahead", "clock of the broker years behind", "store judged after a wrong clock", "no token shown in doubt", "certificate refused",
	// what the rules are about: no exchange twice
	"login", "grant made", "commit of a used exchange refused", "refused: already used",
	// one successor, one live refresh token
	"refresh", "same successor again", "family ended by reuse",
	// nothing after a disabling
	"commit of a login refused after disabling", "commit of a refresh refused after disabling", "family ended by disabling",
	"refresh of a family from before a disabling refused", "refused: device disabled",
	// only what was made for this exchange
	"grant accepted", "grant refused by an agent", "reply refused by an agent", "late message passed over by an agent",
	// two copies of a key
	"older folder of a device put back" + met, "login overtaken", "clone found",
	// in again
	"device in again", "device goes on", "credential taken", "credential refused", "refused: session expired",
}

// live lives the world of a seed.
func live(t *testing.T, seed uint64) (o *Outcome) { return liveAs(t, seed, Run) }

func liveAs(t *testing.T, seed uint64, run func(*testing.T, uint64, string) (*Outcome, error)) (o *Outcome) {
	t.Helper()
	cryptotest.SetGlobalRandom(t, seed)
	synctest.Test(t, func(t *testing.T) {
		var err error
		if o, err = run(t, seed, t.TempDir()); err != nil {
			t.Fatal(err)
		}
	})
	return o
}

func simulate(t *testing.T, seed uint64) *Outcome {
	t.Helper()
	return judge(t, seed, live(t, seed))
}

// judge fails the test if the world broke the rules, and tells its end.
func judge(t *testing.T, seed uint64, o *Outcome) *Outcome {
	t.Helper()
	t.Logf("story %s: %v", o.Digest, o.Counts)
	story := o.Story
	if os.Getenv(seedEnv) == "" {
		story = story[max(0, len(story)-keptLines):]
		if len(o.Violations) == 0 {
			return o
		}
	}
	for _, line := range story {
		t.Log(line)
	}
	for _, v := range o.Violations {
		t.Error(v)
	}
	if len(o.Violations) > 0 {
		t.Errorf("seed %d broke the rules; again with: %s=%d go test ./test/sim -run '^%s$' -v", seed, seedEnv, seed, strings.SplitN(t.Name(), "/", 2)[0])
	}
	return o
}

// TestReplay: one integer is the whole run, to the last byte carried and the
// nanosecond at which it was.
func TestReplay(t *testing.T) {
	n := uint64(20)
	if testing.Short() {
		n = 3
	}
	for seed := range n {
		var told [2]*Outcome
		for i := range told {
			t.Run(fmt.Sprintf("seed=%d/%d", seed, i), func(t *testing.T) { told[i] = live(t, seed) })
		}
		if told[0] == nil || told[1] == nil || told[0].Digest == told[1].Digest {
			continue
		}
		for i := range min(len(told[0].Story), len(told[1].Story)) {
			if told[0].Story[i] != told[1].Story[i] {
				t.Errorf("from line %d on:\n%s\n%s", i, told[0].Story[i], told[1].Story[i])
				break
			}
		}
		t.Errorf("seed %d told two stories: %s and %s", seed, told[0].Digest, told[1].Digest)
	}
}
