package tally_test

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/signetd/signet/broker/tally"
)

// A buffer is a log that several goroutines write.
type buffer struct {
	mu sync.Mutex // guards Buffer
	bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.Buffer.Write(p)
}

// lines gives what was logged, without its time.
func lines(b *buffer) []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	var all []string
	for line := range strings.Lines(b.String()) {
		_, rest, _ := strings.Cut(line, " ")
		all = append(all, strings.TrimSpace(rest))
	}
	b.Reset()
	return all
}

func want(t *testing.T, b *buffer, want ...string) {
	t.Helper()
	synctest.Wait()
	if got := lines(b); fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// TestFloodIsSummed: a flood is a line at its beginning, one in ten seconds while it
// lasts, and one with what is left at its end.
func TestFloodIsSummed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b buffer
		l := tally.New(slog.New(slog.NewTextHandler(&b, nil)))
		note := func(n int, from string) {
			for range n {
				l.Note(t.Context(), slog.LevelWarn, "flood", "refused", "from", from)
			}
		}
		note(1000, "a")
		l.Note(t.Context(), slog.LevelInfo, "other", "something else")
		want(t, &b, `level=WARN msg=refused from=a`, `level=INFO msg="something else"`)
		time.Sleep(tally.Every + 1)
		want(t, &b, `level=WARN msg=refused from=a more=999`)
		note(7, "b")
		time.Sleep(tally.Every)
		want(t, &b, `level=WARN msg=refused from=b more=7`)
		time.Sleep(tally.Every)
		want(t, &b)
		note(1, "c")
		want(t, &b, `level=WARN msg=refused from=c`)
		time.Sleep(2 * tally.Every)
		want(t, &b)
	})
}

// TestKindsAreBounded: whoever finds a way to many kinds finds one line in ten seconds.
func TestKindsAreBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b buffer
		l := tally.New(slog.New(slog.NewTextHandler(&b, nil)))
		for i := range 10_000 {
			l.Note(t.Context(), slog.LevelInfo, fmt.Sprint("kind ", i), "refused")
		}
		if n := len(lines(&b)); n > 300 {
			t.Errorf("%d lines of 10,000 kinds", n)
		}
		time.Sleep(2 * tally.Every)
		want(t, &b, `level=INFO msg=refused more=9743`)
	})
}

// TestWhatIsNotLoggedIsNotCounted: below the logger's level nothing is kept.
func TestWhatIsNotLoggedIsNotCounted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b buffer
		l := tally.New(slog.New(slog.NewTextHandler(&b, nil)))
		l.Note(t.Context(), slog.LevelDebug, "quiet", "refused")
		l.Note(t.Context(), slog.LevelDebug, "quiet", "refused")
		time.Sleep(2 * tally.Every)
		want(t, &b)
	})
}

// TestNothingIsLostAtTheEnd: what was summed up is told when the program ends, of every Log that was
// made of the logger or of one made of it, and not again.
func TestNothingIsLostAtTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b buffer
		kept, flush := tally.Kept(slog.New(slog.NewTextHandler(&b, nil)))
		one, two := tally.New(kept), tally.New(kept.With("at", "door").WithGroup("g"))
		for range 3 {
			one.Note(t.Context(), slog.LevelWarn, "b", "refused", "from", "b")
			one.Note(t.Context(), slog.LevelInfo, "a", "refused", "from", "a")
			two.Note(t.Context(), slog.LevelInfo, "c", "ended", "by", "c")
		}
		one.Note(t.Context(), slog.LevelInfo, "once", "seen")
		lines(&b)
		flush()
		want(t, &b, `level=INFO msg=refused from=a more=2`, `level=WARN msg=refused from=b more=2`, `level=INFO msg=ended at=door g.by=c g.more=2`)
		flush()
		time.Sleep(3 * tally.Every)
		want(t, &b)
		one.Note(t.Context(), slog.LevelInfo, "a", "refused", "from", "d")
		want(t, &b, `level=INFO msg=refused from=d`)
		flush()
		want(t, &b)
		time.Sleep(2 * tally.Every)
	})
}
