package wrap

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/broker/auth"
	"github.com/signetd/signet/broker/exchange"
	"github.com/signetd/signet/broker/tally"
	"github.com/signetd/signet/protocol"
	"github.com/signetd/signet/protocol/ident"
)

// A diary is a Journal in memory.
type diary struct {
	mu      sync.Mutex // guards the rest
	appends [][]broker.Event
	err     error
	full    error // what there is no room for
}

func (d *diary) Append(_ context.Context, by broker.By, events []broker.Event) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if d.err != nil {
		return d.err
	}
	for i := range events {
		if err := errors.Join(by.Validate(), events[i].Validate()); err != nil {
			return err
		}
	}
	d.appends = append(d.appends, events)
	return nil
}

// room is full, an error, while the disk is.
func (d *diary) room() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	return d.full
}

func (d *diary) fills(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.full = err
}

func (d *diary) fails(err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.err = err
}

// count gives how many appends there were.
func (d *diary) count() int {
	d.mu.Lock()
	defer d.mu.Unlock()
	return len(d.appends)
}

// all gives how often each was refused, by "pool:name code".
func (d *diary) all() map[string]int {
	d.mu.Lock()
	defer d.mu.Unlock()
	sums := map[string]int{}
	for _, e := range slices.Concat(d.appends...) {
		sums[fmt.Sprintf("%s:%s %s", e.Pool, e.Subject, e.What)] += int(e.Count)
	}
	return sums
}

// keeping runs Recorded around a core until the test's end.
func keeping(t *testing.T, d *diary, core exchange.Handler) (refuse func(), stop func()) {
	r := tally.NewEvents(d, d.room, quiet())
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		r.Run(ctx)
	}()
	h := Recorded(core, r)
	refuse = func() { h.Handle(ctx, exchange.Caller{}, &protocol.Answer{}) }
	return refuse, func() {
		cancel()
		<-ended
	}
}

// TestRefusalsAreSummed: each is in the journal once it was refused, by who was claimed and
// why, at the latest when the broker ends; and also when the journal failed meanwhile.
func TestRefusalsAreSummed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, core := &diary{}, &always{}
		refuse, stop := keeping(t, d, core)
		times := func(n int, out exchange.Outcome) {
			core.Outcome = out
			for range n {
				refuse()
			}
		}
		lamp := device(t, "demo:lamp")
		times(3, refused(lamp, auth.ErrProof, protocol.CodeDenied))
		times(2, refused(lamp, auth.ErrProof, protocol.CodeReplayed))
		times(4, refused(ident.Device{}, auth.ErrProof, protocol.CodeDenied))
		times(5, granted(lamp, exchange.Admission{}))
		time.Sleep(tally.Every + time.Second)
		if n := d.count(); n != 1 {
			t.Errorf("%d appends, want one", n)
		}
		time.Sleep(time.Hour)
		if n := d.count(); n != 1 {
			t.Errorf("%d appends although nothing was refused since", n)
		}
		d.fails(errors.New("disk"))
		times(7, refused(lamp, auth.ErrProof, protocol.CodeDenied))
		time.Sleep(tally.Every + time.Second)
		d.fails(nil)
		d.fills(broker.ErrFull)
		n := d.count()
		time.Sleep(time.Hour)
		if d.count() != n {
			t.Error("the last of a disk's room is taken by strangers")
		}
		d.fills(nil)
		times(1, refused(lamp, auth.ErrProof, protocol.CodeDenied))
		stop()
		want := map[string]int{"demo:lamp denied": 11, "demo:lamp already-used": 2, ": denied": 4}
		for k, n := range d.all() {
			if want[k] != n {
				t.Errorf("%s: %d, want %d", k, n, want[k])
			}
			delete(want, k)
		}
		if len(want) > 0 {
			t.Errorf("not kept: %v", want)
		}
	})
}

// TestStrangersGrowNoJournal: whatever names and how many a stranger makes up, a minute
// of it is a bounded number of records, in which every refusal is counted.
func TestStrangersGrowNoJournal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d, core := &diary{}, &always{}
		refuse, stop := keeping(t, d, core)
		const codes, seconds, each = 14, 60, 100
		for i := range seconds * each {
			core.Outcome = refused(device(t, fmt.Sprintf("demo:made-up-%d", i)), auth.ErrProof, protocol.Code(i%codes))
			refuse()
			time.Sleep(time.Second / each)
		}
		stop()
		records, counted := 0, 0
		for _, events := range d.appends {
			records += len(events)
			for _, e := range events {
				counted += int(e.Count)
			}
		}
		if most := (seconds/10 + 1) * (20 + codes); records > most {
			t.Errorf("%d records, at most %d", records, most)
		}
		if counted != seconds*each {
			t.Errorf("%d refusals counted of %d", counted, seconds*each)
		}
	})
}

// TestEveryCodeIsAnEvent: the journal takes every code there is.
func TestEveryCodeIsAnEvent(t *testing.T) {
	for c := range protocol.Code(32) {
		e := broker.Event{What: broker.What(slug(c.String())), Count: 1}
		if err := e.Validate(); err != nil {
			t.Error(err)
		}
	}
}
