// Package atrest seals the secrets that Signet's store holds, under one
// key-encryption key kept in a file beside it: a copy of the store alone opens nothing.
//
// It keeps nothing of what it seals, does not tell a wrong key from a damaged secret,
// and never writes a secret to a log.
package atrest

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/broker/durable"
)

// KeyLen is the length of the key-encryption key in bytes: AES-256.
const KeyLen = 32

// ErrOpen: sealed under another key, for another purpose, or damaged.
var ErrOpen = errors.New("cannot open a sealed secret: other key-encryption key, or damaged")

// A Key seals and opens. It is safe for concurrent use.
type Key struct{ aead cipher.AEAD }

// New makes a Key of KeyLen bytes.
func New(key []byte) (*Key, error) {
	if len(key) != KeyLen {
		return nil, fmt.Errorf("key-encryption key has %d bytes, want %d", len(key), KeyLen)
	}
	block, err := aes.NewCipher(key)
	if err != nil {
		return nil, fmt.Errorf("key-encryption key: %w", err)
	}
	aead, err := cipher.NewGCMWithRandomNonce(block)
	if err != nil {
		return nil, fmt.Errorf("key-encryption key: %w", err)
	}
	return &Key{aead}, nil
}

// Load reads the key file, which nobody but its owner may read.
func Load(path string) (*Key, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("key-encryption key: %w", err)
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return nil, fmt.Errorf("key-encryption key %s may be read by others (mode %04o): chmod 600 it", path, mode)
	}
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("key-encryption key: %w", err)
	}
	return New(raw)
}

// LoadOrCreate is Load, after making the file with a random key if there is none.
// The file appears whole or not at all, and the first of two that make it wins.
func LoadOrCreate(path string) (*Key, error) {
	_, err := os.Lstat(path)
	if errors.Is(err, fs.ErrNotExist) {
		err = create(path)
	}
	if err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("create key-encryption key: %w", err)
	}
	return Load(path)
}

// create makes the file with a random key: never in the place of a key that something was
// sealed under.
func create(path string) error {
	raw := make([]byte, KeyLen)
	if _, err := rand.Read(raw); err != nil {
		return err
	}
	return durable.Create(path, func(f *os.File) error {
		_, err := f.Write(raw)
		return err
	})
}

// Seal seals plain for one purpose, under which alone it opens again. It seals nothing
// for the zero Purpose.
func (k *Key) Seal(purpose broker.Purpose, plain []byte) ([]byte, error) {
	if purpose.IsZero() {
		return nil, errors.New("seal a secret: no purpose is given")
	}
	return k.aead.Seal(nil, nil, plain, []byte(purpose.String())), nil
}

// Open opens what Seal sealed for the same purpose. Errors wrap ErrOpen.
func (k *Key) Open(purpose broker.Purpose, sealed []byte) ([]byte, error) {
	plain, err := k.aead.Open(nil, nil, sealed, []byte(purpose.String()))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", purpose, ErrOpen)
	}
	return plain, nil
}
