package broker_test

import (
	"errors"
	"testing"
	"time"

	"github.com/signetd/signet/broker"
)

// TestNextEpoch: it follows the time, and grows whatever the clock says.
func TestNextEpoch(t *testing.T) {
	for _, c := range []struct {
		was  uint64
		at   int64
		want uint64
	}{{0, 100, 100}, {100, 100, 101}, {5000, 100, 5001}, {0, -5, 1}, {7, -5, 8}} {
		if got, err := broker.NextEpoch(c.was, time.Unix(c.at, 0)); err != nil || got != c.want {
			t.Errorf("after %d at %d: %d, %v, want %d", c.was, c.at, got, err, c.want)
		}
	}
	if _, err := broker.NextEpoch(broker.MaxEpoch, time.Unix(1, 0)); !errors.Is(err, broker.ErrInvalid) {
		t.Errorf("after the last: %v", err)
	}
}
