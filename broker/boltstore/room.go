package boltstore

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync/atomic"

	"github.com/signetd/signet/broker"
)

// reserveSuffix names the file beside the store's that holds room on the disk for what
// operators do when it is full.
const reserveSuffix = ".reserve"

// A reserve is that room. bbolt reuses its own free pages, but there may be none, and what
// devices write takes them as well: a file of its own is the only room that is nobody
// else's. It is given up, and left empty, for the first change of an operator's that finds no
// room; from then on devices' changes are refused, until there is room to make it again.
type reserve struct {
	path  string
	bytes int64 // 0: none is wanted
	spent atomic.Bool
	look  chan struct{} // asks housekeeping whether it can be made again
}

// open takes over what an earlier process left.
func (r *reserve) open() {
	info, err := os.Stat(r.path)
	r.spent.Store(r.bytes > 0 && err == nil && info.Size() < r.bytes)
	_ = r.keep() // without it all goes on; Figures tell
}

// keep makes the reserve, if it is wanted, is not there and leaves as much room besides.
func (r *reserve) keep() error {
	if r.bytes <= 0 || r.has() == r.bytes || freeBytes(r.path) < 2*r.bytes { // where it cannot be told there is none
		return nil
	}
	if err := r.fill(); err != nil {
		return fmt.Errorf("keep room for operators: %w", errors.Join(err, os.Truncate(r.path, 0)))
	}
	r.spent.Store(false)
	return nil
}

// has is how much room it holds.
func (r *reserve) has() int64 {
	if info, err := os.Stat(r.path); err == nil {
		return info.Size()
	}
	return 0
}

// fill writes the file: what is only announced takes no room on every file system.
func (r *reserve) fill() error {
	f, err := os.OpenFile(r.path, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	block := bytes.Repeat([]byte{0xa5}, 64<<10) // some file systems keep zeros in no room
	for left := r.bytes; left > 0 && err == nil; left -= int64(len(block)) {
		_, err = f.Write(block[:min(left, int64(len(block)))])
	}
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

// give gives the room up, and reports whether there was any.
func (r *reserve) give() bool {
	if r.bytes <= 0 || r.has() == 0 {
		return false
	}
	r.spent.Store(true)
	return os.Truncate(r.path, 0) == nil
}

// errReserved refuses a change of somebody else's while the last room is operators'.
var errReserved = fmt.Errorf("%w: what is left of the disk is kept for operators", broker.ErrFull)

// isSpent reports whether operators had to take it, and has housekeeping look whether there
// is room again.
func (r *reserve) isSpent() bool {
	if !r.spent.Load() {
		return false
	}
	select {
	case r.look <- struct{}{}:
	default:
	}
	return true
}

// refuses gives the error of a change that may not be made now.
func (r *reserve) refuses(q *request) error {
	if !operators(q) && r.isSpent() {
		return errReserved
	}
	return nil
}

// operators reports whether an operator wants this changed, by whatever door.
func operators(r *request) bool {
	return !r.house && !r.sums && !r.by.Actor.IsDevice() && r.by.Actor != broker.ActorBroker
}

// noRoom tells those of a batch that found no room, and tries operators' changes once more
// with the room that is kept for them. Its error is commit's.
func (s *Store) noRoom(batch []*request, err error) error {
	var again []*request
	for _, r := range batch {
		if r.err == nil && operators(r) {
			again = append(again, r)
		}
	}
	if len(again) == 0 || !s.reserve.give() {
		failPassed(batch, err)
		return nil
	}
	var rest []*request
	for _, r := range batch {
		if r.err != nil || !operators(r) {
			rest = append(rest, r)
		}
	}
	failPassed(rest, err)
	return s.commit(again)
}

// usedBytes is the file's size, where it cannot be told what it takes of the disk.
func usedBytes(info fs.FileInfo) int64 {
	if n, ok := allocated(info); ok {
		return n
	}
	return info.Size()
}
