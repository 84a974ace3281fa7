// Package tally writes log lines about what strangers can bring about at any rate, so
// that they fill no disk: of each kind of event the first is logged at once, and what
// follows within ten seconds as one line with its number.
package tally

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"
)

// Every is how long events of one kind are summed up.
const Every = 10 * time.Second

// maxKinds bounds the memory; kinds beyond it share one.
const maxKinds = 256

// A Log writes sums to a logger. It is safe for concurrent use.
type Log struct {
	log *slog.Logger

	mu    sync.Mutex // guards kinds, and what is in them
	kinds map[string]*kind
}

// A kind is one kind of event, since its last line.
type kind struct {
	level slog.Level
	msg   string
	last  []any // of the latest event
	more  int   // events that no line has told of yet
}

// New makes a Log that writes to log.
func New(log *slog.Logger) *Log { return &Log{log: log, kinds: map[string]*kind{}} }

// Note logs an event: at once if it is the first of its kind for a while, otherwise with
// those that come after it, by the attributes of the latest and "more", their number. A
// kind is a word of the caller's, never of a stranger's.
func (l *Log) Note(ctx context.Context, level slog.Level, kindOf, msg string, attrs ...any) {
	if !l.log.Enabled(ctx, level) {
		return
	}
	if l.first(level, kindOf, msg, attrs) {
		l.log.Log(ctx, level, msg, attrs...)
	}
}

// first reports whether the event is logged at once; otherwise it is counted.
func (l *Log) first(level slog.Level, kindOf, msg string, attrs []any) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, known := l.kinds[kindOf]; !known && len(l.kinds) >= maxKinds {
		kindOf = ""
	}
	if k := l.kinds[kindOf]; k != nil {
		k.level, k.msg, k.last, k.more = level, msg, attrs, k.more+1
		return false
	}
	l.kinds[kindOf] = &kind{}
	l.sumLater(kindOf)
	return true
}

func (l *Log) sumLater(kindOf string) { time.AfterFunc(Every, func() { l.sum(kindOf) }) }

// sum tells what came since the kind's last line. After a time without any event the next
// one is a first again.
func (l *Log) sum(kindOf string) {
	l.mu.Lock()
	k := *l.kinds[kindOf]
	if k.more == 0 {
		delete(l.kinds, kindOf)
	} else {
		l.kinds[kindOf] = &kind{}
		l.sumLater(kindOf)
	}
	l.mu.Unlock()
	if k.more > 0 {
		l.log.Log(context.Background(), k.level, k.msg, slices.Concat(k.last, []any{"more", k.more})...)
	}
}
