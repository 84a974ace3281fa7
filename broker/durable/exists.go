package durable

import (
	"errors"
	"io/fs"
	"os"
)

// Exists reports whether there is something at path. What this user may not look at counts as
// there: whoever opens it then hears that, and not that there is nothing.
func Exists(path string) bool {
	_, err := os.Lstat(path)
	return !errors.Is(err, fs.ErrNotExist)
}
