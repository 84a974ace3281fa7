package intake

import (
	"net/netip"
	"testing"
	"time"
)

func TestBuckets(t *testing.T) {
	b, now := NewBuckets(0.5, 2), time.Unix(1e9, 0)
	one, other := netip.MustParsePrefix("192.0.2.1/32"), netip.MustParsePrefix("2001:db8::/64")
	for range 2 {
		if wait := b.Take(one, now); wait != 0 {
			t.Fatalf("waits %v", wait)
		}
	}
	if wait := b.Take(one, now); wait != 2*time.Second || b.Has(one, now) {
		t.Errorf("a third: %v", wait)
	}
	if !b.Has(other, now) || b.Take(other, now) != 0 || b.Take(netip.Prefix{}, now) != 0 {
		t.Error("another source was held up")
	}
	if now = now.Add(2 * time.Second); !b.Has(one, now) || b.Take(one, now) != 0 || b.Take(one, now) == 0 {
		t.Error("two seconds later there is room for one")
	}
	if NewBuckets(1, 0).Take(one, now) == 0 {
		t.Error("of none there is one")
	}
}

// TestBucketsAreBounded: sources without number cost no memory without bound, share one
// bucket beyond it, and room is looked for no more than once a second.
func TestBucketsAreBounded(t *testing.T) {
	b, now := NewBuckets(1, 2), time.Unix(1e9, 0)
	at := func(i int) netip.Prefix {
		return netip.PrefixFrom(netip.AddrFrom4([4]byte{10, byte(i >> 16), byte(i >> 8), byte(i)}), 32)
	}
	taken := 0
	for i := range 3 * maxBuckets {
		if b.Take(at(i), now) == 0 {
			taken++
		}
	}
	if len(b.of) != maxBuckets || taken != maxBuckets+2 {
		t.Errorf("%d buckets, %d taken", len(b.of), taken)
	}
	now = now.Add(500 * time.Millisecond)
	b.Take(at(-1), now)
	if len(b.of) != maxBuckets {
		t.Error("looked for room too soon")
	}
	now = now.Add(time.Minute)
	if b.Take(at(-1), now) != 0 || len(b.of) != 1 {
		t.Errorf("a minute later: %d buckets", len(b.of))
	}
}
