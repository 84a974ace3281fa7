// Package backup puts a data folder into one archive and makes one of it again: the
// store as one consistent copy, its key and the certificate authority. What it makes
// appears whole and sound or not at all, and it overwrites nothing.
package backup

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/broker/boltstore"
	"github.com/signetd/signet/broker/config"
	"github.com/signetd/signet/broker/core"
	"github.com/signetd/signet/broker/durable"
	"github.com/signetd/signet/broker/localapi"
	"github.com/signetd/signet/protocol/exit"
)

// maxBackupFile bounds one restored file: 1 TiB.
const maxBackupFile = 1 << 40

// sumsFile is a backup's last entry: the SHA-256 of every other one. Without it the
// backup was cut short.
const sumsFile = "SHA256SUMS"

// Left is what a backup left out.
type Left struct {
	// KeyFile is the key-encryption key's file if it lies outside of the data folder
	// and so is not in the backup; empty if it is.
	KeyFile string
	// Unchecked says why KeyFile could not be read, so that nobody knows whether it opens the
	// store's secrets; nil if it does.
	Unchecked error
}

// Write writes everything in the data folder to a new tar file: the store as one
// consistent copy, whether signetd runs or not, its key and the certificate
// authority. The file appears whole or not at all, and not if the key is another store's:
// errors wrap atrest.ErrOpen then, for nobody could use what was restored.
func Write(ctx context.Context, cfg config.Config, path string) (b Left, err error) {
	if !durable.Exists(cfg.StorePath()) {
		return b, fmt.Errorf("backup: %w", cfg.NoStore())
	}
	err = durable.Create(path, func(f *os.File) error {
		w := &summedTar{Writer: tar.NewWriter(f)}
		if b, err = pack(ctx, w, cfg); err != nil {
			return err
		}
		return w.end()
	})
	if errors.Is(err, fs.ErrExist) {
		return b, exit.With(exit.Conflict, fmt.Errorf("backup: %s exists; name a new file", path))
	}
	if err != nil {
		return b, fmt.Errorf("backup: %w", err)
	}
	return b, nil
}

func pack(ctx context.Context, w *summedTar, cfg config.Config) (b Left, err error) {
	if b.Unchecked, err = addStore(ctx, w, cfg); err != nil {
		return b, err
	}
	if own := filepath.Join(cfg.Data, config.KeyFile); cfg.KeyPath() == own {
		if err := addFile(w, cfg.Data, config.KeyFile); err != nil {
			return b, err
		}
	} else {
		b.KeyFile = cfg.KeyPath()
	}
	entries, err := os.ReadDir(filepath.Join(cfg.Data, config.CAFolder))
	if err != nil {
		return b, err
	}
	for _, e := range entries {
		if err := addFile(w, cfg.Data, filepath.Join(config.CAFolder, e.Name())); err != nil {
			return b, err
		}
	}
	return b, nil
}

// A summedTar is a tar writer that remembers the SHA-256 of what it wrote.
type summedTar struct {
	*tar.Writer
	sums strings.Builder
}

func (w *summedTar) add(name string, size int64, r io.Reader) error {
	if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o600, Size: size, ModTime: time.Now().Truncate(time.Second)}); err != nil {
		return err
	}
	h := sha256.New()
	if _, err := io.Copy(w, io.TeeReader(r, h)); err != nil {
		return err
	}
	fmt.Fprintf(&w.sums, "%x  %s\n", h.Sum(nil), name)
	return nil
}

func (w *summedTar) end() error {
	sums := w.sums.String()
	return errors.Join(w.add(sumsFile, int64(len(sums)), strings.NewReader(sums)), w.Close())
}

// addStore takes the copy from a running signetd, or else opens the store itself. It gives
// why the key's file could not be compared with it, if that lies elsewhere.
func addStore(ctx context.Context, w *summedTar, cfg config.Config) (unchecked, err error) {
	tmp, err := os.CreateTemp(cfg.Data, "backup-*")
	if err != nil {
		return nil, err
	}
	defer os.Remove(tmp.Name())
	defer tmp.Close()
	err = localapi.CopyStore(ctx, cfg.Data, tmp)
	if errors.Is(err, localapi.ErrNotRunning) {
		err = fromFile(ctx, cfg, tmp)
	}
	if err != nil {
		return nil, err
	}
	if unchecked, err = checkKey(ctx, &cfg, tmp.Name()); err != nil {
		return nil, err
	}
	info, err := tmp.Stat()
	if err != nil {
		return nil, err
	}
	if _, err := tmp.Seek(0, io.SeekStart); err != nil {
		return nil, err
	}
	return unchecked, w.add(config.StoreFile, info.Size(), tmp)
}

