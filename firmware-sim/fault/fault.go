// Package fault plans what goes wrong for a simulated device and makes it happen:
// links that drop, messages that come twice, late or damaged, clocks that are
// decades off, power that fails in the middle of an exchange.
//
// A plan follows from a seed, a device and a call alone, never from timing, so the same
// seed plans the same faults. It never hides a fault: Link.Fired and *Injected tell what
// was injected.
package fault

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"
)

// A Kind is a kind of fault.
type Kind string

// The kinds of fault.
const (
	Drop      Kind = "drop"       // the connection ends before or after a request got through
	Duplicate Kind = "duplicate"  // a request reaches the broker twice, a reply may be the second one's
	Delay     Kind = "delay"      // a request or reply is late
	Corrupt   Kind = "corrupt"    // one bit of a request or reply is flipped
	Clock1970 Kind = "clock-1970" // the device boots believing that it is 1970
	Clock2099 Kind = "clock-2099" // the device boots believing that it is 2099
	Reboot    Kind = "reboot"     // the power fails before or after a request got through
)

// Limits on plans. Chosen arbitrarily, near what cellular networks do.
const (
	rounds   = 2 // an exchange with one challenge has two requests
	minDelay = 20 * time.Millisecond
	maxDelay = 1500 * time.Millisecond
)

// ErrKind is wrapped by Parse for a word that names no kind.
var ErrKind = errors.New("unknown fault")

// Kinds lists all kinds in a fixed order.
func Kinds() []Kind {
	return []Kind{Drop, Duplicate, Delay, Corrupt, Clock1970, Clock2099, Reboot}
}

// Parse reads a kind.
func Parse(s string) (Kind, error) {
	if k := Kind(s); slices.Contains(Kinds(), k) {
		return k, nil
	}
	names := make([]string, 0, len(Kinds()))
	for _, k := range Kinds() {
		names = append(names, string(k))
	}
	return "", fmt.Errorf("%w %q, want one of %s", ErrKind, s, strings.Join(names, ", "))
}

// A Plan is what goes wrong in one call. The zero Plan is that nothing does.
type Plan struct {
	Kind  Kind
	Round int           // which request of the call it strikes, from 0
	Reply bool          // it strikes the reply, not the request
	Delay time.Duration // how late a late message is
	Bit   uint32        // which bit is flipped, modulo how many there are
}

// A Source plans faults.
type Source struct {
	Seed  uint64
	Rate  float64 // share of calls in which something goes wrong, 0 to 1
	Kinds []Kind  // nil for all; each as likely as another
}

// Plan says what goes wrong in a device's call, both counted from 0. It depends on
// nothing else.
func (s Source) Plan(device, call int) Plan {
	r := s.Rand("fault", device, call)
	if r.Float64() >= s.Rate {
		return Plan{}
	}
	kinds := s.Kinds
	if len(kinds) == 0 {
		kinds = Kinds()
	}
	return Plan{
		Kind: kinds[r.IntN(len(kinds))], Round: r.IntN(rounds), Reply: r.IntN(2) == 1,
		Delay: minDelay + time.Duration(r.Int64N(int64(maxDelay-minDelay))), Bit: r.Uint32(),
	}
}

// Rand gives random numbers that follow from the seed, a purpose and two numbers.
// Not for secrets.
func (s Source) Rand(purpose string, a, b int) *rand.Rand {
	var in []byte
	in = binary.BigEndian.AppendUint64(in, s.Seed)
	in = binary.BigEndian.AppendUint64(in, uint64(a))
	in = binary.BigEndian.AppendUint64(in, uint64(b))
	return rand.New(rand.NewChaCha8(sha256.Sum256(append(in, purpose...))))
}

// Clock gives the clock of a device that boots under p: nil, for the right one,
// unless p is a wrong clock. It runs at the right speed.
func (p Plan) Clock() func() time.Time {
	var wrong time.Time
	switch p.Kind {
	case Clock1970:
		wrong = time.Unix(0, 0)
	case Clock2099:
		wrong = time.Date(2099, time.December, 31, 23, 0, 0, 0, time.UTC)
	default:
		return nil
	}
	boot := time.Now()
	return func() time.Time { return wrong.Add(time.Since(boot)) }
}

// Excuses tells whether a call may fail because of the fault. The others a device
// must get over within the call: late and doubled messages, and every wrong clock.
func (k Kind) Excuses() bool { return k == Drop || k == Corrupt || k == Reboot }

// Injected is the error of a call that failed on purpose.
type Injected struct{ Kind Kind }

func (e *Injected) Error() string { return "injected fault: " + string(e.Kind) }
