package fleet

import (
	"math/bits"
	"time"
)

// subBits is how finely a power of two is divided: 32 parts, so a reading is at
// most 3% above what was measured.
const subBits = 5

// A histogram counts durations in buckets that grow with them. The zero value is empty.
type histogram struct {
	counts []int64
	n      int64
	sum    time.Duration
	top    time.Duration
}

func (h *histogram) add(d time.Duration) {
	d = max(d, 0)
	b := bucket(uint64(d))
	for len(h.counts) <= b {
		h.counts = append(h.counts, 0)
	}
	h.counts[b]++
	h.n++
	h.sum += d
	h.top = max(h.top, d)
}

// bucket is exact below 32 ns; above, the leading 6 bits decide.
func bucket(v uint64) int {
	if v < 1<<subBits {
		return int(v)
	}
	shift := bits.Len64(v) - 1 - subBits
	return shift<<subBits + int(v>>shift)
}

// ceiling is the largest value of bucket b.
func ceiling(b int) uint64 {
	if b < 2<<subBits {
		return uint64(b)
	}
	shift := b>>subBits - 1
	return uint64(b&(1<<subBits-1)|1<<subBits)<<shift + 1<<shift - 1
}

// quantile gives a duration that the share q of all is not above.
func (h *histogram) quantile(q float64) time.Duration {
	var seen int64
	for b, n := range h.counts {
		if seen += n; n > 0 && float64(seen) >= q*float64(h.n) {
			return min(time.Duration(ceiling(b)), h.top)
		}
	}
	return h.top
}

func (h *histogram) latency() Latency {
	if h.n == 0 {
		return Latency{}
	}
	return Latency{
		Count: h.n, Mean: millis(h.sum / time.Duration(h.n)), P50: millis(h.quantile(0.5)), P90: millis(h.quantile(0.9)),
		P99: millis(h.quantile(0.99)), Max: millis(h.top),
	}
}

// millis rounds to microseconds and gives milliseconds.
func millis(d time.Duration) float64 {
	return float64(d.Round(time.Microsecond)) / float64(time.Millisecond)
}
