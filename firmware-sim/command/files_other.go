//go:build !unix

package command

import "errors"

// openFiles is unknown here.
func openFiles() (uint64, error) { return 0, errors.ErrUnsupported }
