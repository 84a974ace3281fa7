package auth

import (
	"bytes"
	"crypto/rand"
	"errors"
	"reflect"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/signetd/signet/protocol"
	"github.com/signetd/signet/protocol/ident"
)

func noon() time.Time { return time.Date(2026, 5, 4, 11, 59, 0, 0, time.UTC) }

func sealed(t testing.TB, s *sealer, change func(*pending)) (*pending, []byte) {
	t.Helper()
	pool, err := ident.ParsePool("demo")
	if err != nil {
		t.Fatal(err)
	}
	name, err := ident.ParseName("lamp-1")
	if err != nil {
		t.Fatal(err)
	}
	v := &pending{
		Exchange: ident.UUID{1}, Wish: protocol.Request{Pool: pool, Name: name, Client: "default", Nonce: make([]byte, protocol.NonceLen)},
		Transcript: protocol.Transcript{2}, Issued: noon().UnixMilli(), Kind: "door", Results: []Result{{Name: "key", OK: true}},
		Private: map[string]string{"answer": "PRIVATE-CANARY"}, Call: protocol.CallID{3}, Meta: "m",
	}
	if change != nil {
		change(v)
	}
	raw, err := s.seal(v)
	if err != nil {
		t.Fatal(err)
	}
	return v, raw
}

// TestSessions: a session opens at every replica with the secret, whole, for its
// life and no longer, on either side of an hour.
func TestSessions(t *testing.T) {
	secret := bytes.Repeat([]byte{7}, 32)
	one, other := newSealer(secret, rand.Reader), newSealer(secret, rand.Reader)
	want, raw := sealed(t, one, nil)
	if bytes.Contains(raw, []byte("CANARY")) || bytes.Contains(raw, []byte("lamp-1")) {
		t.Error("a session can be read")
	}
	for _, after := range []time.Duration{-SessionLife, 0, 2 * time.Minute, SessionLife} {
		got, err := other.open(raw, noon().Add(after))
		if err != nil {
			t.Errorf("after %v: %v", after, err)
		} else if diff := cmp.Diff(want, got, cmp.Exporter(func(reflect.Type) bool { return true })); diff != "" {
			t.Errorf("after %v (-sealed +opened):\n%s", after, diff)
		}
	}
	for _, after := range []time.Duration{-SessionLife - time.Millisecond, SessionLife + time.Millisecond, time.Hour, 3 * time.Hour, -3 * time.Hour, 100 * 365 * 24 * time.Hour} {
		if _, err := other.open(raw, noon().Add(after)); !errors.Is(err, protocol.CodeExpired) {
			t.Errorf("after %v: %v, want expired", after, err)
		}
	}
	if _, err := newSealer(bytes.Repeat([]byte{8}, 32), rand.Reader).open(raw, noon()); !errors.Is(err, protocol.CodeDenied) {
		t.Errorf("another cluster's: %v, want denied", err)
	}
	if _, again := sealed(t, one, nil); bytes.Equal(again, raw) {
		t.Error("two sessions were sealed with one nonce")
	}
}

// TestNoBitOfASessionCanBeChanged: every bit flipped, every length cut.
func TestNoBitOfASessionCanBeChanged(t *testing.T) {
	s := newSealer(bytes.Repeat([]byte{7}, 32), rand.Reader)
	_, raw := sealed(t, s, nil)
	for i := range raw {
		if _, err := s.open(raw[:i], noon()); !errors.Is(err, protocol.CodeDenied) && !errors.Is(err, protocol.CodeExpired) {
			t.Errorf("cut to %d bytes: %v", i, err)
		}
		for bit := range 8 {
			changed := bytes.Clone(raw)
			changed[i] ^= 1 << bit
			if _, err := s.open(changed, noon()); !errors.Is(err, protocol.CodeDenied) && !errors.Is(err, protocol.CodeExpired) {
				t.Errorf("bit %d of byte %d: %v", bit, i, err)
			}
		}
	}
}

// TestSessionsFitTheirField: a session that would not fit its message is refused
// when it is made, with the code for what the device sent too much of.
func TestSessionsFitTheirField(t *testing.T) {
	s := newSealer(bytes.Repeat([]byte{7}, 32), rand.Reader)
	fits := func(v *pending) { v.Wish.Metadata = map[string]string{"a": string(bytes.Repeat([]byte{'x'}, 1000))} }
	if _, raw := sealed(t, s, fits); len(raw) > protocol.MaxSession {
		t.Errorf("%d bytes", len(raw))
	}
	v, _ := sealed(t, s, nil)
	v.Wish.Metadata = map[string]string{"a": string(bytes.Repeat([]byte{'x'}, 1024)), "b": string(bytes.Repeat([]byte{'x'}, 1024))}
	if _, err := s.seal(v); !errors.Is(err, protocol.CodeTooLarge) {
		t.Errorf("2 KiB of metadata: %v, want too large", err)
	}
}

func FuzzOpenSession(f *testing.F) {
	// Fuzzing's worker processes must seal to the same bytes.
	s := newSealer(bytes.Repeat([]byte{7}, 32), bytes.NewReader(make([]byte, nonceLen)))
	_, raw := sealed(f, s, nil)
	f.Add(raw)
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		if bytes.Equal(b, raw) {
			return
		}
		if v, err := s.open(b, noon()); err == nil {
			t.Errorf("%x opened as %+v", b, v)
		}
	})
}
