// Package boltstore keeps everything of a broker on one machine in one bbolt
// file. All writes pass through one goroutine that commits whatever waits
// together, so that many logins share one fsync; reads go straight to the file.
//
// It never acknowledges a write before it is on the disk, never reads the wall clock but
// through Options, and never opens a file that another process holds or that a newer
// version wrote. It decides nothing: the rules are broker's.
//
// Layout (top-level buckets):
//
//	meta       format version
//	pools      one nested bucket per pool: its record, and buckets for its devices,
//	           key index, documents, their references and counts, and signing keys
//	sessions   by exchange id (UUIDv7: in time order)
//	spent      exchanges that ended without a session, by id
//	journal    what was written, in order: see journalrow.go
//	runs       sessions by device: see index.go
//	tries      counts by broker.TryOf.Key
//	operators, operator-hashes, secrets
package boltstore

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	bolt "go.etcd.io/bbolt"
	bolterrors "go.etcd.io/bbolt/errors"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/broker/durable"
)

// FormatVersion is the version of the file format that this package writes.
const FormatVersion = 1

// Errors of this package, beside those of broker.
var (
	// ErrClosed: the store was closed before the call.
	ErrClosed = errors.New("store is closed")
	// ErrDamaged: the file is not a whole Signet store.
	ErrDamaged = errors.New("not a sound store file")
	// ErrBroken: an earlier commit failed in a way that leaves the file's state
	// unknown; nothing more is written until the store is opened again.
	ErrBroken = errors.New("store stopped writing after a failed commit")
)

// A HeldError says that another process has the file open.
type HeldError struct {
	Path string
	PID  int // 0 when the holder left no process id
}

func (e *HeldError) Error() string {
	if e.PID == 0 {
		return fmt.Sprintf("store %s is held by another process", e.Path)
	}
	return fmt.Sprintf("store %s is held by process %d", e.Path, e.PID)
}

// A NewerError says that a newer version of Signet wrote the file.
type NewerError struct {
	Path             string
	Found, Supported int
}

func (e *NewerError) Error() string {
	return fmt.Sprintf("store %s has format version %d, this program reads up to %d: use a newer signetd", e.Path, e.Found, e.Supported)
}

// Faults lets tests make commits fail. All calls come from the writer's goroutine.
type Faults interface {
	// BeforeCommit is called with the number of changes of a batch that is about
	// to be committed. An error fails all of them and writes nothing.
	BeforeCommit(changes int) error
}

// Options change how a store works. The zero value is right for production.
type Options struct {
	// Now is the clock that records and housekeeping use; nil means time.Now.
	Now func() time.Time
	// Elapsed is what has elapsed since some time, by a clock that is never set; nil is the
	// process's monotonic one. Where Now jumps and this does not, nothing is forgotten.
	Elapsed func() time.Duration
	// SweepEvery is how often expired rows are looked for; 0 means a minute, less than 0 never.
	SweepEvery time.Duration
	// LockWait is how long Open waits for another process to let go; 0 means 200 ms.
	LockWait time.Duration
	// Reserve is how many bytes of the disk are kept, in a file beside the store's, for what
	// operators change when the disk is full; 0: none.
	Reserve int64
	// UnsafeNoSync acknowledges writes before they are on the disk. Tests only.
	UnsafeNoSync bool
	// Faults is nil but in tests.
	Faults Faults
}

// A Store is a broker.Store in one file: a handle on it. Further handles on the same
// file share its writer and keep house with it (Handle).
type Store struct {
	*file
	*broker.Catalog               // what this handle remembers of settings
	second          bool          // it is not the handle that Open gave
	over            chan struct{} // closed with this handle
	close           sync.Once     // guards closing over
}

var _ broker.Store = (*Store)(nil)

