package broker

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/signetd/signet/protocol/ident"
)

// How guessing is slowed down. Chosen so that a person who mistypes hears little of
// it, and a four-digit code stands for a year: after the free tries some twenty-five
// a day are let through.
const (
	FreeTries  = 3                // wrong ones in a row
	firstWait  = 30 * time.Second // doubled with each further one
	longestTry = time.Hour        // between two
	keepTries  = 24 * time.Hour   // since the last one, then wrong ones are forgotten
	keepGuest  = 15 * time.Minute // since the last one of an exchange: so long none can be answered, by clocks that are ClocksApart
	keptMarks  = 8                // answers that are known again when they are repeated
	stepsApart = 16               // ClocksApart, in steps of one-time codes

	// RepeatTime is how long after it was counted an answer may be sent again and is no
	// further try: whoever lost the verdict asks for it soon. Later the same code is
	// another guess, for what it is compared with has moved on.
	RepeatTime = 10 * time.Second
)

// WaitAfter is how long nothing is tried after n wrong answers in a row.
func WaitAfter(n int) time.Duration {
	if n < FreeTries {
		return 0
	}
	return min(firstWait<<min(n-FreeTries, 16), longestTry)
}

// A TryOf names an account of tries: who guesses at what. One who proved the device's
// key has the device's own account, in whatever exchange; one who proved an enrollment
// token has one with it for that device's name; one who proved nothing has the
// exchange's, so that no stranger can use up a device's tries.
type TryOf struct {
	Device   ident.Device
	What     string     // is guessed: a method's name, or "hook:" and the hook's
	Enroll   string     // the enrollment token's id, or empty
	Exchange ident.UUID // or zero
}

// Key is the account's key in a store: no two accounts share one, and those of a
// device, and of a pool, have a common start that ends in a NUL.
func (of TryOf) Key() []byte {
	if !of.Exchange.IsZero() {
		return append([]byte{0}, of.Exchange[:]...)
	}
	return []byte(strings.Join([]string{of.Device.Pool.String(), of.Device.Name.String(), of.What, of.Enroll}, "\x00"))
}

// Recorded reports whether the journal tells of each try. It does not of those of exchanges:
// whoever proved nothing can make any number of them, and what they are refused is in the
// journal in sums (RecordRefusal).
func (of TryOf) Recorded() bool { return of.Exchange.IsZero() }

// Owner is the account of the device itself, in which it is remembered up to which
// step one-time codes were used.
func (of TryOf) Owner() TryOf { return TryOf{Device: of.Device, What: of.What} }

// A TryMark tells one answer from another: the start of the transcript that ends with it.
type TryMark [16]byte

// Tried is what Try found.
type Tried struct {
	N    int           // wrong tries in a row, this one included
	Wait time.Duration // above 0: nothing was counted and nothing may be tried for so long
}

// Tries is the store of counts of wrong guessable answers. Its journal tells of a write if
// TryOf.Recorded says so.
type Tries interface {
	// Try counts one attempt before its answer is checked. When there have been too many, it
	// counts nothing and gives how long to wait. An answer whose mark is known was sent
	// again, and is no further try for RepeatTime after it was counted; later it is one.
	Try(ctx context.Context, by By, of TryOf, mark TryMark, now time.Time) (Tried, error)
	// Accept takes back the try of an answer that was right. With a step above 0 the answer
	// is a code that may be used once: if its step is not later than all before, that is
	// ErrUsed and the try stays. The same mark again is no second use.
	Accept(ctx context.Context, by By, of TryOf, mark TryMark, step uint64) error
	// Settle sets the counts of a device that has passed its flow back to none. It writes
	// nothing if they are.
	Settle(ctx context.Context, by By, of []TryOf) error
}

// A TryCount is what a store keeps of one account: the rules of Tries, without a store.
// The zero value is an account that nobody has used.
type TryCount struct {
	N     int       // wrong tries in a row
	Next  time.Time // no try before
	Last  time.Time // when the last try was
	Step  uint64    // of the last code that was good, 0 before the first
	Used  TryMark   // its answer
	Marks []TryOnce // the last tries
}

// A TryOnce is a try that was counted.
type TryOnce struct {
	Mark TryMark
	At   time.Time
}

// repeats reports whether an answer is one that was counted a moment ago, sent again.
func (c *TryCount) repeats(mark TryMark, now time.Time) bool {
	at := c.Last
	if i := c.find(mark); i >= 0 {
		at = c.Marks[i].At
	} else if c.Step == 0 || c.Used != mark {
		return false
	}
	return now.Sub(at).Abs() < RepeatTime
}

func (c *TryCount) find(mark TryMark) int {
	return slices.IndexFunc(c.Marks, func(t TryOnce) bool { return t.Mark == mark })
}

// forget takes a mark out of those that are known.
func (c *TryCount) forget(mark TryMark) (known bool) {
	i := c.find(mark)
	if i >= 0 {
		c.Marks = slices.Delete(slices.Clone(c.Marks), i, i+1)
	}
	return i >= 0
}

// Try is Tries.Try. changed tells whether there is something to write.
func (c *TryCount) Try(mark TryMark, now time.Time) (t Tried, changed bool) {
	if c.repeats(mark, now) {
		return Tried{N: max(c.N, 1)}, false
	}
	if now.Sub(c.Last) > keepTries {
		c.N, c.Next, c.Marks = 0, time.Time{}, nil
	}
	rule := WaitAfter(c.N)
	if c.Next.Sub(now) > rule+ClocksApart { // counted by a clock that was ahead, which is no reason to wait for it
		c.Last, c.Next, changed = now, now.Add(rule), true
	}
	if wait := min(c.Next.Sub(now), rule); wait > 0 { // nobody waits longer than the rule
		return Tried{N: c.N, Wait: wait}, changed
	}
	c.N++
	c.Last, c.Next = now, time.Time{}
	if wait := WaitAfter(c.N); wait > 0 {
		c.Next = now.Add(wait)
	}
	c.forget(mark)
	if c.Marks = append(c.Marks, TryOnce{Mark: mark, At: now}); len(c.Marks) > keptMarks {
		c.Marks = slices.Clone(c.Marks[1:])
	}
	return Tried{N: c.N}, true
}

// TakeBack is what Tries.Accept does in the account that the try was counted in.
func (c *TryCount) TakeBack(mark TryMark) (changed bool) {
	if !c.forget(mark) {
		return false
	}
	c.N, c.Next = max(0, c.N-1), time.Time{}
	return true
}

// Use notes a code that is good once, in the owner's account. It is one of now, so a
// code from long after it was used when the clock was ahead, and is no reason to refuse it.
func (c *TryCount) Use(mark TryMark, step uint64) (changed bool, err error) {
	if c.Step == step && c.Used == mark {
		return false, nil
	}
	if step <= c.Step && c.Step-step <= stepsApart {
		return false, fmt.Errorf("code of step %d, used up to %d: %w", step, c.Step, ErrUsed)
	}
	c.Step, c.Used = step, mark
	return true, nil
}

// Settle is Tries.Settle.
func (c *TryCount) Settle() (changed bool) {
	changed = c.N > 0 || !c.Next.IsZero()
	c.N, c.Next = 0, time.Time{}
	return changed
}

// Until is when the account of may be dropped: an exchange's when it is long over, and
// never one that knows of used codes.
func (c *TryCount) Until(of TryOf) (at time.Time, ever bool) {
	keep := keepTries + time.Hour
	if !of.Exchange.IsZero() {
		keep = keepGuest
	}
	return c.Last.Add(keep), c.Step == 0
}
