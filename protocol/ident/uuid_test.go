package ident_test

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"testing"
	"testing/iotest"
	"time"

	"github.com/signetd/signet/protocol/ident"
)

// TestNewUUIDVector is RFC 9562's own example (A.6): 22 February 2022, 14:22:22
// at five hours west, with its rand_a and rand_b.
func TestNewUUIDVector(t *testing.T) {
	at := time.UnixMilli(0x017F22E279B0)
	random := []byte{0, 0, 0, 0, 0, 0, 0x0C, 0xC3, 0x18, 0xC4, 0xDC, 0x0C, 0x0C, 0x07, 0x39, 0x8F}
	for _, spoilt := range []byte{0, 0xff} { // bits that belong to time, version and variant
		for i := range 6 {
			random[i] = spoilt
		}
		random[6], random[8] = random[6]&0x0f|spoilt&0xf0, random[8]&0x3f|spoilt&0xc0
		u, err := ident.NewUUID(at, bytes.NewReader(random))
		if want := "017f22e2-79b0-7cc3-98c4-dc0c0c07398f"; err != nil || u.String() != want {
			t.Errorf("%s, %v; want %s", u, err, want)
		}
	}
}

// TestNewUUID: it depends on the clock and the randomness given, on nothing else,
// and sorts by the clock.
func TestNewUUID(t *testing.T) {
	at := time.Date(2026, 5, 4, 3, 2, 1, 987_654_321, time.FixedZone("", 7200))
	first, err := ident.NewUUID(at, rand.NewChaCha8([32]byte{1}))
	if err != nil {
		t.Fatal(err)
	}
	if second, err := ident.NewUUID(at, rand.NewChaCha8([32]byte{1})); err != nil || first != second {
		t.Errorf("%s and %s (%v), want the same twice", first, second, err)
	}
	if other, err := ident.NewUUID(at, rand.NewChaCha8([32]byte{2})); err != nil || first == other {
		t.Errorf("%s of other randomness too (%v)", other, err)
	}
	if later, err := ident.NewUUID(at.Add(time.Millisecond), rand.NewChaCha8([32]byte{})); err != nil || later.String() <= first.String() {
		t.Errorf("%s is not after %s (%v)", later, first, err)
	}
}

func TestNewUUIDRefuses(t *testing.T) {
	broken := errors.New("no randomness")
	if u, err := ident.NewUUID(time.Unix(1, 0), iotest.ErrReader(broken)); !errors.Is(err, broken) || !u.IsZero() {
		t.Errorf("%s, %v", u, err)
	}
	if u, err := ident.NewUUID(time.Unix(1, 0), bytes.NewReader(make([]byte, 15))); !errors.Is(err, io.ErrUnexpectedEOF) || !u.IsZero() {
		t.Errorf("%s, %v", u, err)
	}
	for ms, ok := range map[int64]bool{-1: false, 0: true, 1<<48 - 1: true, 1 << 48: false} {
		if u, err := ident.NewUUID(time.UnixMilli(ms), bytes.NewReader(make([]byte, 16))); (err == nil) != ok || u.IsZero() == ok {
			t.Errorf("at %d ms: %s, %v", ms, u, err)
		}
	}
}

// TestPrefix: the first half, as the UUID's text shows it.
func TestPrefix(t *testing.T) {
	u, err := ident.ParseUUID("017f22e2-79b0-7cc3-98c4-dc0c0c07398f")
	if want := (ident.UUIDPrefix{0x01, 0x7f, 0x22, 0xe2, 0x79, 0xb0, 0x7c, 0xc3}); err != nil || u.Prefix() != want {
		t.Errorf("%x, %v; want %x", u.Prefix(), err, want)
	}
}