// checkKey compares the key's file with a copy of the store: what a running signetd has in
// memory tells nothing of the file that a restore will need.
func checkKey(ctx context.Context, cfg *config.Config, store string) (unchecked, err error) {
	key, err := cfg.OpenKey()
	if err != nil && cfg.KeyPath() != filepath.Join(cfg.Data, config.KeyFile) {
		return err, nil
	}
	if err != nil {
		return nil, err
	}
	g, err := boltstore.Look(ctx, store)
	if err != nil {
		return nil, err
	}
	return nil, core.CheckKey(key, g.Secret)
}

func fromFile(ctx context.Context, cfg config.Config, w io.Writer) error {
	s, err := boltstore.Open(ctx, cfg.StorePath(), boltstore.Options{})
	if err != nil {
		return err
	}
	_, err = s.Backup(ctx, w)
	return errors.Join(err, s.Close())
}

func addFile(w *summedTar, root, name string) error {
	f, err := os.Open(filepath.Join(root, name))
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if !info.Mode().IsRegular() {
		return nil
	}
	return w.add(filepath.ToSlash(name), info.Size(), f)
}

// ErrNotEmpty: the folder to restore to has something in it.
var ErrNotEmpty = errors.New("the folder is not empty")

// ErrBackup: the file is no backup, or is damaged.
var ErrBackup = errors.New("not a sound backup")

// Restore makes the data folder of a backup. The folder must not exist or be empty.
// Nothing is in it unless the whole backup is sound and this version can open it. Its
// store begins a new epoch, above after: devices may know more than the backup does.
func Restore(ctx context.Context, cfg config.Config, path string, after uint64) (err error) {
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("restore: %w", err)
	}
	defer f.Close()
	entries, err := os.ReadDir(cfg.Data)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("restore: %w", err)
	}
	made := err != nil
	if len(entries) != 0 {
		return fmt.Errorf("restore: %s: %w: name an empty or a new one with --data", cfg.Data, ErrNotEmpty)
	}
	tmp := filepath.Join(cfg.Data, ".restoring")
	if err := os.MkdirAll(filepath.Join(tmp, config.CAFolder), 0o700); err != nil {
		return fmt.Errorf("restore: %w", err)
	}
	defer func() {
		err = errors.Join(err, os.RemoveAll(tmp))
		if err != nil && made {
			_ = os.Remove(cfg.Data) // refused when not empty
		}
	}()
	if err := unpack(ctx, tar.NewReader(f), tmp); err != nil {
		return fmt.Errorf("restore %s: %w", path, err)
	}
	if err := tryOut(ctx, cfg, tmp, after); err != nil {
		return fmt.Errorf("restore %s: %w", path, err)
	}
	if err := moveIn(tmp, cfg.Data); err != nil {
		return fmt.Errorf("restore: %w", err)
	}
	return nil
}

// tryOut opens what was unpacked, its secrets included, and begins the store's new epoch.
func tryOut(ctx context.Context, cfg config.Config, dir string, after uint64) error {
	cfg.Data = dir
	_, err := begin(ctx, &cfg, after, "restored from a backup")
	return err
}

// Accept takes the store that lies in a data folder for the folder's, though it is an
// older copy, and begins its new epoch, above after and above what the folder knows of. A
// damaged mark is none: the folder knows of nothing, and gets a sound one. Nobody may have the store open.
func Accept(ctx context.Context, cfg config.Config, after uint64) (epoch uint64, err error) {
	if !durable.Exists(cfg.StorePath()) {
		return 0, fmt.Errorf("restore: %w", cfg.NoStore())
	}
	know, err := readMark(&cfg)
	if _, damaged := errors.AsType[*DamagedMarkError](err); err != nil && !damaged {
		return 0, fmt.Errorf("restore: %w", err)
	}
	epoch, err = begin(ctx, &cfg, max(after, know.Epoch), "put back where it lies")
	if err != nil {
		return 0, fmt.Errorf("restore: %w", err)
	}
	return epoch, nil
}

