package proof

import (
	"crypto/ed25519"
	"encoding/binary"
	"errors"
	"testing"

	"github.com/signetd/signet/protocol/token"
)

func coseKey(t *testing.T, n int) []byte {
	t.Helper()
	seed := make([]byte, ed25519.SeedSize)
	binary.BigEndian.PutUint64(seed, uint64(n))
	k, err := token.NewKey(ed25519.NewKeyFromSeed(seed).Public())
	if err != nil {
		t.Fatal(err)
	}
	return k.MarshalCOSE()
}

func TestKeyCacheIsBounded(t *testing.T) {
	var c keyCache
	first := coseKey(t, 0)
	for n := range 2*keyCacheSize + 10 {
		k, err := c.parse(coseKey(t, n))
		if err != nil {
			t.Fatal(err)
		}
		if again, err := c.parse(k.MarshalCOSE()); err != nil || again != k {
			t.Fatalf("key %d was not remembered: %v", n, err)
		}
		if k, err := c.parse(first); err != nil || string(k.MarshalCOSE()) != string(first) {
			t.Fatalf("after %d others the first key is another: %v", n, err)
		}
	}
	if n := len(c.young) + len(c.old); n > 2*keyCacheSize {
		t.Errorf("%d keys are kept, want at most %d", n, 2*keyCacheSize)
	}
	if c.old[string(first)] == nil && c.young[string(first)] == nil {
		t.Error("a key in use was dropped")
	}
}

func TestKeyCacheRefusesWhatTheParserDoes(t *testing.T) {
	var c keyCache
	for range 2 {
		if _, err := c.parse([]byte{0xa0}); !errors.Is(err, token.ErrKey) {
			t.Errorf("no key: %v, want ErrKey", err)
		}
	}
	if len(c.young) != 0 {
		t.Error("a bad key was remembered")
	}
}
