package sim

import (
	"fmt"
	"os"
	"strconv"
	"testing"
	"testing/cryptotest"
	"testing/synctest"
)

// How many seeds, and from which on:
//
//	SIGNET_SIM_SEEDS=2000 go test ./test/sim
//	SIGNET_SIM_SEED=1234 go test ./test/sim -run TestSimulation -v
const (
	seedsEnv  = "SIGNET_SIM_SEEDS"
	seedEnv   = "SIGNET_SIM_SEED"
	seeds     = 100
	keptLines = 80 // of a failed run's story; all of it when the seed is given
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
	n, _ := number(t, seedsEnv, seeds)
	if testing.Short() {
		n = min(n, 20)
	}
	for seed := range n {
		t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			simulate(t, uint64(seed))
		})
	}
}

// live lives the world of a seed.
func live(t *testing.T, seed uint64) (o *Outcome) {
	t.Helper()
	cryptotest.SetGlobalRandom(t, seed)
	synctest.Test(t, func(t *testing.T) {
		var err error
		if o, err = Run(t, seed, t.TempDir()); err != nil {
			t.Fatal(err)
		}
	})
	return o
}

func simulate(t *testing.T, seed uint64) *Outcome {
	t.Helper()
	o := live(t, seed)
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
		t.Errorf("seed %d broke the rules; again with: %s=%d go test ./test/sim -run TestSimulation -v", seed, seedEnv, seed)
	}
	return o
}

// TestReplay: one integer is the whole run.
func TestReplay(t *testing.T) {
	for seed := range uint64(20) {
		var told [2]*Outcome
		for i := range told {
			t.Run(fmt.Sprintf("seed=%d/%d", seed, i), func(t *testing.T) { told[i] = live(t, seed) })
		}
		if told[0].Digest == told[1].Digest {
			continue
		}
		for i := range min(len(told[0].Story), len(told[1].Story)) {
			if told[0].Story[i] != told[1].Story[i] {
				t.Errorf("seed %d: line %d: %s", seed, i, told[0].Story[i])
				t.Errorf("seed %d: line %d: %s", seed, i, told[1].Story[i])
				break
			}
		}
		t.Errorf("seed %d told two stories: %s and %s", seed, told[0].Digest, told[1].Digest)
	}
}
