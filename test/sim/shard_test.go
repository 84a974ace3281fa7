package sim

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"sync"
	"testing"
	"time"
)

// A world's keys and signatures come from the process's randomness, which is seeded
// for it. So that worlds can be lived in parallel all the same, each shard of the
// seeds is this program again.
const shardEnv = "SIGNET_SIM_SHARD" // "first step end result-file", set by inShards only

// inShards lives the worlds of the seeds below n and adds up what happened in them.
func inShards(t *testing.T, n int) map[string]int {
	name := t.Name()
	t.Helper()
	began := time.Now()
	var mu sync.Mutex // guards total
	total := map[string]int{}
	shards := min(runtime.GOMAXPROCS(0), n)
	t.Run("shards", func(t *testing.T) {
		for i := range shards {
			t.Run(fmt.Sprintf("%d of %d", i+1, shards), func(t *testing.T) {
				t.Parallel()
				counts := startShard(t, name, i, shards, n)
				mu.Lock()
				defer mu.Unlock()
				for what, count := range counts {
					total[what] += count
				}
			})
		}
	})
	took := time.Since(began)
	t.Logf("%d seeds in %v: %.1f a second", n, took.Round(time.Second/10), float64(n)/took.Seconds())
	return total
}

// startShard runs the seeds first, first+step, ... below end in a process of their own.
func startShard(t *testing.T, name string, first, step, end int) (counts map[string]int) {
	t.Helper()
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	ctx := t.Context()
	if at, set := t.Deadline(); set {
		var cancel context.CancelFunc
		ctx, cancel = context.WithDeadline(ctx, at.Add(-10*time.Second))
		defer cancel()
	}
	result := filepath.Join(t.TempDir(), "counts.json")
	cmd := exec.CommandContext(ctx, program, "-test.run=^"+name+"$", "-test.timeout=0")
	cmd.Env = append(os.Environ(), fmt.Sprintf("%s=%d %d %d %s", shardEnv, first, step, end, result), "GOMAXPROCS=1", "GOGC=800") // a world is small, and gone soon
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	raw, err := os.ReadFile(result)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(raw, &counts); err != nil {
		t.Fatal(err)
	}
	return counts
}

// runShard is what startShard's process does.
func runShard(t *testing.T, shard string, live func(*testing.T, uint64) *Outcome) {
	t.Helper()
	var first, step, end, failed int
	var result string
	if _, err := fmt.Sscan(shard, &first, &step, &end, &result); err != nil {
		t.Fatalf("%s=%q: %v", shardEnv, shard, err)
	}
	total := map[string]int{}
	for seed := first; seed < end && failed < enough; seed += step {
		ok := t.Run(fmt.Sprintf("seed=%d", seed), func(t *testing.T) {
			for what, count := range live(t, uint64(seed)).Counts {
				total[what] += count
			}
		})
		if !ok {
			failed++
		}
	}
	raw, err := json.Marshal(total)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(result, raw, 0o600); err != nil {
		t.Fatal(err)
	}
}
