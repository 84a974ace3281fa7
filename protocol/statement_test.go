package protocol_test

import (
	"bytes"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"testing"
	"time"

	"github.com/signetd/signet/protocol"
	"github.com/signetd/signet/protocol/detcbor"
	"github.com/signetd/signet/protocol/token"
)

func edSigner(t testing.TB, seed byte) *token.Signer {
	t.Helper()
	s, err := token.NewSigner(ed25519.NewKeyFromSeed(bytes.Repeat([]byte{seed}, 32)))
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestStatement(t *testing.T) {
	anchor, signer := edSigner(t, 1), edSigner(t, 2)
	want := protocol.Statement{
		Issuer: "https://id.example/pools/demo", Keys: []*token.Key{signer.Key()}, SealTo: bytes.Repeat([]byte{9}, 32), Issued: time.Unix(1_780_000_000, 0), Epoch: 7,
	}
	raw, err := protocol.EncodeStatement(&want, anchor)
	if err != nil {
		t.Fatal(err)
	}
	got, err := protocol.DecodeStatement(raw, anchor.Key())
	if err != nil {
		t.Fatal(err)
	}
	if got.Issuer != want.Issuer || !bytes.Equal(got.SealTo, want.SealTo) || !got.Issued.Equal(want.Issued) || got.Epoch != want.Epoch || len(got.Keys) != 1 {
		t.Errorf("got %+v, want %+v", got, want)
	}
	if k, err := got.Key(signer.Key().COSEKID()); err != nil || !k.Equal(signer.Key()) {
		t.Errorf("the pool's key: %v", err)
	}
	if _, err := got.Key(anchor.Key().COSEKID()); !errors.Is(err, token.ErrUnknownKey) {
		t.Errorf("a key that is not in it: %v, want ErrUnknownKey", err)
	}
	if sum := sha256.Sum256(raw); !bytes.Equal(protocol.StatementID(raw), sum[:8]) {
		t.Error("its id is not the first 8 bytes of its SHA-256")
	}
	if _, err := protocol.DecodeStatement(raw, signer.Key()); !errors.Is(err, token.ErrSignature) {
		t.Errorf("by another anchor: %v, want ErrSignature", err)
	}
}

// TestStatementOrder: the epoch decides before the time. A store that was put back is of
// a new epoch, though its keys were last changed before those that devices know.
func TestStatementOrder(t *testing.T) {
	at := func(epoch uint64, second int64) *protocol.Statement {
		return &protocol.Statement{Epoch: epoch, Issued: time.Unix(second, 0)}
	}
	rising := []*protocol.Statement{at(0, 100), at(0, 101), at(1, 50), at(1, 99), at(1<<40, 1)}
	for i, a := range rising {
		for j, b := range rising {
			if a.Before(b) != (i < j) {
				t.Errorf("statement %d is before %d: %v", i, j, a.Before(b))
			}
		}
	}
}

// TestStatementRefuses: what the anchor signed must be whole, and say what it is.
func TestStatementRefuses(t *testing.T) {
	anchor := edSigner(t, 1)
	good := func() map[int64]any {
		return map[int64]any{1: "https://id.example", 2: detcbor.RawMessage(token.MarshalCOSEKeySet([]*token.Key{anchor.Key()})), 3: make([]byte, 32), 4: 1_780_000_000}
	}
	for name, bend := range map[string]func(m map[int64]any){
		"no issuer":        func(m map[int64]any) { delete(m, 1) },
		"empty issuer":     func(m map[int64]any) { m[1] = "" },
		"no keys":          func(m map[int64]any) { delete(m, 2) },
		"keys of no kind":  func(m map[int64]any) { m[2] = []int{1} },
		"no answer key":    func(m map[int64]any) { delete(m, 3) },
		"short answer key": func(m map[int64]any) { m[3] = make([]byte, 31) },
		"no time":          func(m map[int64]any) { delete(m, 4) },
		"time zero":        func(m map[int64]any) { m[4] = 0 },
		"null for a time":  func(m map[int64]any) { m[4] = nil },
	} {
		t.Run(name, func(t *testing.T) {
			m := good()
			bend(m)
			if _, err := protocol.DecodeStatement(sign(t, anchor, m), anchor.Key()); err == nil {
				t.Error("it passes")
			}
		})
	}
	m := good()
	m[9] = "of a later version"
	if _, err := protocol.DecodeStatement(sign(t, anchor, m), anchor.Key()); err != nil {
		t.Errorf("with a member more: %v", err)
	}
	if _, err := protocol.EncodeStatement(&protocol.Statement{Issuer: "x", SealTo: make([]byte, 31), Issued: time.Unix(1, 0)}, anchor); err == nil {
		t.Error("a statement was encoded that none would read")
	}
}

func sign(t testing.TB, by *token.Signer, m any) []byte {
	t.Helper()
	payload, err := detcbor.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := token.Sign1(token.KeyStatement, payload, nil, by)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// FuzzDecodeStatement fuzzes what an anchor may have signed: whatever is read can
// be written again, and reads the same.
func FuzzDecodeStatement(f *testing.F) {
	anchor := edSigner(f, 1)
	for _, m := range []any{
		map[int64]any{1: "i", 2: detcbor.RawMessage(token.MarshalCOSEKeySet([]*token.Key{anchor.Key()})), 3: make([]byte, 32), 4: 1},
		map[int64]any{}, []int{1},
	} {
		payload, err := detcbor.Marshal(m)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(payload)
	}
	f.Fuzz(func(t *testing.T, payload []byte) {
		raw, err := token.Sign1(token.KeyStatement, payload, nil, anchor)
		if err != nil {
			return
		}
		s, err := protocol.DecodeStatement(raw, anchor.Key())
		if err != nil {
			return
		}
		again, err := protocol.EncodeStatement(s, anchor)
		if err != nil {
			t.Fatal(err)
		}
		if s2, err := protocol.DecodeStatement(again, anchor.Key()); err != nil || s2.Issuer != s.Issuer || len(s2.Keys) != len(s.Keys) || !s2.Issued.Equal(s.Issued) {
			t.Errorf("%+v comes back as %+v, %v", s, s2, err)
		}
	})
}
