package tail_test

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/broker/tail"
)

var errDown = errors.New("down")

// A journal in memory that can be made to fail.
type journal struct {
	mu    sync.Mutex // guards the fields below
	last  uint64
	down  bool
	grown chan struct{}
}

func newJournal(last uint64) *journal { return &journal{last: last, grown: make(chan struct{})} }

func (j *journal) write(n uint64) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.last += n
	close(j.grown)
	j.grown = make(chan struct{})
}

func (j *journal) setDown(down bool) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.down = down
}

func (j *journal) Since(_ context.Context, after uint64, limit int) (all []broker.Record, err error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.down {
		return nil, errDown
	}
	for n := after + 1; n <= j.last && len(all) < limit; n++ {
		all = append(all, broker.Record{Seq: n})
	}
	return all, nil
}

func (j *journal) Last(context.Context) (uint64, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.down {
		return 0, errDown
	}
	return j.last, nil
}

func (j *journal) Await(ctx context.Context, after uint64) error {
	j.mu.Lock()
	there, grown := j.last > after, j.grown
	j.mu.Unlock()
	if there {
		return nil
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-grown:
		return nil
	}
}

// follow runs a Follower of what is written from now on.
func follow(t *testing.T, j *journal) (*tail.Follower, func() []uint64) {
	t.Helper()
	f, err := tail.New(t.Context(), j, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	return f, run(t, f)
}

// run runs a Follower and gives what it was told, until the test ends.
func run(t *testing.T, f *tail.Follower) func() []uint64 {
	t.Helper()
	var mu sync.Mutex
	var seen []uint64
	f.Tell(func(_ context.Context, r *broker.Record) {
		mu.Lock()
		defer mu.Unlock()
		seen = append(seen, r.Seq)
	})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		f.Run(ctx)
	}()
	t.Cleanup(func() {
		cancel()
		<-done
	})
	return func() []uint64 {
		mu.Lock()
		defer mu.Unlock()
		return slices.Clone(seen)
	}
}

func from(first, n uint64) (all []uint64) {
	for i := range n {
		all = append(all, first+i)
	}
	return all
}

func TestFollow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := newJournal(7)
		f, seen := follow(t, j)
		synctest.Wait()
		if len(seen()) != 0 || !f.Fresh() {
			t.Fatalf("at the end: saw %v, fresh %v", seen(), f.Fresh())
		}
		j.write(3)
		synctest.Wait()
		if got := seen(); !slices.Equal(got, from(8, 3)) {
			t.Fatalf("saw %v", got)
		}
		j.write(2000)
		synctest.Wait()
		if got := seen(); !slices.Equal(got, from(8, 2003)) {
			t.Fatalf("saw %d records", len(got))
		}
	})
}

// A Follower that can read nothing is soon no longer fresh, and misses nothing when it
// can read again: it has told everything before it is fresh again.
func TestOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := newJournal(1)
		f, seen := follow(t, j)
		time.Sleep(time.Hour)
		if !f.Fresh() {
			t.Fatal("not fresh, though nothing happens")
		}
		j.setDown(true)
		j.write(5)
		time.Sleep(tail.FreshFor)
		if f.Fresh() || len(seen()) != 0 {
			t.Fatalf("fresh %v, saw %v", f.Fresh(), seen())
		}
		time.Sleep(time.Hour)
		j.write(5)
		j.setDown(false)
		for !f.Fresh() {
			time.Sleep(time.Millisecond)
		}
		if got := seen(); !slices.Equal(got, from(2, 10)) {
			t.Fatalf("saw %v", got)
		}
	})
}

// What is written between New and Run is told; and who goes on begins where it was.
func TestBegin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		j := newJournal(4)
		f, err := tail.New(t.Context(), j, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		j.write(2)
		if f.Fresh() {
			t.Error("fresh before it runs")
		}
		seen, again := run(t, f), run(t, tail.After(j, 2, slog.New(slog.DiscardHandler)))
		synctest.Wait()
		if got, all := seen(), again(); !slices.Equal(got, from(5, 2)) || !slices.Equal(all, from(3, 4)) {
			t.Fatalf("saw %v, and %v behind 2", got, all)
		}
		j.setDown(true)
		if _, err := tail.New(t.Context(), j, slog.New(slog.DiscardHandler)); !errors.Is(err, errDown) {
			t.Errorf("begun although nothing can be read: %v", err)
		}
	})
}
