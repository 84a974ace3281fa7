package fleet

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"
)

func TestBuckets(t *testing.T) {
	for v := uint64(0); v < 1<<62; v = v + v/7 + 1 {
		b := bucket(v)
		if top := ceiling(b); top < v || top > v+v/32 {
			t.Fatalf("%d is in bucket %d that ends at %d", v, b, top)
		}
		if v > 0 && b < bucket(v-1) {
			t.Fatalf("%d is in a lower bucket than %d", v, v-1)
		}
	}
}

func TestQuantiles(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	var h histogram
	var all []time.Duration
	for range 5000 {
		d := time.Duration(random.ExpFloat64() * float64(10*time.Millisecond))
		h.add(d)
		all = append(all, d)
	}
	slices.Sort(all)
	for _, q := range []float64{0.5, 0.9, 0.99, 1} {
		exact := all[int(q*float64(len(all)))-1]
		if got := h.quantile(q); got < exact || got > exact+exact/32+1 {
			t.Errorf("quantile %v is %v, want %v", q, got, exact)
		}
	}
	if l := h.latency(); l.Count != 5000 || l.Max != millis(all[4999]) {
		t.Errorf("%+v", l)
	}
	if (&histogram{}).latency() != (Latency{}) {
		t.Error("an empty histogram has latencies")
	}
}
