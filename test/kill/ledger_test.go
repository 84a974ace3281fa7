package kill

import (
	"context"
	"fmt"
	"sync"

	"github.com/signetd/signet/broker/adminapi"
)

// A ledger holds the audit trail to what operators did: each has a reason of its own,
// and the trail is read on over all lives.
type ledger struct {
	mu    sync.Mutex      // guards the fields below
	asked map[string]bool // by reason; true: it was acknowledged
	found map[string]int  // records of a reason
	after uint64          // the last record that was read
	lost  int             // not acknowledged, and not in the trail
}

func newLedger() *ledger { return &ledger{asked: map[string]bool{}, found: map[string]int{}} }

// asks gives the reason of something new.
func (l *ledger) asks() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	reason := fmt.Sprintf("kill %d", len(l.asked)+1)
	l.asked[reason] = false
	return reason
}

func (l *ledger) acknowledged(reason string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.asked[reason] = true
}

// check reads on. No number is left out; what was acknowledged is there once, what was
// not at most once.
func (l *ledger) check(ctx context.Context, c *adminapi.Client) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	for {
		page, err := c.Audit(ctx, adminapi.AuditQuery{}, l.after, 500)
		if err != nil {
			return fmt.Errorf("read the audit trail: %w", err)
		}
		for _, r := range page.Items {
			if r.Seq != l.after+1 {
				return fmt.Errorf("%w: record %d comes after record %d", errWrong, r.Seq, l.after)
			}
			if l.after = r.Seq; r.Reason != "" {
				l.found[r.Reason]++
			}
		}
		if len(page.Items) == 0 {
			break
		}
	}
	l.lost = 0
	for reason, acknowledged := range l.asked {
		n := l.found[reason]
		if n > 1 || acknowledged && n == 0 {
			return fmt.Errorf("%w: %d records of %q, acknowledged: %v", errWrong, n, reason, acknowledged)
		}
		if n == 0 {
			l.lost++
		}
	}
	for reason := range l.found {
		if _, ok := l.asked[reason]; !ok {
			return fmt.Errorf("%w: a record of %q, which nobody asked for", errWrong, reason)
		}
	}
	return nil
}

func (l *ledger) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return fmt.Sprintf("  %d records, %d of operators, %d of their writes died with the broker\n", l.after, len(l.found), l.lost)
}
