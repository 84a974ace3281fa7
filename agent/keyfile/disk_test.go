package keyfile_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/signetd/signet/agent/keyfile"
)

// A disk follows the steps of one folder and knows what a power cut may leave of
// it: names only as of the last sync of their folder, with any of the changes
// after it; contents only as of the last sync of their file.
type disk struct {
	t    *testing.T
	path string

	kept    bool              // the folder's own name is durable
	names   map[string]uint64 // durable names and their inodes
	pending []change
	synced  map[uint64][]byte // contents
	last    keyfile.Step
	steps   int
	stop    int // at this step the power goes
}

// A change of names: to gets inode, from goes.
type change struct {
	from, to string
	inode    uint64
}

func newDisk(t *testing.T, path string, stop int) *disk {
	return &disk{t: t, path: path, stop: stop, names: map[string]uint64{}, synced: map[uint64][]byte{}}
}

// hook is called before each step; the one before has been done.
func (d *disk) hook(s keyfile.Step) (int, error) {
	d.done(d.last)
	d.last = s
	if d.steps++; d.steps > d.stop {
		return 0, errPower
	}
	return 0, nil
}

func (d *disk) done(s keyfile.Step) {
	name := filepath.Base(s.Path)
	switch s.Op {
	case keyfile.OpCreate:
		d.pending = append(d.pending, change{to: name, inode: d.inode(name)})
	case keyfile.OpRename:
		// What it was called before is what lacks a file now.
		for _, from := range []string{name + ".new", "state"} {
			if _, err := os.Stat(filepath.Join(d.path, from)); from != name && err != nil {
				d.pending = append(d.pending, change{from, name, d.inode(name)})
				return
			}
		}
		d.t.Fatalf("renamed %s from nowhere", name)
	case keyfile.OpSync:
		raw, err := os.ReadFile(s.Path)
		if err != nil {
			d.t.Fatal(err)
		}
		d.synced[d.inode(name)] = raw
	case keyfile.OpSyncDir:
		if s.Path != d.path {
			d.kept = true
			return
		}
		d.names, d.pending = d.after(1<<len(d.pending)-1), nil
	}
}

func (d *disk) inode(name string) uint64 {
	info, err := os.Stat(filepath.Join(d.path, name))
	if err != nil {
		d.t.Fatal(err)
	}
	return info.Sys().(*syscall.Stat_t).Ino
}

// after gives the names if those pending changes that are set in which reached the disk.
func (d *disk) after(which int) map[string]uint64 {
	names := map[string]uint64{}
	for n, i := range d.names {
		names[n] = i
	}
	for i, c := range d.pending {
		if which&(1<<i) != 0 {
			delete(names, c.from)
			names[c.to] = c.inode
		}
	}
	return names
}

// leave writes one of the folders that a power cut may leave behind to path. A
// file that was not synced has nothing in it, or half.
func (d *disk) leave(path string, which int, half bool) {
	if !d.kept && which == 0 {
		return // not even the folder
	}
	if err := os.Mkdir(path, 0o700); err != nil {
		d.t.Fatal(err)
	}
	for name, inode := range d.after(which) {
		raw, ok := d.synced[inode]
		if !ok && half {
			raw, _ = os.ReadFile(filepath.Join(d.path, name))
			raw = raw[:len(raw)/2]
		}
		if err := os.WriteFile(filepath.Join(path, name), raw, 0o600); err != nil {
			d.t.Fatal(err)
		}
	}
}

// The kernel may put off every write that was not synced, and reorder names
// within a folder: whatever is left, the next life ends well, with the one key
// that the broker has seen and no state that was acknowledged forgotten.
func TestPowerCutOnALazyDisk(t *testing.T) {
	images := 0
	for stop, on := 0, true; on; stop++ {
		path := filepath.Join(t.TempDir(), "d")
		d := newDisk(t, path, stop)
		w := newWitness()
		err := life(t, path, d.hook, w)
		if on = errors.Is(err, errPower); !on && err != nil {
			t.Fatal(err)
		}
		if !on {
			d.done(d.last)
		}
		for which := range 1 << len(d.pending) {
			for _, half := range []bool{false, true} {
				images++
				left := filepath.Join(t.TempDir(), "left")
				d.leave(left, which, half)
				if err := d.check(left, w); err != nil {
					t.Errorf("before step %d (%s %s), changes %b, half %t: %v", stop, d.last.Op, filepath.Base(d.last.Path), which, half, err)
				}
			}
		}
	}
	if images < 60 {
		t.Errorf("only %d images", images)
	}
}

// check starts another life in what is left of w's.
func (d *disk) check(left string, w *witness) error {
	after := &witness{keys: map[string]bool{}}
	for k := range w.keys {
		after.keys[k] = true
	}
	if view, err := keyfile.View(left); err == nil {
		r, err := view.Load(d.t.Context())
		if err != nil {
			return err
		}
		if r.Floor < w.floor {
			return fmt.Errorf("floor %d, %d was acknowledged", r.Floor, w.floor)
		}
	} else if w.floor > 0 {
		return err
	}
	if err := life(d.t, left, nil, after); err != nil {
		return err
	}
	if len(after.keys) != 1 {
		return fmt.Errorf("the broker has seen %d identities", len(after.keys))
	}
	return nil
}
