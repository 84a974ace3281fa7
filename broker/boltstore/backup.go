package boltstore

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	bolt "go.etcd.io/bbolt"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/broker/durable"
)

// A backup is the file as one transaction saw it, then a trailer: trailerMagic,
// the length before it (8 bytes, big-endian), and the SHA-256 of all before the hash.
const (
	trailerMagic = "signet store backup 1\n\x00\x00"
	trailerSize  = len(trailerMagic) + 8 + sha256.Size
)

// Backup writes a consistent copy to w while the store is in use, and returns how many bytes.
func (s *Store) Backup(ctx context.Context, w io.Writer) (int64, error) {
	h := sha256.New()
	out := io.MultiWriter(contextWriter{ctx, w}, h)
	var n int64
	err := s.view(ctx, "back up", func(tx *bolt.Tx) (err error) {
		n, err = tx.WriteTo(out)
		return err
	})
	if err != nil {
		return n, err
	}
	end := binary.BigEndian.AppendUint64([]byte(trailerMagic), uint64(n))
	h.Write(end)
	end = h.Sum(end)
	m, err := contextWriter{ctx, w}.Write(end)
	if err != nil {
		return n + int64(m), fmt.Errorf("back up: %w", err)
	}
	return n + int64(m), nil
}

type contextWriter struct {
	ctx context.Context
	w   io.Writer
}

func (c contextWriter) Write(b []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.w.Write(b)
}

// Restore makes a store at path of the backup that it reads from r. Nothing
// appears at path unless all of it is sound: ErrDamaged for a backup that is cut
// short or changed, *NewerError, broker.ErrExists when there is a file at path.
func Restore(ctx context.Context, path string, r io.Reader) error {
	err := durable.Create(path, func(f *os.File) error {
		if err := copyBackup(ctx, f, r); err != nil {
			return err
		}
		return Check(ctx, f.Name())
	})
	if errors.Is(err, fs.ErrExist) {
		err = broker.ErrExists
	}
	if err != nil {
		return fmt.Errorf("restore store %s: %w", path, err)
	}
	return nil
}

// copyBackup copies all but the trailer, and checks it.
func copyBackup(ctx context.Context, f *os.File, r io.Reader) error {
	size, err := io.Copy(contextWriter{ctx, f}, r)
	if err != nil {
		return err
	}
	body := size - int64(trailerSize)
	if body <= 0 {
		return fmt.Errorf("%w: a backup of %d bytes", ErrDamaged, size)
	}
	end := make([]byte, trailerSize)
	if _, err := f.ReadAt(end, body); err != nil {
		return err
	}
	magic, sum := end[:len(trailerMagic)], end[trailerSize-sha256.Size:]
	if string(magic) != trailerMagic || binary.BigEndian.Uint64(end[len(magic):]) != uint64(body) {
		return fmt.Errorf("%w: the backup's end is missing", ErrDamaged)
	}
	h := sha256.New()
	if _, err := io.Copy(h, io.NewSectionReader(f, 0, size-sha256.Size)); err != nil {
		return err
	}
	if !bytes.Equal(h.Sum(nil), sum) {
		return fmt.Errorf("%w: the backup's checksum is wrong", ErrDamaged)
	}
	if err := f.Truncate(body); err != nil {
		return err
	}
	return nil
}

// Check reads the whole file at path and reports what isn't sound: ErrDamaged,
// *NewerError, *HeldError. It changes nothing.
func Check(ctx context.Context, path string) (err error) {
	what := "check store " + path
	if err := ctx.Err(); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	db, err := openReading(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	return checkPages(db, what)
}

func checkPages(db *bolt.DB, what string) (err error) {
	defer turnFault(&err, what)()
	return db.View(func(tx *bolt.Tx) error {
		if tx.Bucket([]byte(bucketMeta)) == nil {
			return fmt.Errorf("%s: %w: empty", what, ErrDamaged)
		}
		var first error
		for err := range tx.Check() {
			if first == nil {
				first = fmt.Errorf("%s: %w: %w", what, ErrDamaged, err)
			}
		}
		return first
	})
}
