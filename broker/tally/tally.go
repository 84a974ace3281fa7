// Package tally writes log lines about what strangers can bring about at any rate, so
// that they fill no disk: of each kind of event the first is logged at once, and what
// follows within ten seconds as one line with its number.
package tally

import (
	"context"
	"log/slog"
	"maps"
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
func New(log *slog.Logger) *Log {
	l := &Log{log: log, kinds: map[string]*kind{}}
	if k, ok := log.Handler().(*keeper); ok {
		k.kept.add(l)
	}
	return l
}

// Kept gives a logger that writes to log, and a function for the end of a program: it writes at
// once what the Logs that were made of that logger have summed up so far.
func Kept(log *slog.Logger) (kept *slog.Logger, flush func()) {
	k := &keeper{log.Handler(), &logs{}}
	return slog.New(k), k.kept.flush
}

// A keeper is a handler that knows which Logs write to it.
type keeper struct {
	slog.Handler
	kept *logs
}

// WithAttrs keeps what is made of the handler, too.
func (k *keeper) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &keeper{k.Handler.WithAttrs(attrs), k.kept}
}

// WithGroup is as WithAttrs.
func (k *keeper) WithGroup(name string) slog.Handler {
	return &keeper{k.Handler.WithGroup(name), k.kept}
}

// logs are those of one keeper, and of those made of it.
type logs struct {
	mu  sync.Mutex // guards all
	all []*Log
}

func (s *logs) add(l *Log) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.all = append(s.all, l)
}

func (s *logs) flush() {
	s.mu.Lock()
	all := slices.Clone(s.all)
	s.mu.Unlock()
	for _, l := range all {
		l.flush()
	}
}

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
	l.tell(k)
}

func (l *Log) tell(k kind) {
	if k.more > 0 {
		l.log.Log(context.Background(), k.level, k.msg, slices.Concat(k.last, []any{"more", k.more})...)
	}
}

// flush tells what came since each kind's last line, in the order of the kinds.
func (l *Log) flush() {
	l.mu.Lock()
	var all []kind
	for _, name := range slices.Sorted(maps.Keys(l.kinds)) {
		all = append(all, *l.kinds[name])
		l.kinds[name] = &kind{}
	}
	l.mu.Unlock()
	for _, k := range all {
		l.tell(k)
	}
}
