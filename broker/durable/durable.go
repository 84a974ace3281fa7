// Package durable writes files as a whole: whoever looks, and whatever a crash or a power
// cut leaves, the old file is there or the new one. When a call returns without an error
// the new one is on the disk, and so is its name.
package durable

import (
	"errors"
	"os"
	"path/filepath"
)

// Replace writes the file at path, in the place of one that is there. Its mode is 0600.
// After an error the old file is as it was, unless only syncing the folder failed: then
// the new one is there and a power cut may bring the old one back.
func Replace(path string, write func(*os.File) error) error {
	return place(path, write, func(temp, path string) error { return os.Rename(temp, path) })
}

// Create is Replace for a file that must not be there: errors wrap fs.ErrExist if it is,
// also if somebody else made it while write was at work.
func Create(path string, write func(*os.File) error) error {
	if _, err := os.Lstat(path); err == nil {
		return &os.PathError{Op: "create", Path: path, Err: os.ErrExist}
	}
	return place(path, write, func(temp, path string) error {
		if err := os.Link(temp, path); err != nil { // a rename would take the place of what is there
			return err
		}
		return os.Remove(temp)
	})
}

// place has a file written beside path and put there.
func place(path string, write func(*os.File) error, put func(temp, path string) error) (err error) {
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, filepath.Base(path)+".*.new") // mode 0600; in sight, if a kill leaves it
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = f.Close() // it may be closed already
			_ = os.Remove(f.Name())
		}
	}()
	if err := write(f); err != nil {
		return err
	}
	if err := errors.Join(f.Sync(), f.Close()); err != nil {
		return err
	}
	if err := put(f.Name(), path); err != nil {
		return err
	}
	return SyncFolder(dir)
}

// SyncFolder makes the names in a folder durable: those of files that were made, renamed or
// removed in it.
func SyncFolder(dir string) error {
	f, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