// A file is what all handles share.
type file struct {
	db   *bolt.DB
	path string
	opts Options

	queue   chan *request
	records []entry // the writer's: keepRecords
	known   known   // the writer's
	// closing guards closed and, by being held for reading while a request is put
	// in, that the queue is closed only when nobody sends.
	closing sync.RWMutex
	closed  bool
	ended   chan struct{} // closed when closed is set

	workers sync.WaitGroup
	fold    chan struct{} // asks housekeeping to fold the journal's logins
	stats   counters
	growth  growth
	reserve reserve
	first   *Store     // the handle that Open gave
	follow  sync.Once  // guards that the first handle follows others' writes
	sweep   sweepState // housekeeping's goroutine only
}

type counters struct {
	commits, changes atomic.Int64
	committing       atomic.Int64 // nanoseconds
	tail             tail
	dropped          atomic.Int64 // sessions that were beyond what is kept of a device
	doubt            atomic.Int64 // nanoseconds
}

// Figures gives the figures so far.
func (s *Store) Figures() broker.StoreFigures {
	size := int64(0)
	if info, err := os.Stat(s.path); err == nil {
		size = usedBytes(info)
	}
	return broker.StoreFigures{
		Size: size, Free: freeBytes(s.path), Reserve: s.reserve.has(), Reserved: s.reserve.isSpent(),
		Commits: s.stats.commits.Load(), Changes: s.stats.changes.Load(),
		CommitTime: time.Duration(s.stats.committing.Load()), Waiting: len(s.queue),
		ClockDoubt: time.Duration(s.stats.doubt.Load()),
	}
}

// Open opens the store at path and makes it if there is none. Errors:
// *HeldError, *NewerError, ErrDamaged, and the file system's.
func Open(ctx context.Context, path string, opts Options) (*Store, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("open store: %w", err)
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	if opts.Elapsed == nil {
		opened := time.Now()
		opts.Elapsed = func() time.Duration { return time.Since(opened) }
	}
	if opts.SweepEvery == 0 {
		opts.SweepEvery = time.Minute
	}
	if opts.LockWait <= 0 {
		opts.LockWait = 200 * time.Millisecond
	}
	db, err := openFile(path, opts)
	if err != nil {
		return nil, err
	}
	s := newHandle(&file{db: db, path: path, opts: opts, queue: make(chan *request, maxBatch), fold: make(chan struct{}, 1), ended: make(chan struct{})})
	s.first = s
	if err := s.prepare(); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	s.reserve.path, s.reserve.bytes, s.reserve.look = path+reserveSuffix, opts.Reserve, make(chan struct{}, 1)
	s.reserve.open()
	s.workers.Add(2)
	go s.write()
	go s.keepHouse(context.Background())
	return s, nil
}

// mapAhead is address space, not memory: growing a mapping waits for all readers,
// and a backup may read for a long time.
const mapAhead = 1 << 34

// openFile opens the file and checks all that can be checked before anything is written.
func openFile(path string, opts Options) (db *bolt.DB, err error) {
	o := &bolt.Options{
		Timeout: opts.LockWait, FreelistType: bolt.FreelistMapType, NoSync: opts.UnsafeNoSync, NoStatistics: true,
	}
	if strconv.IntSize == 64 {
		o.InitialMmapSize = mapAhead
	}
	db, err = openGuarded(path, o)
	if err != nil {
		return nil, openError(path, err)
	}
	if err := checkFormat(db, path); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return db, nil
}

// openError says what a failure to open means.
func openError(path string, err error) error {
	switch {
	case errors.Is(err, bolterrors.ErrTimeout):
		return &HeldError{Path: path, PID: readPID(path)}
	case errors.Is(err, bolterrors.ErrInvalid), errors.Is(err, bolterrors.ErrChecksum), errors.Is(err, bolterrors.ErrVersionMismatch):
		return fmt.Errorf("open store %s: %w: %w", path, ErrDamaged, err)
	}
	return fmt.Errorf("open store %s: %w", path, err)
}

