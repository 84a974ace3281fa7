package flood

import (
	"context"
	"os"
	"slices"
	"sync"
	"testing"
	"time"
)

const (
	honest    = 50
	maxMemory = 512 << 20 // bytes that signetd may ever have had in memory
	// timeEnv is how long a flood lasts, which has its long form then, too.
	timeEnv = "SIGNET_FLOOD_TIME"
)

// floodTime is 6 s unless the environment says otherwise.
func floodTime(t testing.TB) (d time.Duration, long bool) {
	t.Helper()
	s := os.Getenv(timeEnv)
	if s == "" {
		return 6 * time.Second, false
	}
	d, err := time.ParseDuration(s)
	if err != nil {
		t.Fatalf("%s: %v", timeEnv, err)
	}
	return d, true
}

// TestOverload: while strangers flood every door from thousands of addresses, each honest
// login succeeds; signetd stays within its memory; and afterwards nothing of it is left.
func TestOverload(t *testing.T) {
	lasts, long := floodTime(t)
	floods := map[string]map[string]int{"all": nil}
	if long {
		// As many as the limits let in, each with as much as it may hold.
		floods["held"] = map[string]int{"connect-held": 13, "header-held": 5, "body-held": 3, "half-handshake": 5}
		// Each form alone, ten times.
		floods["connections"] = map[string]int{"handshake-mqtt": 10, "handshake-https": 10, "websocket": 10}
		floods["fat properties"] = map[string]int{"connect-held": 10, "connect-long": 10}
		floods["half packets"] = map[string]int{"half-handshake": 10, "connect-held": 10}
		floods["starts"] = map[string]int{"start": 10, "refresh": 10}
		floods["authentications"] = map[string]int{"auth-held": 10, "auth-loop": 10, "auth-start": 10}
		floods["slow readers"] = map[string]int{"deaf": 10}
	}
	for name, kinds := range floods {
		t.Run(name, func(t *testing.T) {
			s := open(t, t.TempDir())
			devices := s.enroll(honest)
			before := s.settled(nil)
			stop := s.flood(kinds)
			ctx, cancel := context.WithTimeout(t.Context(), lasts)
			defer cancel()
			took := logins(ctx, t, devices)
			during := s.figures()
			did := stop()
			t.Logf("%d honest logins beside %+v; %v MQTT and %v HTTPS connections; %d MiB at most", len(took), did,
				during[`signet_connections{listener="mqtt"}`], during[`signet_connections{listener="https"}`], s.most()>>20)
			if len(took) < honest {
				t.Errorf("%d honest logins of %d devices", len(took), honest)
			}
			held := during[`signet_connections{listener="mqtt"}`] + during[`signet_connections{listener="https"}`]
			if did.Done+did.Asked < 10*int64(len(took)) && held < 10*honest {
				t.Errorf("no flood: %+v beside %d honest logins", did, len(took))
			}
			if got := s.most(); got > maxMemory {
				t.Errorf("signetd had %d MiB in memory, at most %d", got>>20, maxMemory>>20)
			}
			s.settled(&before)
		})
	}
}

// BenchmarkOverload is an honest login, from connecting on, in the flood of TestOverload: its
// 99th percentile, which the floor is without the flood. The strangers take half of the
// machine for themselves.
func BenchmarkOverload(b *testing.B) {
	s := open(b, b.TempDir())
	devices := s.enroll(honest)
	var floor, flooded []time.Duration
	for b.Loop() {
		for _, in := range []struct {
			flood bool
			lasts time.Duration
			took  *[]time.Duration
		}{{false, 10 * time.Second, &floor}, {true, 20 * time.Second, &flooded}} {
			stop := func() (none toll) { return none }
			if in.flood {
				stop = s.flood(nil)
			}
			ctx, cancel := context.WithTimeout(b.Context(), in.lasts)
			*in.took = append(*in.took, logins(ctx, b, devices)...)
			cancel()
			stop()
		}
	}
	p99 := func(all []time.Duration) float64 {
		slices.Sort(all)
		return all[len(all)*99/100].Seconds()
	}
	b.ReportMetric(p99(flooded), "p99-s")
	b.ReportMetric(p99(floor), "floor-p99-s")
	b.ReportMetric(p99(flooded)/p99(floor), "x-floor")
	b.ReportMetric(float64(s.most())/(1<<20), "MiB-most")
	b.ReportMetric(0, "ns/op")
}

// logins has each device log in again and again, a second apart, until ctx ends. It gives
// how long each login took, from connecting on.
func logins(ctx context.Context, t testing.TB, all []*device) (took []time.Duration) {
	var mu sync.Mutex
	var wg sync.WaitGroup
	for i, d := range all {
		wg.Go(func() {
			pause := time.NewTimer(time.Second * time.Duration(i) / time.Duration(len(all))) // not all at once
			defer pause.Stop()
			for {
				select {
				case <-ctx.Done():
					return
				case <-pause.C:
				}
				began := time.Now()
				if err := d.login(t.Context()); err != nil { // one that has begun is ended
					t.Errorf("an honest login fails: %v", err)
				}
				pause.Reset(time.Second)
				mu.Lock()
				took = append(took, time.Since(began))
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	return took
}

// spare is how many goroutines signetd keeps for the next requests over MQTT.
const spare = 64

// A level is what signetd holds when nobody does anything.
type level struct{ goroutines, files float64 }

// settled waits until nobody is connected and signetd holds no more than at most, and what it
// has to spare, if that is not nil.
func (s *site) settled(most *level) (now level) {
	s.t.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(100 * time.Millisecond) {
		f := s.figures()
		now = level{f["go_goroutines"], f["process_open_fds"]}
		conns := f[`signet_connections{listener="mqtt"}`] + f[`signet_connections{listener="https"}`]
		if conns == 0 && (most == nil || now.goroutines <= most.goroutines+spare && now.files <= most.files) {
			return now
		}
		if time.Now().After(end) {
			s.t.Fatalf("%v connections and %+v are left, want none and %+v", conns, now, most)
		}
	}
}
