package fault_test

import (
	"bytes"
	"context"
	"errors"
	"math/bits"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/signetd/signet/firmware-sim/fault"
)

func TestSameSeedSamePlan(t *testing.T) {
	a, b, c := fault.Source{Seed: 7, Rate: 0.5}, fault.Source{Seed: 7, Rate: 0.5}, fault.Source{Seed: 8, Rate: 0.5}
	same := true
	for device := range 50 {
		for call := range 10 {
			if diff := cmp.Diff(a.Plan(device, call), b.Plan(device, call)); diff != "" {
				t.Fatalf("device %d, call %d: %s", device, call, diff)
			}
			same = same && a.Plan(device, call) == c.Plan(device, call)
		}
	}
	if same {
		t.Error("another seed planned the same faults")
	}
}

func TestRateAndKinds(t *testing.T) {
	const calls = 20_000
	seen := map[fault.Kind]int{}
	s := fault.Source{Seed: 1, Rate: 0.1}
	for call := range calls {
		seen[s.Plan(3, call).Kind]++
	}
	if n := calls - seen[""]; n < calls/10-200 || n > calls/10+200 {
		t.Errorf("%d faults in %d calls at a rate of 0.1", n, calls)
	}
	for _, k := range fault.Kinds() {
		if n := seen[k]; n < 200 || n > 380 {
			t.Errorf("%d of %s, the kinds are meant to be as likely as one another", n, k)
		}
	}
	if (fault.Source{Seed: 1}).Plan(0, 0) != (fault.Plan{}) {
		t.Error("a fault at rate 0")
	}
	only := fault.Source{Rate: 1, Kinds: []fault.Kind{fault.Reboot}}
	if k := only.Plan(0, 0).Kind; k != fault.Reboot {
		t.Errorf("got %q", k)
	}
}

func TestParse(t *testing.T) {
	for _, k := range fault.Kinds() {
		if got, err := fault.Parse(string(k)); err != nil || got != k {
			t.Errorf("%s: %q, %v", k, got, err)
		}
	}
	if _, err := fault.Parse("gremlin"); !errors.Is(err, fault.ErrKind) {
		t.Error(err)
	}
}

func TestClock(t *testing.T) {
	for kind, year := range map[fault.Kind]int{fault.Clock1970: 1970, fault.Clock2099: 2099} {
		if got := (fault.Plan{Kind: kind}).Clock()().UTC().Year(); got != year {
			t.Errorf("%s: it is %d", kind, got)
		}
	}
	if (fault.Plan{Kind: fault.Drop}).Clock() != nil {
		t.Error("a dropped link changed the clock")
	}
}

// wire answers each request with its own bytes and the number of requests.
type wire struct{ got [][]byte }

func (w *wire) RoundTrip(_ context.Context, request []byte) ([]byte, error) {
	w.got = append(w.got, request)
	return append(bytes.Clone(request), byte(len(w.got))), nil
}

