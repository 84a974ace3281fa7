package deadline

import (
	"context"
	"math/rand/v2"
	"testing"
	"testing/synctest"
	"time"
)

// A task is a member.
type task struct {
	name  string
	place Place
	at    time.Time // as was asked for last; zero: never
	fired time.Time
}

func run(ctx context.Context) *Queue[*task] {
	q := New(func(k *task) { k.fired = time.Now() }, func(k *task) *Place { return &k.place })
	go q.Run(ctx)
	return q
}

func TestDeadlines(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		ctx, cancel := context.WithCancel(t.Context())
		q := run(ctx)
		tasks := map[string]*task{}
		for name, in := range map[string]time.Duration{"c": 3 * time.Hour, "a": time.Second, "b": 2 * time.Second, "moved": time.Second, "gone": time.Second, "past": -1} {
			tasks[name] = &task{name: name}
			q.Set(tasks[name], began.Add(in))
		}
		q.Set(tasks["moved"], began.Add(5*time.Second))
		q.Set(tasks["gone"], time.Time{})
		q.Set(&task{name: "nobody"}, time.Time{})
		time.Sleep(4 * time.Hour)
		synctest.Wait()
		cancel()
		synctest.Wait()
		want := map[string]time.Duration{"past": 0, "a": time.Second, "b": 2 * time.Second, "moved": 5 * time.Second, "c": 3 * time.Hour}
		for name, k := range tasks {
			in, ok := want[name]
			if got := k.fired.Sub(began); ok == k.fired.IsZero() || ok && got != in {
				t.Errorf("%s fired after %v (%v), want %v (%v)", name, got, !k.fired.IsZero(), in, ok)
			}
			if k.place != 0 {
				t.Errorf("%s still has the place %d", name, k.place)
			}
		}
		if q.Len() != 0 {
			t.Errorf("%d are left", q.Len())
		}
	})
}

// TestDeadlinesAtRandom: whatever is set, moved and taken away, each fires at its time, once.
func TestDeadlinesAtRandom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := rand.New(rand.NewPCG(1, 8))
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		q := run(ctx)
		tasks := make([]task, 50)
		for step := range 5000 {
			now := time.Now()
			k := &tasks[r.IntN(len(tasks))]
			k.at, k.fired = time.Time{}, time.Time{}
			if r.IntN(4) > 0 {
				k.at = now.Add(time.Duration(1+r.IntN(40)) * time.Second)
			}
			q.Set(k, k.at)
			time.Sleep(time.Duration(r.IntN(2)) * time.Second)
			synctest.Wait()
			left := 0
			for i := range tasks {
				switch k := &tasks[i]; {
				case k.at.IsZero() || k.at.After(time.Now()):
					if !k.fired.IsZero() {
						t.Fatalf("step %d: one that was for %v fired at %v", step, k.at, k.fired)
					}
					if !k.at.IsZero() {
						left++
					}
				case !k.fired.Equal(k.at):
					t.Fatalf("step %d: one that was for %v fired at %v", step, k.at, k.fired)
				}
			}
			if q.Len() != left {
				t.Fatalf("step %d: %d are left, want %d", step, q.Len(), left)
			}
		}
	})
}
