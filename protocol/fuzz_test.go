package protocol_test

import (
	"bytes"
	"crypto/ecdh"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io/fs"
	"slices"
	"strings"
	"testing"

	"github.com/signetd/signet/protocol"
	"github.com/signetd/signet/protocol/detcbor"
	"github.com/signetd/signet/protocol/vectors"
)

// seeds are the golden vectors of one kind, valid and invalid.
func seeds(f *testing.F, what func(string) bool) {
	f.Helper()
	raw, err := fs.ReadFile(vectors.Files(), "messages.json")
	if err != nil {
		f.Fatal(err)
	}
	var file struct{ Valid, Invalid []struct{ What, Hex string } }
	if err := json.Unmarshal(raw, &file); err != nil {
		f.Fatal(err)
	}
	n := 0
	for _, v := range slices.Concat(file.Valid, file.Invalid) {
		if b, err := hex.DecodeString(v.Hex); err == nil && what(v.What) && len(b) < 1024 {
			f.Add(b)
			n++
		}
	}
	if n == 0 {
		f.Fatal("no seeds")
	}
}

// FuzzDecode: errors are typed; what is accepted keeps its bytes, and written
// anew it is the same to the decoder, and the same bytes again.
func FuzzDecode(f *testing.F) {
	seeds(f, func(what string) bool { return !strings.HasSuffix(what, "-body") })
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := protocol.Decode(data)
		if err != nil {
			var d *protocol.DecodeError
			if !errors.As(err, &d) {
				t.Fatalf("untyped error %v", err)
			}
			return
		}
		if !bytes.Equal(m.Bytes(), data) {
			t.Fatal("bytes not kept")
		}
		call, kind := m.Call(), m.Type()
		again, err := protocol.Encode(m)
		if err != nil {
			t.Fatalf("%x is read and cannot be written: %v", data, err)
		}
		m, err = protocol.Decode(again)
		if err != nil || m.Call() != call || m.Type() != kind {
			t.Fatalf("%x became %x: %v", data, again, err)
		}
		if third, err := protocol.Encode(m); err != nil || !bytes.Equal(third, again) {
			t.Fatalf("%x became %x, then %x: %v", data, again, third, err)
		}
	})
}

// stable fails unless v, as it was read from data, is written to what reads the same.
func stable[T any](t *testing.T, data []byte, v *T, decode func([]byte) (*T, error)) {
	t.Helper()
	once, err := detcbor.Marshal(v)
	if err != nil {
		t.Fatalf("%x is read and cannot be written: %v", data, err)
	}
	again, err := decode(once)
	if err != nil {
		t.Fatalf("%x became %x: %v", data, once, err)
	}
	if twice, err := detcbor.Marshal(again); err != nil || !bytes.Equal(once, twice) {
		t.Fatalf("%x became %x, then %x: %v", data, once, twice, err)
	}
}

func FuzzDecodeChallengeBody(f *testing.F) {
	seeds(f, func(what string) bool { return what == "challenge-body" })
	f.Fuzz(func(t *testing.T, data []byte) {
		if c, err := protocol.DecodeChallengeBody(data); err == nil {
			stable(t, data, c, protocol.DecodeChallengeBody)
		}
	})
}

func FuzzDecodeRefreshBody(f *testing.F) {
	seeds(f, func(what string) bool { return what == "refresh-body" })
	f.Fuzz(func(t *testing.T, data []byte) {
		if r, err := protocol.DecodeRefreshBody(data); err == nil {
			stable(t, data, r, protocol.DecodeRefreshBody)
		}
	})
}

func FuzzDecodeGrantBody(f *testing.F) {
	seeds(f, func(what string) bool { return what == "grant-body" })
	f.Fuzz(func(t *testing.T, data []byte) {
		if g, err := protocol.DecodeGrantBody(data); err == nil {
			stable(t, data, g, protocol.DecodeGrantBody)
		}
	})
}

// FuzzOpen: nothing opens but what was sealed, and nothing panics.
func FuzzOpen(f *testing.F) {
	key, err := ecdh.X25519().NewPrivateKey(bytes.Repeat([]byte{7}, 32))
	if err != nil {
		f.Fatal(err)
	}
	said := protocol.Transcript{}.Add([]byte("x"))
	sealed, err := protocol.SealGrant(key.PublicKey().Bytes(), said, []byte("grant"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(sealed)
	f.Add(sealed[:32])
	f.Add(make([]byte, 48))
	f.Fuzz(func(t *testing.T, data []byte) {
		if _, err := protocol.OpenGrant(key, said, data); err != nil && !errors.Is(err, protocol.ErrSealed) {
			t.Fatalf("untyped error %v", err)
		}
		if _, err := protocol.OpenAnswer(key, said, data); !errors.Is(err, protocol.ErrSealed) {
			t.Fatalf("opened, or untyped: %v", err)
		}
		_, _ = protocol.SealAnswer(data, said, []byte("answer")) // a challenge brings the key
	})
}

func FuzzParseEnrollToken(f *testing.F) {
	f.Add("sgne_AAAA")
	f.Add("sgne_SHpnRarSUbWlaohLpjfukro-9VTnyGencVlwSGB3nInfSxf2Oim8hZIqblg")
	f.Fuzz(func(t *testing.T, s string) {
		if tok, err := protocol.ParseEnrollToken(s); err == nil && tok.Reveal() != strings.TrimSpace(s) {
			t.Fatalf("%q reads back as another token", s)
		}
	})
}

// FuzzCallOf holds the look at a message's call alone against the decoder, for
// messages and for what it refuses though it knows whom to tell.
func FuzzCallOf(f *testing.F) {
	seeds(f, func(what string) bool { return !strings.HasSuffix(what, "-body") })
	f.Fuzz(func(t *testing.T, data []byte) {
		id, err := protocol.CallOf(data)
		m, decodeErr := protocol.Decode(data)
		var d *protocol.DecodeError
		switch {
		case decodeErr == nil && (err != nil || id != m.Call()):
			t.Errorf("a message of call %x is taken for %x, %v", m.Call(), id, err)
		case errors.As(decodeErr, &d) && d.ID != id:
			t.Errorf("refusing it, the decoder says call %x, not %x", d.ID, id)
		}
	})
}

// FuzzConnectProof: what is read is written to the same bytes, and is no token.
func FuzzConnectProof(f *testing.F) {
	seeds(f, func(what string) bool { return what == "connect-proof" })
	f.Fuzz(func(t *testing.T, data []byte) {
		p, err := protocol.DecodeConnectProof(data)
		if err != nil {
			return
		}
		again, err := protocol.EncodeConnectProof(p)
		if err != nil || !bytes.Equal(again, data) || !protocol.IsConnectProof(data) {
			t.Fatalf("%x became %x: %v", data, again, err)
		}
	})
}