func TestLink(t *testing.T) {
	request := bytes.Repeat([]byte{0x55}, 60)
	for _, tt := range []struct {
		plan    fault.Plan
		reached int  // requests that the broker sees
		reply   byte // last byte of what the device gets, 0 for a failure
		cut     bool
		damaged int // bits flipped on the way there and back
	}{
		{fault.Plan{}, 1, 1, false, 0},
		{fault.Plan{Kind: fault.Clock1970}, 1, 1, false, 0},
		{fault.Plan{Kind: fault.Drop}, 0, 0, true, 0},
		{fault.Plan{Kind: fault.Drop, Reply: true}, 1, 0, true, 0},
		{fault.Plan{Kind: fault.Reboot, Reply: true}, 1, 0, true, 0},
		{fault.Plan{Kind: fault.Duplicate}, 2, 1, false, 0},
		{fault.Plan{Kind: fault.Duplicate, Reply: true}, 2, 2, false, 0},
		{fault.Plan{Kind: fault.Delay, Delay: time.Second}, 1, 1, false, 0},
		{fault.Plan{Kind: fault.Delay, Delay: time.Second, Reply: true}, 1, 1, false, 0},
		{fault.Plan{Kind: fault.Corrupt, Bit: 1 << 31}, 1, 1, false, 1},
		{fault.Plan{Kind: fault.Corrupt, Bit: 5, Reply: true}, 1, 1, false, 1},
	} {
		synctest.Test(t, func(t *testing.T) {
			w, cut := new(wire), false
			l := fault.NewLink(w, func() { cut = true }, tt.plan)
			start := time.Now()
			reply, err := l.RoundTrip(t.Context(), request)
			if time.Since(start) != tt.plan.Delay {
				t.Errorf("%+v: took %v", tt.plan, time.Since(start))
			}
			var injected *fault.Injected
			if (err != nil) != (tt.reply == 0) || err != nil && (!errors.As(err, &injected) || injected.Kind != tt.plan.Kind) {
				t.Errorf("%+v: %v", tt.plan, err)
			}
			if err == nil && reply[len(reply)-1] != tt.reply {
				t.Errorf("%+v: got reply %d", tt.plan, reply[len(reply)-1])
			}
			if len(w.got) != tt.reached || cut != tt.cut {
				t.Errorf("%+v: %d requests, cut %v", tt.plan, len(w.got), cut)
			}
			if err == nil && (differ(request, reply) != tt.damaged || l.Damaged() != (tt.damaged > 0)) {
				t.Errorf("%+v: %d bits differ, damaged %v", tt.plan, differ(request, reply), l.Damaged())
			}
			if want := tt.plan.Kind != "" && tt.plan.Clock() == nil; l.Fired() != want {
				t.Errorf("%+v: fired %v", tt.plan, l.Fired())
			}
		})
	}
}

// differ counts the bits in which b differs from a; the first 23 bytes must not.
func differ(a, b []byte) (n int) {
	for i := range a {
		d := bits.OnesCount8(a[i] ^ b[i])
		if d > 0 && i < 23 {
			return -1
		}
		n += d
	}
	return n
}

func TestLinkStrikesOnceInItsRound(t *testing.T) {
	w := new(wire)
	l := fault.NewLink(w, func() {}, fault.Plan{Kind: fault.Corrupt, Round: 1})
	for range 4 {
		if _, err := l.RoundTrip(t.Context(), make([]byte, 60)); err != nil {
			t.Fatal(err)
		}
	}
	for i, m := range w.got {
		if hit := differ(make([]byte, 60), m) == 1; hit != (i == 1) {
			t.Errorf("request %d: hit %v", i, hit)
		}
	}
}

func TestLinkForgetsDamageInTheNextExchange(t *testing.T) {
	l := fault.NewLink(new(wire), func() {}, fault.Plan{Kind: fault.Corrupt})
	for id, want := range []bool{true, false} {
		m := make([]byte, 60)
		m[10] = byte(id)
		if _, err := l.RoundTrip(t.Context(), m); err != nil {
			t.Fatal(err)
		}
		if l.Damaged() != want {
			t.Errorf("exchange %d: damaged %v", id, l.Damaged())
		}
	}
}

// deaf answers nothing until it has heard a request without damage.
type deaf struct{ heard int }

func (d *deaf) RoundTrip(ctx context.Context, request []byte) ([]byte, error) {
	d.heard++
	if differ(make([]byte, 60), request) == 0 {
		return request, nil
	}
	<-ctx.Done()
	return nil, ctx.Err()
}

func TestUnansweredDamageIsSentAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := new(deaf)
		l := fault.NewLink(d, func() {}, fault.Plan{Kind: fault.Corrupt})
		if _, err := l.RoundTrip(t.Context(), make([]byte, 60)); err != nil || d.heard != 2 || l.Damaged() || !l.Fired() {
			t.Errorf("%v after %d requests, damaged %v", err, d.heard, l.Damaged())
		}
	})
}
