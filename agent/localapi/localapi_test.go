package localapi

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func serve(t *testing.T, h Handler) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "la")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	path := filepath.Join(dir, "s")
	serveAt(t, path, false, nil, h)
	return path
}

func serveAt(t *testing.T, path string, shared bool, groups []uint32, h Handler) {
	t.Helper()
	ln, err := Listen(t.Context(), path, shared)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- Serve(ctx, ln, groups, h) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func TestCall(t *testing.T) {
	path := serve(t, func(_ context.Context, r Request) Reply {
		if r.Op != "token" {
			return Reply{Error: "only tokens"}
		}
		return Reply{Token: r.Audience, Life: 5}
	})
	got, err := Call(t.Context(), path, Request{Op: "token", Audience: "a"})
	if err != nil || got.Token != "a" || got.Life != 5 {
		t.Errorf("%+v, %v", got, err)
	}
	if _, err := Call(t.Context(), path, Request{Op: "x"}); err == nil || !strings.Contains(err.Error(), "only tokens") {
		t.Error(err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("socket mode %v, %v", info.Mode(), err)
	}
	if _, err := Listen(t.Context(), path, false); err == nil {
		t.Error("a second agent took the socket over")
	}
	if _, err := Listen(t.Context(), path+strings.Repeat("x", 108), false); !errors.Is(err, ErrPath) {
		t.Error(err)
	}
}

// TestCallEndsWithItsContext: whoever asks an agent that hangs is not held.
func TestCallEndsWithItsContext(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	ln, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		conn, err := ln.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		_, _ = conn.Read(make([]byte, 1)) // it has asked
		cancel()
		<-t.Context().Done()
	}()
	if _, err := Call(ctx, path, Request{Op: "token"}); !errors.Is(err, context.Canceled) {
		t.Errorf("%v, want the context's end", err)
	}
}

// TestSilentAgent: an agent that ends without a word is told apart from one that talks nonsense.
func TestSilentAgent(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	ln, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	go func() {
		if conn, err := ln.Accept(); err == nil {
			_, _ = conn.Read(make([]byte, 4096))
			_ = conn.Close()
		}
	}()
	if _, err := Call(t.Context(), path, Request{Op: "token"}); err == nil || !strings.Contains(err.Error(), "ended without a reply") {
		t.Error(err)
	}
}

func TestBadRequests(t *testing.T) {
	path := serve(t, func(context.Context, Request) Reply { t.Error("reached the handler"); return Reply{} })
	for _, line := range []string{"\n", "{\n", "[]\n", "null\n", "{\"op\":\"token\",\"aud\":\"x\"}\n", "{\"op\":\"token\"}{\"op\":\"status\"}\n", strings.Repeat("x", 5000) + "\n"} {
		conn, err := net.Dial("unix", path)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = conn.Write([]byte(line))
		buf := make([]byte, 512)
		n, _ := conn.Read(buf)
		if n > 0 && !strings.Contains(string(buf[:n]), "error") {
			t.Errorf("%.10q: %s", line, buf[:n])
		}
		_ = conn.Close()
	}
}

func TestNotRunning(t *testing.T) {
	if _, err := Call(t.Context(), filepath.Join(t.TempDir(), "none"), Request{}); !errors.Is(err, ErrNotRunning) {
		t.Error(err)
	}
}

func FuzzRequest(f *testing.F) {
	f.Add([]byte(`{"op":"token","type":"access","format":"jwt","audience":"a"}` + "\n"))
	f.Add([]byte(`{"op":"status"}` + "\n"))
	f.Add([]byte(`{"op":"answer","challenge":"1","answer":"123456"}` + "\n"))
	f.Add([]byte("null\n"))
	f.Add([]byte(strings.Repeat("[", 4000) + "\n"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		r, err := readRequest(bytes.NewReader(raw))
		if err != nil {
			if !errors.Is(err, ErrRequest) {
				t.Fatal(err)
			}
			return
		}
		line, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		if again, err := parseRequest(line); err != nil || again != r {
			t.Errorf("%+v came back as %+v, %v", r, again, err)
		}
	})
}
