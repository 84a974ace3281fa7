package boltstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"syscall"
	"time"

	bolt "go.etcd.io/bbolt"
)

// A Glance is how far a store had come when somebody looked, and what its cluster's secrets
// were.
type Glance struct {
	epoch, last uint64
	secrets     map[string][]byte // sealed
}

// Secret gives a secret of the cluster, sealed: see broker.Store.SecretOnce. nil if there is none.
func (g Glance) Secret(name string) []byte { return g.secrets[name] }

// Epoch gives the store's epoch: see broker.Epochs.
func (g Glance) Epoch(context.Context) (uint64, error) { return g.epoch, nil }

// Last gives the Seq of the journal's last record.
func (g Glance) Last(context.Context) (uint64, error) { return g.last, nil }

// Look reads the store at path as far as Open does before it writes, and writes nothing.
// A file that is missing or empty, of which Open makes a store, has come nowhere. Errors:
// those of Open, *HeldError among them.
func Look(ctx context.Context, path string) (g Glance, err error) {
	if err := ctx.Err(); err != nil {
		return g, fmt.Errorf("look at store: %w", err)
	}
	info, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) || err == nil && info.Mode().IsRegular() && info.Size() == 0 {
		return g, nil
	}
	if err == nil && info.IsDir() { // one can be opened for reading
		return g, openError(path, &fs.PathError{Op: "open", Path: path, Err: syscall.EISDIR})
	}
	db, err := openReading(path)
	if err != nil {
		return g, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	f := &file{db: db, path: path}
	missing, err := f.measure()
	if err != nil {
		return g, fmt.Errorf("open store %s: %w", path, err)
	}
	if missing {
		return g, nil
	}
	err = db.View(func(tx *bolt.Tx) error {
		g = Glance{epoch: marked(tx, keyEpoch), last: tx.Bucket([]byte(bucketJournal)).Sequence(), secrets: map[string][]byte{}}
		return tx.Bucket([]byte(bucketSecrets)).ForEach(func(name, sealed []byte) error {
			g.secrets[string(name)] = bytes.Clone(sealed)
			return nil
		})
	})
	return g, err
}

// openReading opens the file for reading only and checks its format.
func openReading(path string) (*bolt.DB, error) {
	db, err := openGuarded(path, &bolt.Options{ReadOnly: true, PreLoadFreelist: true, Timeout: 200 * time.Millisecond, FreelistType: bolt.FreelistMapType})
	if err != nil {
		return nil, openError(path, err)
	}
	if err := checkFormat(db, path); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return db, nil
}
