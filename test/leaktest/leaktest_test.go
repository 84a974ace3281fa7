package leaktest

import (
	"net"
	"testing"
)

// What is left is told, and nothing else.
func TestLeft(t *testing.T) {
	before := begin()
	if err := before.left(); err != nil {
		t.Error(err)
	}
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if s := before; descriptors() <= s.descriptors {
		t.Error("an open descriptor is not seen")
	}
	if err := ln.Close(); err != nil {
		t.Fatal(err)
	}
	stop := make(chan struct{})
	go func() { <-stop }()
	if before.left() == nil {
		t.Error("a goroutine that goes on is not seen")
	}
	close(stop)
	if err := before.left(); err != nil {
		t.Error(err)
	}
}
