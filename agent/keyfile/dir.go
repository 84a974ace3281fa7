package keyfile

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// Errors of this package, wrapped.
var (
	ErrExposed = errors.New("others can read it")
	ErrHeld    = errors.New("another process uses this device's folder")
	ErrDamaged = errors.New("file is damaged")
	ErrKeyLost = errors.New("the device has enrolled but its key is gone")
	// ErrKeyDamaged wraps ErrDamaged.
	ErrKeyDamaged = fmt.Errorf("%s: %w", keyName, ErrDamaged)
)

// maxFile bounds what is read: no file here is near it. Bytes.
const maxFile = 64 << 10

// An Op is one step of a write.
type Op string

// The steps, in the order in which they happen.
const (
	OpMkdir   Op = "mkdir"
	OpCreate  Op = "create"
	OpWrite   Op = "write"
	OpSync    Op = "sync"
	OpRename  Op = "rename"
	OpSyncDir Op = "sync-dir"
	OpRemove  Op = "remove"
)

// A Step is about to happen to the file at Path; Size is what a write will write.
type Step struct {
	Op   Op
	Path string
	Size int
}

// A Hook is called before each step. An error stops everything there, as a power
// cut would; for a write, the first cut bytes still reach the file.
type Hook func(s Step) (cut int, err error)

// A Dir is one device's folder. One process holds it at a time.
type Dir struct {
	path     string
	hook     Hook
	lock     *os.File
	readOnly error
}

