// Package localapi is the broker's door for its own user on its own machine: a Unix
// socket in the data folder that serves the operators' API without a token, and a
// consistent copy of the store. Whoever may read the data folder has all of it
// anyway; who else comes by, the kernel tells (SO_PEERCRED), and is turned away.
package localapi

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"syscall"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/broker/adminapi"
	"github.com/signetd/signet/broker/problem"
	"github.com/signetd/signet/broker/tally"
	"github.com/signetd/signet/protocol/peer"
)

// Socket is the socket's name in the data folder.
const Socket = "control.sock"

const maxSocketPath = 100 // bytes; the system's limit is 104 to 108

// ErrNotRunning: no signetd has this data folder open.
var ErrNotRunning = errors.New("signetd does not run")

// socketPath gives a path to the socket that the system takes, however long the
// folder's is. It is good until close is called.
func socketPath(dir string) (path string, close func() error, err error) {
	if path = filepath.Join(dir, Socket); len(path) <= maxSocketPath {
		return path, func() error { return nil }, nil
	}
	f, err := os.Open(dir)
	if err != nil {
		return "", nil, err
	}
	return fmt.Sprintf("/proc/self/fd/%d/%s", f.Fd(), Socket), f.Close, nil
}

// A listener lets in the broker's own user and root, and closes the folder that its
// path goes through, after itself.
type listener struct {
	net.Listener
	folder func() error
	told   *tally.Log
}

// Listen makes the socket in the data folder. Who calls it holds the folder's store,
// so a socket that is there is nobody's.
func Listen(dir string, log *slog.Logger) (net.Listener, error) {
	path, done, err := socketPath(dir)
	if err != nil {
		return nil, fmt.Errorf("control socket: %w", err)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("control socket: %w", errors.Join(err, done()))
	}
	ln, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("control socket: %w", errors.Join(err, done()))
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, fmt.Errorf("control socket: %w", errors.Join(err, ln.Close(), done()))
	}
	return &listener{ln, done, tally.New(log)}, nil
}

// Accept gives the next connection of one who may come in.
func (l *listener) Accept() (net.Conn, error) {
	for {
		nc, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		if err := peer.Permit(nc, nil); err != nil {
			l.told.Note(context.Background(), slog.LevelWarn, "refused", "control socket: connection refused", "err", err)
			_ = nc.Close()
			continue
		}
		return nc, nil
	}
}

// Close closes the socket, which goes from the folder.
func (l *listener) Close() error { return errors.Join(l.Listener.Close(), l.folder()) }

// Handler serves api, which must be a local one (adminapi.Config.Local), and a copy
// of the store. A store that is no broker.Backuper has ways of its own to be copied.
func Handler(api http.Handler, store broker.Store, log *slog.Logger) http.Handler {
	rest := http.NewServeMux()
	rest.HandleFunc("GET /store", func(w http.ResponseWriter, r *http.Request) {
		s, ok := store.(broker.Backuper)
		if !ok {
			problem.New(http.StatusNotImplemented, "this store is backed up by its own means").Write(w)
			return
		}
		if _, err := s.Backup(r.Context(), w); err != nil {
			log.ErrorContext(r.Context(), "backup", "err", err)
			panic(http.ErrAbortHandler) // net/http's way to cut a body short
		}
	})
	mux := http.NewServeMux()
	mux.Handle("/api/", api)
	mux.Handle("/", problem.Plain(rest))
	return mux
}

// A dialer is the way to the signetd that has a data folder open.
type dialer struct{ http *http.Transport }

func newDialer(dir string) *dialer {
	return &dialer{&http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		path, done, err := socketPath(dir)
		if err != nil {
			return nil, err
		}
		nc, err := new(net.Dialer).DialContext(ctx, "unix", path)
		return nc, errors.Join(err, done())
	}}}
}

// RoundTrip implements http.RoundTripper; it fails with ErrNotRunning if none has it open.
func (d *dialer) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := d.http.RoundTrip(r)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED) {
		return nil, ErrNotRunning
	}
	if err != nil {
		return nil, fmt.Errorf("ask the running signetd: %w", err)
	}
	return resp, nil
}

// Client speaks the operators' API with the signetd that has the data folder dir
// open. Its calls fail with ErrNotRunning if none has.
func Client(dir string) *adminapi.Client { return adminapi.NewLocalClient(newDialer(dir)) }

// CopyStore writes a consistent copy of the store of the signetd that has the data
// folder dir open; ErrNotRunning if none has.
func CopyStore(ctx context.Context, dir string, w io.Writer) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://signetd/store", nil)
	if err != nil {
		return err
	}
	resp, err := newDialer(dir).RoundTrip(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		text, err := io.ReadAll(io.LimitReader(resp.Body, 4096))
		if err != nil {
			return fmt.Errorf("ask the running signetd: %w", err)
		}
		if p := problem.Parse(resp.StatusCode, resp.Header.Get("Content-Type"), text); p != nil {
			return p
		}
		return fmt.Errorf("the running signetd answered %s", resp.Status)
	}
	_, err = io.Copy(w, resp.Body)
	return err
}