// begin opens a data folder's store with its secrets and begins a new epoch of it.
func begin(ctx context.Context, cfg *config.Config, after uint64, why string) (epoch uint64, err error) {
	if !durable.Exists(cfg.KeyPath()) {
		return 0, fmt.Errorf("%w: it was left out of the backup, because it lay outside of the data folder: say where it is with key_file or SIGNET_KEY_FILE", config.ErrKeyMissing)
	}
	key, err := cfg.OpenKey()
	if err != nil {
		return 0, err
	}
	s, err := boltstore.Open(ctx, cfg.StorePath(), boltstore.Options{})
	if err != nil {
		return 0, err
	}
	c, err := core.New(ctx, core.Parts{Store: s, Sealer: key, Issuer: cfg.Issuer})
	if err == nil {
		c.Close()
		epoch, err = raise(ctx, s, after, why)
	}
	if err == nil {
		err = WriteMark(ctx, cfg, s)
	}
	return epoch, errors.Join(err, s.Close())
}

func raise(ctx context.Context, s broker.Epochs, after uint64, why string) (uint64, error) {
	was, err := s.Epoch(ctx)
	if err != nil {
		return 0, err
	}
	next, err := broker.NextEpoch(max(was, after), time.Now())
	if err != nil {
		return 0, err
	}
	return next, s.RaiseEpoch(ctx, broker.By{Actor: broker.ActorLocal, Reason: why}, next)
}

// moveIn moves what was restored to its place, the store last, so that a crash leaves no
// store without its key.
func moveIn(from, to string) error {
	entries, err := os.ReadDir(from)
	if err != nil {
		return err
	}
	if err := durable.SyncFolder(filepath.Join(from, config.CAFolder)); err != nil {
		return err
	}
	var names []string
	for _, e := range entries {
		if e.Name() != config.StoreFile {
			names = append(names, e.Name())
		}
	}
	move := func(names ...string) error {
		for _, name := range names {
			if err := os.Rename(filepath.Join(from, name), filepath.Join(to, name)); err != nil {
				return err
			}
		}
		return durable.SyncFolder(to)
	}
	if err := move(names...); err != nil {
		return err
	}
	return move(config.StoreFile)
}

// unpack writes a backup's files below dir and compares them with its sums.
func unpack(ctx context.Context, tr *tar.Reader, dir string) error {
	var sums strings.Builder
	for {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return fmt.Errorf("%w: it is cut short", ErrBackup)
		}
		if err != nil {
			return blame(err)
		}
		if h.Name == sumsFile {
			return compareSums(tr, sums.String())
		}
		if !filepath.IsLocal(h.Name) || h.Typeflag != tar.TypeReg || h.Size > maxBackupFile {
			return fmt.Errorf("%w: unexpected entry %q", ErrBackup, h.Name)
		}
		sum := sha256.New()
		if err := unpackFile(ctx, filepath.Join(dir, h.Name), io.TeeReader(tr, sum), h.Name == config.StoreFile); err != nil {
			return fmt.Errorf("%s: %w", h.Name, blame(err))
		}
		fmt.Fprintf(&sums, "%x  %s\n", sum.Sum(nil), h.Name)
	}
}

// blame makes an error that came of what the backup holds one of the backup: not those of
// this machine, whose disk is full or broken, nor the caller's end.
func blame(err error) error {
	var machine syscall.Errno
	if errors.As(err, &machine) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return fmt.Errorf("%w: %w", ErrBackup, err)
}

func compareSums(r io.Reader, want string) error {
	got, err := io.ReadAll(io.LimitReader(r, int64(len(want))+1))
	if err != nil {
		return blame(err)
	}
	if string(got) != want {
		return fmt.Errorf("%w: its files are not those that were backed up", ErrBackup)
	}
	return nil
}

func unpackFile(ctx context.Context, path string, r io.Reader, store bool) error {
	if store {
		return boltstore.Restore(ctx, path, r)
	}
	out, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, r)
	return errors.Join(err, out.Sync(), out.Close())
}
