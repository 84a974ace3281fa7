package sim

import (
	"os"
	"testing"
	"time"
)

// How many small worlds, each with a network that delivers honestly and ends the TLS of
// some connections, at least: SIGNET_SIM_SEEDS or SIGNET_SIM_SEED as with TestSimulation, of a
// fifth as many: the worlds of that have such a network among their faults.
const relayedSeeds = 400

// TestRelayed: whoever owns an MQTT broker in the middle, and keeps all that he hears,
// connects as nobody, convinces no backend, and has no connection that becomes a device's,
// not even with the connect proofs of connections that he does not relay. Devices say
// which of them he relays, show him no token, and are in again when he is gone.
func TestRelayed(t *testing.T) {
	one := func(t *testing.T, seed uint64) *Outcome { return judge(t, seed, liveAs(t, seed, relayed)) }
	if seed, set := number(t, seedEnv, 0); set {
		one(t, uint64(seed))
		return
	}
	if s := os.Getenv(shardEnv); s != "" {
		runShard(t, s, one)
		return
	}
	n, _ := number(t, seedsEnv, relayedSeeds)
	n = max(n/5, relayedSeeds) // they are small
	if testing.Short() {
		n = min(n, 40)
	}
	total := inShards(t, n)
	for _, what := range []string{
		"connection through the network's MQTT broker", "the network tries what it heard as a password", "the network tries what it heard at a backend",
		"the network tries a connect proof of another connection", "the network says again what it heard", "device says relayed: true", "device says relayed: false",
		"refresh", "credential taken", "connection lost", "reboot", "replica crashes", "device in again",
	} {
		t.Logf("%8d  %s", total[what], what)
		if total[what] == 0 && !t.Failed() {
			t.Errorf("it never happened in %d seeds: %s", n, what)
		}
	}
}

// relayed lives a small world: two devices, and nothing worse than connections that end.
func relayed(t *testing.T, seed uint64, folder string) (*Outcome, error) {
	return run(t, &World{seed: seed, facts: newFacts(), size: 2}, folder, func(w *World) {
		w.net.calm, w.net.broker.open = true, true
		dice := w.fate.dice
		for end := time.Now().Add(3 * time.Minute); time.Now().Before(end); {
			w.fate.rest(dice.upTo(20 * time.Second))
			d := w.devices[dice.roll(len(w.devices))]
			switch dice.roll(8) {
			case 0:
				w.facts.happens("reboot", "%s reboots", d.id)
				d.restart()
			case 1:
				w.fail(w.replicas[dice.roll(len(w.replicas))], 0)
			case 2:
				d.hint()
			default:
				w.facts.happens("connection lost", "%s loses its connection", d.id)
				d.cut()
			}
		}
		w.replay(1)
		w.intrude(w.replicas...)
	})
}
