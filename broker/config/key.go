package config

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"github.com/signetd/signet/broker/atrest"
)

// ErrNoStore is wrapped when a data folder has no store.
var ErrNoStore = errors.New("there is no store")

// NoStore is the error for a data folder without a store; it wraps ErrNoStore.
func (c *Config) NoStore() error {
	return fmt.Errorf("%w in %s; say where it is with --data", ErrNoStore, c.Data)
}

// ErrKeyMissing: there is a store and not the key that opens its secrets.
var ErrKeyMissing = errors.New("key-encryption key is missing")

// OpenKey reads the key-encryption key, or makes it for a store that is not there
// yet. A new key beside an old store would open nothing of it.
func (c *Config) OpenKey() (*atrest.Key, error) {
	path := c.KeyPath()
	if c.credential {
		return loadCredential(path)
	}
	_, err := os.Stat(path)
	if !errors.Is(err, fs.ErrNotExist) {
		return atrest.Load(path)
	}
	if _, err := os.Stat(c.StorePath()); err == nil {
		return nil, c.keyMissing()
	}
	return atrest.LoadOrCreate(path)
}

func (c *Config) keyMissing() error {
	return fmt.Errorf("%w: the secrets in %s open with %s alone, which is not there: put it back from a backup, or say where it is with key_file or SIGNET_KEY_FILE",
		ErrKeyMissing, c.StorePath(), c.KeyPath())
}

// loadCredential reads the key where systemd put it (LoadCredential=): a folder
// that only the service may enter, with an ACL that shows as the group's right.
func loadCredential(path string) (*atrest.Key, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("key-encryption key: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("key-encryption key: %w", err)
	}
	if mode := info.Mode().Perm(); mode&0o007 != 0 {
		return nil, fmt.Errorf("key-encryption key %s may be read by others (mode %04o): chmod 600 it", path, mode)
	}
	raw, err := io.ReadAll(io.LimitReader(f, atrest.KeyLen+1))
	if err != nil {
		return nil, fmt.Errorf("key-encryption key: %w", err)
	}
	k, err := atrest.New(raw)
	if err != nil {
		return nil, fmt.Errorf("credential %s: %w", path, err)
	}
	return k, nil
}
