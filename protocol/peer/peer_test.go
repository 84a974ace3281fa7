package peer

import (
	"errors"
	"net"
	"os"
	"path/filepath"
	"testing"
)

func TestAllowed(t *testing.T) {
	const own, group = 1000, 4711
	for name, c := range map[string]struct {
		peer peer
		want bool
	}{
		"root": {peer{0, []uint32{0}}, true}, "own user": {peer{own, []uint32{own}}, true},
		"a stranger": {peer{1001, []uint32{1001, 7}}, false}, "a stranger without groups": {peer{1001, nil}, false},
		"primary group": {peer{1001, []uint32{group}}, true}, "supplementary group": {peer{1001, []uint32{1001, group}}, true},
	} {
		if got := c.peer.allowed(own, []uint32{group}); got != c.want {
			t.Errorf("%s: %t", name, got)
		}
	}
}

// TestPermit: oneself may come in, by a Unix socket and no other way.
func TestPermit(t *testing.T) {
	ask := func(network, address string) error {
		t.Helper()
		ln, err := net.Listen(network, address)
		if err != nil {
			t.Fatal(err)
		}
		defer ln.Close()
		client, err := net.Dial(network, ln.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		server, err := ln.Accept()
		if err != nil {
			t.Fatal(err)
		}
		defer server.Close()
		if u, ok := server.(*net.UnixConn); ok {
			if p, err := peerOf(u); err != nil || p.uid != uint32(os.Getuid()) || p.groups[0] != uint32(os.Getgid()) {
				t.Errorf("the kernel says %+v, %v", p, err)
			}
		}
		return Permit(server, nil)
	}
	if err := ask("unix", filepath.Join(t.TempDir(), "s")); err != nil {
		t.Error(err)
	}
	if err := ask("tcp", "127.0.0.1:0"); !errors.Is(err, ErrForbidden) {
		t.Errorf("over TCP: %v", err)
	}
}