// checkFormat reads the version and the size that the file should have.
func checkFormat(db *bolt.DB, path string) error {
	return db.View(func(tx *bolt.Tx) error {
		info, err := os.Stat(path)
		if err != nil {
			return fmt.Errorf("open store: %w", err)
		}
		if info.Size() < tx.Size() {
			return fmt.Errorf("open store %s: %w: it has %d of %d bytes", path, ErrDamaged, info.Size(), tx.Size())
		}
		meta := tx.Bucket([]byte(bucketMeta))
		if meta == nil {
			if k, _ := tx.Cursor().First(); k != nil {
				return fmt.Errorf("open store %s: %w: a bbolt file of another program", path, ErrDamaged)
			}
			return nil
		}
		v, err := strconv.Atoi(string(meta.Get([]byte(keyFormat))))
		if err != nil || v < 1 {
			return fmt.Errorf("open store %s: %w: no format version", path, ErrDamaged)
		}
		if v > FormatVersion {
			return &NewerError{Path: path, Found: v, Supported: FormatVersion}
		}
		return nil
	})
}

// measure reads what a handle has to know of the file before anything is written, and
// tells whether the buckets of a new one are missing.
func (f *file) measure() (missing bool, err error) {
	defer turnFault(&err, "read its journal")()
	err = f.db.View(func(tx *bolt.Tx) error {
		if missing = tx.Bucket([]byte(bucketMeta)) == nil; missing {
			return nil
		}
		last := tx.Bucket([]byte(bucketJournal)).Sequence()
		f.growth.reached(last, sumOf(tx, last))
		if err := f.stats.tail.fill(tx); err != nil {
			return err
		}
		return f.stats.tail.measure(tx)
	})
	return missing, err
}

// prepare measures the file, makes the buckets of a new one and leaves our process id.
func (s *Store) prepare() error {
	missing, err := s.measure()
	if err == nil && missing {
		err = s.db.Update(makeBuckets)
	}
	if err == nil {
		err = s.resumeHouse()
	}
	if err != nil {
		return fmt.Errorf("open store %s: %w", s.path, err)
	}
	if err := os.WriteFile(pidPath(s.path), []byte(strconv.Itoa(os.Getpid())+"\n"), 0o600); err != nil {
		return fmt.Errorf("open store: leave the process id: %w", err)
	}
	if err := durable.SyncFolder(filepath.Dir(s.path)); err != nil {
		return fmt.Errorf("open store: sync its folder: %w", err)
	}
	return nil
}

func makeBuckets(tx *bolt.Tx) error {
	for _, name := range topBuckets() {
		if _, err := tx.CreateBucketIfNotExists([]byte(name)); err != nil {
			return err
		}
	}
	return tx.Bucket([]byte(bucketMeta)).Put([]byte(keyFormat), []byte(strconv.Itoa(FormatVersion)))
}

// Close ends the handle. Of the one that Open gave it lets the waiting writes end, then
// closes the file, for all handles. Later calls get ErrClosed.
func (s *Store) Close() error {
	s.close.Do(func() { close(s.over) })
	s.Catalog.ForgetAll()
	if s.second {
		return nil
	}
	s.closing.Lock()
	if s.closed {
		s.closing.Unlock()
		return nil
	}
	s.closed = true
	close(s.ended)
	close(s.queue)
	s.closing.Unlock()
	s.workers.Wait()
	pidErr := os.Remove(pidPath(s.path))
	if errors.Is(pidErr, os.ErrNotExist) {
		pidErr = nil
	}
	if err := errors.Join(pidErr, s.db.Close()); err != nil {
		return fmt.Errorf("close store: %w", err)
	}
	return nil
}

// isOver reports whether the handle was closed.
func (s *Store) isOver() bool {
	select {
	case <-s.over:
		return true
	default:
		return false
	}
}

// view runs f on a consistent state of the file. What f keeps it must copy.
func (s *Store) view(ctx context.Context, what string, f func(*bolt.Tx) error) error {
	err := ctx.Err()
	if err == nil && s.isOver() {
		err = ErrClosed
	}
	if err == nil {
		err = s.db.View(f)
	}
	if errors.Is(err, bolterrors.ErrDatabaseNotOpen) {
		err = ErrClosed
	}
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return nil
}

func pidPath(path string) string { return path + ".pid" }

func readPID(path string) int {
	b, err := os.ReadFile(pidPath(path))
	if err != nil {
		return 0
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(b)))
	if err != nil || pid < 1 {
		return 0
	}
	return pid
}
