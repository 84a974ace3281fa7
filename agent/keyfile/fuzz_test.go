package keyfile

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"testing"

	"github.com/signetd/signet/agent"
	"github.com/signetd/signet/protocol/detcbor"
	"github.com/signetd/signet/protocol/ident"
	"github.com/signetd/signet/protocol/ident/identtest"
)

// encode writes a state file's content.
func encode(r agent.Record) ([]byte, error) {
	body, err := detcbor.Marshal(r)
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(body)
	return append(sum[:sumLen:sumLen], body...), nil
}

// FuzzState reads any bytes as a state file, and again with a checksum that fits.
func FuzzState(f *testing.F) {
	dev := identtest.Device(f, "demo:lamp-1")
	whole, err := encode(agent.Record{
		Pool: dev.Pool, Name: dev.Name, Enrolled: true, Subject: ident.UUID{1}, Issuer: "https://b", Pin: []byte{1}, Anchor: []byte{2},
		Statement: []byte{3}, Floor: 1 << 40, Session: ident.UUID{2}, Refresh: []byte{4},
	})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(whole)
	f.Add(whole[:20])
	f.Add([]byte{})
	f.Add(append(bytes.Repeat([]byte{0}, sumLen), 0xa0))
	f.Fuzz(func(t *testing.T, raw []byte) {
		if _, err := parseState(raw); err != nil && !errors.Is(err, ErrDamaged) {
			t.Fatal(err)
		}
		if len(raw) < sumLen {
			return
		}
		sum := sha256.Sum256(raw[sumLen:])
		r, err := parseState(append(sum[:sumLen:sumLen], raw[sumLen:]...))
		if err != nil {
			if !errors.Is(err, ErrDamaged) {
				t.Fatal(err)
			}
			return
		}
		again, err := encode(r)
		if err != nil {
			t.Fatalf("what was read cannot be written: %v", err)
		}
		if _, err := parseState(again); err != nil {
			t.Errorf("what was written cannot be read: %v", err)
		}
	})
}

// FuzzKey reads any bytes as a key file.
func FuzzKey(f *testing.F) {
	d, err := Open(f.TempDir()+"/d", nil)
	if err != nil {
		f.Fatal(err)
	}
	defer d.Close() //nolint:errcheck // only a lock
	for _, kind := range []Kind{P256, Ed25519} {
		if _, err := d.makeKey(kind); err != nil {
			f.Fatal(err)
		}
		raw, err := d.ReadFile(keyName)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw)
	}
	f.Add([]byte("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		k, err := parseKey(raw)
		if err == nil {
			if _, err := k.Prove([]byte("x")); err != nil {
				t.Errorf("a key that was accepted cannot prove: %v", err)
			}
		}
	})
}
