package broker

import (
	"context"
	"fmt"
	"time"
)

// MaxEpoch is the highest epoch, which the next one never has to pass: the year 9999 in
// Unix seconds. Chosen arbitrarily.
const MaxEpoch = 253402300799

// NextEpoch is the epoch of a store that is put back at a time, of which it knows that it
// was in the epoch was: the time in Unix seconds, because an older copy of a store does
// not know what came after it, nor how often it was put back before; and above was,
// whatever the clock says.
func NextEpoch(was uint64, at time.Time) (uint64, error) {
	next := max(was+1, uint64(max(at.Unix(), 1)))
	if next > MaxEpoch {
		return 0, fmt.Errorf("%w: epoch %d, at most %d", ErrInvalid, next, uint64(MaxEpoch))
	}
	return next, nil
}

// Epochs is the store of its own epoch: the number of the life that it is in. A store
// that is put back, from a backup or otherwise, begins a new life, because those that it
// dealt with since that copy was taken know more than it does. Devices take the key
// statement of a newer epoch, though its keys may be older than those that they know.
type Epochs interface {
	// Epoch gives it: 0 for a store that was never put back.
	Epoch(ctx context.Context) (uint64, error)
	// RaiseEpoch sets it to to, unless it is as high already: then ErrInvalid.
	RaiseEpoch(ctx context.Context, by By, to uint64) error
}
