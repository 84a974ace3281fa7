package daemon

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"github.com/signetd/signet/broker/boltstore"
)

// controlSocket is where a running signetd hands out a consistent copy of its
// store, to its own user only.
const controlSocket = "control.sock"

// maxBackupFile bounds one restored file: 1 TiB.
const maxBackupFile = 1 << 40

func (d *Daemon) controlHandler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /store", func(w http.ResponseWriter, r *http.Request) {
		if _, err := d.store.Backup(r.Context(), w); err != nil {
			d.log.ErrorContext(r.Context(), "backup", "err", err)
			panic(http.ErrAbortHandler) // net/http's way to cut a body short
		}
	})
	return mux
}

func (d *Daemon) listenControl() (net.Listener, error) {
	path := filepath.Join(d.cfg.Data, controlSocket)
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("control socket: %w", err)
	}
	ln, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("control socket: %w", err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, errors.Join(fmt.Errorf("control socket: %w", err), ln.Close())
	}
	return ln, nil
}

// Backup writes everything in the data folder to a new tar file: the store as one
// consistent copy, whether signetd runs or not, its key and the certificate authority.
func Backup(ctx context.Context, cfg Config, path string) (err error) {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return fmt.Errorf("backup: %w", err)
	}
	defer func() {
		if err = errors.Join(err, f.Close()); err != nil {
			err = errors.Join(fmt.Errorf("backup: %w", err), os.Remove(path))
		}
	}()
	tw := tar.NewWriter(f)
	if err := addStore(ctx, tw, cfg); err != nil {
		return err
	}
	if err := addFile(tw, cfg.Data, KeyFile); err != nil {
		return err
	}
	entries, err := os.ReadDir(filepath.Join(cfg.Data, CAFolder))
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := addFile(tw, cfg.Data, filepath.Join(CAFolder, e.Name())); err != nil {
			return err
		}
	}
	return errors.Join(tw.Close(), f.Sync())
}

// addStore takes the copy from a running signetd, or else opens the store itself.
func addStore(ctx context.Context, tw *tar.Writer, cfg Config) error {
	tmp, err := os.CreateTemp(cfg.Data, "backup-*")
	if err != nil {
		return err
	}
	defer os.Remove(tmp.Name())
	defer tmp.Close()
	copied, err := fromRunning(ctx, cfg, tmp)
	if err == nil && !copied {
		err = fromFile(ctx, cfg, tmp)
	}
	if err != nil {
		return err
	}
	info, err := tmp.Stat()
	if err != nil {
		return err
	}
	if _, err := tmp.Seek(0, io.SeekStart); err != nil {
		return err
	}
	if err := tw.WriteHeader(&tar.Header{Name: StoreFile, Mode: 0o600, Size: info.Size(), ModTime: info.ModTime()}); err != nil {
		return err
	}
	_, err = io.Copy(tw, tmp)
	return err
}

func fromRunning(ctx context.Context, cfg Config, w io.Writer) (bool, error) {
	socket := filepath.Join(cfg.Data, controlSocket)
	client := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}}}
	defer client.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://signetd/store", nil)
	if err != nil {
		return false, err
	}
	resp, err := client.Do(req)
	if err != nil {
		return false, nil // nobody there: it does not run
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return false, fmt.Errorf("running signetd answered %s", resp.Status)
	}
	_, err = io.Copy(w, resp.Body)
	return true, err
}

func fromFile(ctx context.Context, cfg Config, w io.Writer) error {
	path := filepath.Join(cfg.Data, StoreFile)
	if _, err := os.Stat(path); err != nil {
		return err
	}
	s, err := boltstore.Open(ctx, path, boltstore.Options{})
	if err != nil {
		return err
	}
	_, err = s.Backup(ctx, w)
	return errors.Join(err, s.Close())
}

func addFile(tw *tar.Writer, root, name string) error {
	raw, err := os.ReadFile(filepath.Join(root, name))
	if err != nil {
		return err
	}
	if err := tw.WriteHeader(&tar.Header{Name: filepath.ToSlash(name), Mode: 0o600, Size: int64(len(raw))}); err != nil {
		return err
	}
	_, err = tw.Write(raw)
	return err
}

// Restore makes the data folder from a backup. The folder must not exist; it
// appears whole or not at all, and only if this version can open its store.
func Restore(ctx context.Context, cfg Config, path string) (err error) {
	if _, err := os.Stat(cfg.Data); err == nil {
		return fmt.Errorf("restore: %s exists; name a folder that does not with --data", cfg.Data)
	}
	f, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("restore: %w", err)
	}
	defer f.Close()
	tmp := strings.TrimRight(cfg.Data, "/") + ".restoring"
	if err := os.MkdirAll(filepath.Join(tmp, CAFolder), 0o700); err != nil {
		return fmt.Errorf("restore: %w", err)
	}
	defer os.RemoveAll(tmp)
	if err := unpack(tar.NewReader(f), tmp); err != nil {
		return fmt.Errorf("restore %s: %w", path, err)
	}
	s, err := boltstore.Open(ctx, filepath.Join(tmp, StoreFile), boltstore.Options{})
	if err != nil {
		return fmt.Errorf("restore %s: %w", path, err)
	}
	if err := s.Close(); err != nil {
		return fmt.Errorf("restore %s: %w", path, err)
	}
	return os.Rename(tmp, cfg.Data)
}

func unpack(tr *tar.Reader, dir string) error {
	for {
		h, err := tr.Next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("not a backup, or cut short: %w", err)
		}
		if !filepath.IsLocal(h.Name) || h.Typeflag != tar.TypeReg || h.Size > maxBackupFile {
			return fmt.Errorf("not a backup: unexpected entry %q", h.Name)
		}
		out, err := os.OpenFile(filepath.Join(dir, h.Name), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		if err != nil {
			return err
		}
		_, err = io.CopyN(out, tr, h.Size)
		if err = errors.Join(err, out.Sync(), out.Close()); err != nil {
			return err
		}
	}
}
