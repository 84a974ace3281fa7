package certs

import (
	"errors"
	"fmt"
	"io/fs"
)

// The errors of this package, to be told apart with errors.Is. A missing folder
// or file is fs.ErrNotExist.
var (
	// ErrExists: the folder given to Create has something in it already.
	ErrExists = errors.New("the folder is not empty")
	// ErrMalformed: a file or option that is not the PEM it should be.
	ErrMalformed = errors.New("malformed PEM")
	// ErrKeyMode: a private key file that its group or others can read.
	ErrKeyMode = errors.New("a private key must be readable by its owner only")
	// ErrUnfit: certificates and keys that are well formed and do not make an authority together.
	ErrUnfit = errors.New("not a usable certificate authority")
	// ErrExpired: the authority's own certificates are not valid at the present time.
	ErrExpired = errors.New("outside the validity of the authority's certificates")
	// ErrNoRootKey: the root's private key is not in the authority's folder.
	ErrNoRootKey = errors.New("the root's private key is not here")
	// ErrRequest: a certificate request that is malformed or not signed by its own key.
	ErrRequest = errors.New("bad certificate request")
	// ErrWeakKey: a public key of a kind or size that is not certified here.
	ErrWeakKey = errors.New("unacceptable public key")
	// ErrName: a name that no certificate can carry.
	ErrName = errors.New("name not usable in a certificate")
	// ErrLifetime: a lifetime outside the authority's limits.
	ErrLifetime = errors.New("lifetime out of range")
	// ErrSerialTaken is what a Ledger answers for a serial number that it holds.
	ErrSerialTaken = errors.New("serial number taken")
	// ErrClosed: the authority was closed.
	ErrClosed = errors.New("certificate authority is closed")
)

// A FileError says which file of an authority's folder could not be used.
type FileError struct {
	Path string
	Err  error
}

// Error gives the path, then what is wrong with it.
func (e *FileError) Error() string { return e.Path + ": " + e.Err.Error() }

// Unwrap gives the reason, which wraps one of this package's errors or one of io/fs.
func (e *FileError) Unwrap() error { return e.Err }

// fileError drops the path that the os package repeats.
func fileError(path string, err error) error {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		err = fmt.Errorf("%s: %w", pe.Op, pe.Err)
	}
	return &FileError{Path: path, Err: err}
}