// Open makes the folder if it is not there and locks it. A folder that cannot be written
// is opened all the same, for reading: see ReadOnly. hook is nil but in tests. Errors wrap
// ErrExposed or ErrHeld.
func Open(path string, hook Hook) (*Dir, error) {
	d := &Dir{path: path, hook: hook}
	if err := d.mkdir(path); err != nil {
		return nil, err
	}
	if err := folder(path); err != nil {
		return nil, err
	}
	if err := private(path); err != nil {
		return nil, err
	}
	lock, err := os.OpenFile(filepath.Join(path, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if errors.Is(err, syscall.EROFS) || errors.Is(err, fs.ErrPermission) {
		d.readOnly = err
		lock, err = os.Open(path) // all who find it so lock the folder itself
	}
	if err != nil {
		return nil, fmt.Errorf("lock the device's folder: %w", err)
	}
	if err := syscall.Flock(int(lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		_ = lock.Close()
		return nil, fmt.Errorf("%w: %s", ErrHeld, path)
	}
	d.lock = lock
	return d, d.Say("")
}

// Say tells others who find the folder held who holds it: see Holder. A folder that cannot
// be written tells nobody.
func (d *Dir) Say(who string) error {
	if d.readOnly != nil {
		return nil
	}
	err := d.lock.Truncate(0)
	if err == nil && who != "" {
		_, err = d.lock.WriteAt([]byte(who), 0)
	}
	if errors.Is(err, syscall.ENOSPC) {
		return nil // it is only for what others are told
	}
	return err
}

// Holder gives what the process that holds a folder has said of itself, "" for nothing.
// It may be the word of one that is gone already.
func Holder(path string) string {
	raw, err := os.ReadFile(filepath.Join(path, "lock"))
	if err != nil || len(raw) > maxFile {
		return ""
	}
	return string(raw)
}

// mkdir makes path and what is missing above it. Each new folder's name is synced:
// a key in a folder that a power cut takes away would be followed by a second key.
func (d *Dir) mkdir(path string) error {
	switch _, err := os.Stat(path); {
	case err == nil:
		return nil
	case !errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("make the device's folder: %w", err)
	}
	parent := filepath.Dir(path)
	if err := d.mkdir(parent); err != nil {
		return err
	}
	if _, err := d.step(OpMkdir, path, 0); err != nil {
		return err
	}
	if err := os.Mkdir(path, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("make the device's folder: %w", err)
	}
	return d.syncDir(parent)
}

// View opens the folder for reading only, without the lock.
func View(path string) (*Dir, error) {
	if err := folder(path); err != nil {
		return nil, err
	}
	if err := private(path); err != nil {
		return nil, err
	}
	return &Dir{path: path}, nil
}

// ReadOnly says why nothing can be saved in the folder, nil if it can be written.
func (d *Dir) ReadOnly() error { return d.readOnly }

// Path is the folder.
func (d *Dir) Path() string { return d.path }

// Close gives the folder back.
func (d *Dir) Close() error {
	if d.lock == nil {
		return nil
	}
	return d.lock.Close()
}

// ReadFile reads a file of the folder. Errors wrap fs.ErrNotExist or ErrExposed.
func (d *Dir) ReadFile(name string) ([]byte, error) { return ReadSecret(filepath.Join(d.path, name)) }

// ReadSecret reads a file that only its owner can read, of at most 64 KiB.
func ReadSecret(path string) ([]byte, error) {
	if err := private(path); err != nil {
		return nil, err
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	if len(b) > maxFile {
		return nil, fmt.Errorf("%w: %s has %d bytes, at most %d", ErrDamaged, path, len(b), maxFile)
	}
	return b, nil
}

// ErrNoFolder is wrapped for a path that is to be a device's folder and is something else.
var ErrNoFolder = errors.New("it is no folder")

// folder refuses what is there and no folder.
func folder(path string) error {
	if info, err := os.Stat(path); err == nil && !info.IsDir() {
		return fmt.Errorf("%s: %w", path, ErrNoFolder)
	}
	return nil
}

// private refuses what is open to group or others.
func private(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	if mode := info.Mode().Perm(); mode&0o077 != 0 {
		return fmt.Errorf("%w: %s has mode %#o; chmod go-rwx it", ErrExposed, path, mode)
	}
	return nil
}

// WriteFile replaces a file of the folder: when it returns, the new content is durable.
func (d *Dir) WriteFile(name string, data []byte) error {
	if err := d.prepare(name, data); err != nil {
		return err
	}
	return d.place(name)
}

func (d *Dir) temp(name string) string { return filepath.Join(d.path, name+".new") }

// prepare writes and syncs the file beside its place.
func (d *Dir) prepare(name string, data []byte) error {
	temp := d.temp(name)
	if _, err := d.step(OpCreate, temp, 0); err != nil {
		return err
	}
	f, err := os.OpenFile(temp, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	defer f.Close() //nolint:errcheck // Sync has said whether it is on disk
	if cut, err := d.step(OpWrite, temp, len(data)); err != nil {
		_, _ = f.Write(data[:min(max(cut, 0), len(data))])
		return err
	}
	if _, err := f.Write(data); err != nil {
		return fmt.Errorf("write %s: %w", name, err)
	}
	if _, err := d.step(OpSync, temp, 0); err != nil {
		return err
	}
	if err := f.Sync(); err != nil {
		return fmt.Errorf("sync %s: %w", name, err)
	}
	return nil
}

// place moves the prepared file to its place and syncs the folder.
func (d *Dir) place(name string) error {
	if err := d.rename(name+".new", name); err != nil {
		return err
	}
	return d.syncDir(d.path)
}

func (d *Dir) rename(from, to string) error {
	if _, err := d.step(OpRename, filepath.Join(d.path, to), 0); err != nil {
		return err
	}
	if err := os.Rename(filepath.Join(d.path, from), filepath.Join(d.path, to)); err != nil {
		return fmt.Errorf("replace %s: %w", to, err)
	}
	return nil
}

func (d *Dir) syncDir(path string) error {
	if _, err := d.step(OpSyncDir, path, 0); err != nil {
		return err
	}
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("sync folder: %w", err)
	}
	defer f.Close() //nolint:errcheck // only synced
	if err := f.Sync(); err != nil {
		return fmt.Errorf("sync folder: %w", err)
	}
	return nil
}

// Forget removes key and state, the marker that the device has enrolled last.
func (d *Dir) Forget() error {
	for _, name := range []string{keyName, stateName + ".old", stateName + ".new", keyName + ".new", stateName} {
		if err := d.Remove(name); err != nil {
			return err
		}
	}
	return d.syncDir(d.path)
}

// Remove removes a file of the folder, if it is there.
func (d *Dir) Remove(name string) error {
	path := filepath.Join(d.path, name)
	if _, err := d.step(OpRemove, path, 0); err != nil {
		return err
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("forget the device: %w", err)
	}
	return nil
}

func (d *Dir) step(op Op, path string, size int) (int, error) {
	if d.hook == nil {
		return 0, nil
	}
	return d.hook(Step{op, path, size})
}
