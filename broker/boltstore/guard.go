package boltstore

import (
	"fmt"
	"runtime/debug"

	bolt "go.etcd.io/bbolt"
)

// openGuarded is bolt.Open for a file that may have been cut short or scribbled
// on: bbolt then panics, or touches mapped memory behind the file's end.
func openGuarded(path string, o *bolt.Options) (db *bolt.DB, err error) {
	defer turnFault(&err, "open store "+path)()
	return bolt.Open(path, 0o600, o)
}

// turnFault makes the deferring function return ErrDamaged where it would have panicked.
func turnFault(err *error, what string) func() {
	old := debug.SetPanicOnFault(true)
	return func() {
		debug.SetPanicOnFault(old)
		if r := recover(); r != nil {
			*err = fmt.Errorf("%s: %w: %v", what, ErrDamaged, r)
		}
	}
}
