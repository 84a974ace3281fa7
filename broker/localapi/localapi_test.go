package localapi

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/broker/problem"
)

// serve serves a handler by the socket in dir.
func serve(t *testing.T, dir string, h http.Handler) {
	t.Helper()
	ln, err := Listen(dir, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	s := &http.Server{Handler: h}
	done := make(chan error, 1)
	go func() { done <- s.Serve(ln) }()
	t.Cleanup(func() {
		s.Close()
		if err := <-done; !errors.Is(err, http.ErrServerClosed) {
			t.Error(err)
		}
	})
}

// copied is a store that is copied in two parts, the second of which may fail.
type copied struct {
	broker.Store
	broken error
}

func (c copied) Backup(_ context.Context, w io.Writer) (int64, error) {
	if _, err := io.WriteString(w, "all of "); err != nil {
		return 0, err
	}
	if c.broken != nil {
		_ = http.NewResponseController(w.(http.ResponseWriter)).Flush()
		return 0, c.broken
	}
	n, err := io.WriteString(w, "it")
	return int64(n), err
}

func TestCopyStore(t *testing.T) {
	log := slog.New(slog.DiscardHandler)
	for name, c := range map[string]struct {
		store broker.Store
		want  string
		err   bool
	}{
		"whole": {copied{}, "all of it", false},
		"cut":   {copied{broken: errors.New("disk gone")}, "", true},
		"none":  {struct{ broker.Store }{}, "", true},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			if err := CopyStore(t.Context(), dir, io.Discard); !errors.Is(err, ErrNotRunning) {
				t.Errorf("before it runs: %v", err)
			}
			serve(t, dir, Handler(http.NotFoundHandler(), c.store, log))
			var out bytes.Buffer
			err := CopyStore(t.Context(), dir, &out)
			if (err != nil) != c.err || !c.err && out.String() != c.want {
				t.Errorf("got %q, %v", &out, err)
			}
			var p *problem.Problem
			if name == "none" && (!errors.As(err, &p) || p.Status != http.StatusNotImplemented) {
				t.Errorf("a store without copies: %v", err)
			}
		})
	}
}

// TestStrangersAreTurnedAway: the file's mode keeps other users out, and should it not,
// the kernel's word does.
func TestStrangersAreTurnedAway(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root can become another user")
	}
	dir, err := os.MkdirTemp("", "la")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	served := make(chan struct{}, 1)
	serve(t, dir, http.HandlerFunc(func(http.ResponseWriter, *http.Request) { served <- struct{}{} }))
	path := filepath.Join(dir, Socket)
	if err := errors.Join(os.Chmod(dir, 0o755), os.Chmod(path, 0o666)); err != nil {
		t.Fatal(err)
	}
	answer := make(chan string, 1)
	go func() {
		runtime.LockOSThread() // never unlocked: the thread ends with the goroutine
		const nobody = 65534
		if _, _, errno := syscall.RawSyscall(syscall.SYS_SETRESUID, nobody, nobody, nobody); errno != 0 {
			answer <- "become another user: " + errno.Error()
			return
		}
		nc, err := net.Dial("unix", path)
		if err != nil {
			answer <- "dial: " + err.Error()
			return
		}
		defer nc.Close()
		_, _ = io.WriteString(nc, "GET /api/v1/operators HTTP/1.1\r\nHost: signetd\r\n\r\n") // it may be closed by now
		got, _ := io.ReadAll(nc)
		answer <- string(got)
	}()
	if got := <-answer; got != "" {
		t.Errorf("a stranger was answered: %s", got)
	}
	select {
	case <-served:
		t.Error("a stranger's request was served")
	default:
	}
	if _, err := Client(dir).Operators(t.Context()); err == nil || strings.Contains(err.Error(), "refused") {
		t.Errorf("the owner: %v", err) // the handler answers nothing that a client understands
	}
	<-served
}
