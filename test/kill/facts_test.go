package kill

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"

	"github.com/signetd/signet/broker/adminapi"
	"github.com/signetd/signet/protocol"
	"github.com/signetd/signet/protocol/ident"
)

// An enrollToken is one whose creation was acknowledged.
type enrollToken struct {
	id    string
	token protocol.EnrollToken
	uses  int
	in    int  // devices that it brought in
	spent bool // the broker has said that no use is left
}

// facts is what the broker has acknowledged and all devices share.
type facts struct {
	pool ident.Pool
	pin  []byte // of the pool's anchor

	ledger *ledger

	mu           sync.Mutex // guards the fields below and the tokens'
	enrollTokens []*enrollToken
	strays       int // tokens whose making was not acknowledged
	tally        map[string]int
	names        int
	acks         atomic.Int64
	enough       int64 // acknowledgements after which this life ends
	end          func()
}

// ack notes one acknowledgement.
func (f *facts) ack(what string) {
	if f.acks.Add(1) == f.enough {
		f.end()
	}
	f.count(what)
}

// expect calls end at the n-th acknowledgement from now on, by who gets it.
func (f *facts) expect(n int64, end func()) {
	f.enough, f.end = f.acks.Load()+n, end
}

func (f *facts) count(what string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.tally[what]++
}

func (f *facts) String() string {
	f.mu.Lock()
	defer f.mu.Unlock()
	var s string
	for _, k := range slices.Sorted(maps.Keys(f.tally)) {
		s += fmt.Sprintf("  %d %s\n", f.tally[k], k)
	}
	return s
}

// nextName gives a name that was never used.
func (f *facts) nextName() (ident.Device, error) {
	f.mu.Lock()
	f.names++
	n := f.names
	f.mu.Unlock()
	return ident.ParseDevice(fmt.Sprintf("%s:d-%d", f.pool, n))
}

// pick gives some token, now and then one that has no use left; nil when new ones are needed.
func (f *facts) pick(r *rand.Rand) *enrollToken {
	f.mu.Lock()
	defer f.mu.Unlock()
	var fresh []*enrollToken
	for _, v := range f.enrollTokens {
		if !v.spent {
			fresh = append(fresh, v)
		}
	}
	if len(fresh) < 3 {
		return nil
	}
	if r.IntN(12) == 0 {
		return f.enrollTokens[r.IntN(len(f.enrollTokens))]
	}
	return fresh[r.IntN(len(fresh))]
}

// admitted notes that v brought a device in.
func (f *facts) admitted(v *enrollToken) {
	f.mu.Lock()
	defer f.mu.Unlock()
	v.in++
}

// exhausted notes that v was refused.
func (f *facts) exhausted(v *enrollToken) {
	f.mu.Lock()
	defer f.mu.Unlock()
	v.spent = true
}

// checkEnrollTokens holds the broker's list against ours. Each device that is or was in
// is one use: no more, no less.
func (f *facts) checkEnrollTokens(listed []adminapi.EnrollmentToken) (wrong []error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	by := make(map[string]adminapi.EnrollmentToken, len(listed))
	for _, l := range listed {
		by[l.ID] = l
		if l.Used > l.Uses {
			wrong = append(wrong, fmt.Errorf("enrollment token %s: %d of %d uses", l.ID, l.Used, l.Uses))
		}
	}
	for _, v := range f.enrollTokens {
		l, ok := by[v.id]
		switch {
		case !ok:
			wrong = append(wrong, fmt.Errorf("enrollment token %s was acknowledged and is lost", v.id))
		case l.Uses != v.uses || l.Used != v.in:
			wrong = append(wrong, fmt.Errorf("enrollment token %s: %d of %d uses listed, %d of %d happened", v.id, l.Used, l.Uses, v.in, v.uses))
		case v.spent && l.Used < l.Uses:
			wrong = append(wrong, fmt.Errorf("enrollment token %s was refused as used up and has %d of %d uses", v.id, l.Used, l.Uses))
		}
	}
	if extra := len(listed) - len(f.enrollTokens); extra > f.strays {
		wrong = append(wrong, fmt.Errorf("%d enrollment tokens that nobody has made", extra-f.strays))
	}
	return wrong
}
