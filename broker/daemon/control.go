package daemon

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/broker/adminapi"
	"github.com/signetd/signet/broker/config"
	"github.com/signetd/signet/broker/control"
)

// controlSocket is where a running signetd serves its own user: a consistent copy
// of its store, and operators' access for who has lost theirs.
const controlSocket = "control.sock"

const (
	maxSocketPath  = 100     // bytes; the system's limit is 104 to 108
	maxControlBody = 1 << 20 // bytes
)

// errNotRunning: no signetd has this data folder open.
var errNotRunning = errors.New("signetd does not run")

// socketPath gives a path to the socket that the system takes, however long the
// folder's is. It is good until close is called.
func socketPath(dir string) (path string, close func() error, err error) {
	if path = filepath.Join(dir, controlSocket); len(path) <= maxSocketPath {
		return path, func() error { return nil }, nil
	}
	f, err := os.Open(dir)
	if err != nil {
		return "", nil, err
	}
	return fmt.Sprintf("/proc/self/fd/%d/%s", f.Fd(), controlSocket), f.Close, nil
}

// A controlListener closes the folder that its path goes through, after itself.
type controlListener struct {
	net.Listener
	folder func() error
}

func (l *controlListener) Close() error { return errors.Join(l.Listener.Close(), l.folder()) }

func (d *Daemon) listenControl() (net.Listener, error) {
	path, done, err := socketPath(d.cfg.Data)
	if err != nil {
		return nil, fmt.Errorf("control socket: %w", err)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) { // we hold the store: it is nobody's
		return nil, fmt.Errorf("control socket: %w", errors.Join(err, done()))
	}
	ln, err := net.Listen("unix", path)
	if err != nil {
		return nil, fmt.Errorf("control socket: %w", errors.Join(err, done()))
	}
	if err := os.Chmod(path, 0o600); err != nil {
		return nil, fmt.Errorf("control socket: %w", errors.Join(err, ln.Close(), done()))
	}
	return &controlListener{ln, done}, nil
}

func (d *Daemon) controlHandler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /store", func(w http.ResponseWriter, r *http.Request) {
		if _, err := d.store.Backup(r.Context(), w); err != nil {
			d.log.ErrorContext(r.Context(), "backup", "err", err)
			panic(http.ErrAbortHandler) // net/http's way to cut a body short
		}
	})
	answer := func(w http.ResponseWriter, v any, err error) {
		if err != nil {
			http.Error(w, err.Error(), http.StatusUnprocessableEntity)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(v) // who asked went away
	}
	mux.HandleFunc("GET /operators", func(w http.ResponseWriter, r *http.Request) {
		all, err := listOperators(r.Context(), d.Control)
		answer(w, all, err)
	})
	mux.HandleFunc("POST /operators", func(w http.ResponseWriter, r *http.Request) {
		var n adminapi.NewOperator
		if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxControlBody)).Decode(&n); err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		made, err := createOperator(r.Context(), d.Control, n)
		d.log.InfoContext(r.Context(), "operator made on this machine", "operator", n.Name, "err", err)
		answer(w, made, err)
	})
	mux.HandleFunc("DELETE /operators/{name}", func(w http.ResponseWriter, r *http.Request) {
		err := d.Control.DeleteOperator(r.Context(), broker.By{Actor: broker.ActorLocal}, r.PathValue("name"))
		d.log.InfoContext(r.Context(), "operator deleted on this machine", "operator", r.PathValue("name"), "err", err)
		answer(w, struct{}{}, err)
	})
	return mux
}

// askRunning asks the signetd that has the data folder open: errNotRunning if there
// is none. The answer is 200.
func askRunning(ctx context.Context, cfg config.Config, method, path string, body any) (*http.Response, error) {
	socket, done, err := socketPath(cfg.Data)
	if err != nil {
		return nil, errNotRunning
	}
	defer done()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}}}
	raw, err := json.Marshal(body)
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://signetd"+path, bytes.NewReader(raw))
	if err != nil {
		return nil, err
	}
	resp, err := client.Do(req)
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED) {
		return nil, errNotRunning
	}
	if err != nil {
		return nil, fmt.Errorf("ask the running signetd: %w", err)
	}
	if resp.StatusCode != http.StatusOK {
		defer resp.Body.Close()
		text, err := io.ReadAll(io.LimitReader(resp.Body, 4096))
		if err != nil {
			return nil, fmt.Errorf("ask the running signetd: %w", err)
		}
		return nil, errors.New(strings.TrimSpace(string(text)))
	}
	return resp, nil
}

// locally does something with a directory: through the signetd that runs or, if
// none does, by opening the data folder for as long as it takes.
func locally[T any](ctx context.Context, cfg config.Config, method, path string, body any, do func(*control.Plane) (T, error)) (out T, err error) {
	resp, err := askRunning(ctx, cfg, method, path, body)
	if err == nil {
		defer resp.Body.Close()
		err = json.NewDecoder(io.LimitReader(resp.Body, maxControlBody)).Decode(&out)
		return out, err
	}
	if !errors.Is(err, errNotRunning) {
		return out, err
	}
	if !fileExists(cfg.StorePath()) {
		return out, fmt.Errorf("there is no store in %s; say where it is with --data", cfg.Data)
	}
	d, err := OpenDirectory(ctx, cfg)
	if err != nil {
		return out, err
	}
	out, err = do(d.Control)
	return out, errors.Join(err, d.Close())
}

// CreateOperator makes an operator on the broker's own machine, where the right to
// read the data folder is right enough. The answer has its token, once.
func CreateOperator(ctx context.Context, cfg config.Config, n adminapi.NewOperator) (adminapi.Operator, error) {
	return locally(ctx, cfg, http.MethodPost, "/operators", n, func(dir *control.Plane) (adminapi.Operator, error) {
		return createOperator(ctx, dir, n)
	})
}

// Operators lists operators on the broker's own machine.
func Operators(ctx context.Context, cfg config.Config) ([]adminapi.Operator, error) {
	return locally(ctx, cfg, http.MethodGet, "/operators", nil, func(dir *control.Plane) ([]adminapi.Operator, error) {
		return listOperators(ctx, dir)
	})
}

// DeleteOperator ends an operator's access on the broker's own machine.
func DeleteOperator(ctx context.Context, cfg config.Config, name string) error {
	if err := broker.CheckLabel("operator", name); err != nil {
		return err
	}
	_, err := locally(ctx, cfg, http.MethodDelete, "/operators/"+name, nil, func(dir *control.Plane) (struct{}, error) {
		return struct{}{}, dir.DeleteOperator(ctx, broker.By{Actor: broker.ActorLocal}, name)
	})
	return err
}

func createOperator(ctx context.Context, dir *control.Plane, n adminapi.NewOperator) (adminapi.Operator, error) {
	var life time.Duration
	if n.Expires != nil {
		if life = time.Duration(*n.Expires); life == 0 {
			return adminapi.Operator{}, fmt.Errorf("%w: expires is 0s; leave it out for the default", broker.ErrInvalid)
		}
	}
	o, secret, err := dir.CreateOperator(ctx, broker.By{Actor: broker.ActorLocal}, n.Name, life)
	return adminapi.Operator{Name: o.Name, Token: secret, Expires: o.Expires, Created: o.Created}, err
}

func listOperators(ctx context.Context, dir *control.Plane) ([]adminapi.Operator, error) {
	all, err := dir.ListOperators(ctx)
	out := make([]adminapi.Operator, 0, len(all))
	for _, o := range all {
		out = append(out, adminapi.Operator{Name: o.Name, Expires: o.Expires, Created: o.Created})
	}
	return out, err
}
