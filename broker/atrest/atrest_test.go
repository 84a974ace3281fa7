package atrest_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/broker/atrest"
	"github.com/signetd/signet/protocol/ident/identtest"
)

// psk is a purpose to seal for.
func psk(t *testing.T) broker.Purpose {
	return broker.AuthenticatorPurpose("psk", identtest.Device(t, "demo:gate-1"))
}

func TestSealAndOpen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "kek")
	k, err := atrest.LoadOrCreate(path)
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := k.Seal(psk(t), []byte("secret"))
	if err != nil {
		t.Fatal(err)
	}
	again, err := atrest.LoadOrCreate(path)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := again.Open(psk(t), sealed); err != nil || string(got) != "secret" {
		t.Fatalf("got %q, %v", got, err)
	}
	if _, err := again.Open(broker.AuthenticatorPurpose("totp", identtest.Device(t, "demo:gate-1")), sealed); !errors.Is(err, atrest.ErrOpen) {
		t.Errorf("opened for another purpose: %v", err)
	}
	sealed[len(sealed)-1] ^= 1
	if _, err := again.Open(psk(t), sealed); !errors.Is(err, atrest.ErrOpen) {
		t.Errorf("opened though changed: %v", err)
	}
}

// TestSealForNothing: without a purpose nothing is sealed, and nothing opens.
func TestSealForNothing(t *testing.T) {
	k, err := atrest.New(make([]byte, atrest.KeyLen))
	if err != nil {
		t.Fatal(err)
	}
	if sealed, err := k.Seal(broker.Purpose{}, []byte("secret")); err == nil {
		t.Errorf("sealed for no purpose: %x", sealed)
	}
}

func TestLoadRefuses(t *testing.T) {
	path := filepath.Join(t.TempDir(), "kek")
	if err := os.WriteFile(path, make([]byte, 32), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := atrest.Load(path); err == nil || !strings.Contains(err.Error(), "chmod 600") {
		t.Errorf("readable by others: %v", err)
	}
	if err := os.Chmod(path, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, make([]byte, 31), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := atrest.Load(path); err == nil {
		t.Error("31 bytes taken for a key")
	}
}

// TestCreateTogether: whoever comes first makes the key, all others get the same,
// and nothing else is left in the folder.
func TestCreateTogether(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "kek")
	keys := make([]*atrest.Key, 16)
	var wg sync.WaitGroup
	for i := range keys {
		wg.Go(func() {
			k, err := atrest.LoadOrCreate(path)
			if err != nil {
				t.Error(err)
			}
			keys[i] = k
		})
	}
	wg.Wait()
	if t.Failed() {
		t.FailNow()
	}
	sealed, err := keys[0].Seal(psk(t), []byte("secret"))
	if err != nil {
		t.Fatal(err)
	}
	for i, k := range keys {
		if _, err := k.Open(psk(t), sealed); err != nil {
			t.Errorf("key %d is another one: %v", i, err)
		}
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 1 {
		t.Errorf("left behind: %v, %v", left, err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
}

// TestNothingInPlaceOfAKey: what stands where the key should be is never written over.
func TestNothingInPlaceOfAKey(t *testing.T) {
	path := filepath.Join(t.TempDir(), "kek")
	if err := os.Symlink(filepath.Join(t.TempDir(), "gone"), path); err != nil {
		t.Fatal(err)
	}
	if _, err := atrest.LoadOrCreate(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a link that leads nowhere: %v", err)
	}
	if to, err := os.Readlink(path); err != nil || filepath.Base(to) != "gone" {
		t.Errorf("the link was replaced: %v", err)
	}
}
