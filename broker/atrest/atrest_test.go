package atrest_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/signetd/signet/broker/atrest"
)

func TestSealAndOpen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "kek")
	k, err := atrest.LoadOrCreate(path)
	if err != nil {
		t.Fatal(err)
	}
	sealed, err := k.Seal("psk", []byte("secret"))
	if err != nil {
		t.Fatal(err)
	}
	again, err := atrest.LoadOrCreate(path)
	if err != nil {
		t.Fatal(err)
	}
	if got, err := again.Open("psk", sealed); err != nil || string(got) != "secret" {
		t.Fatalf("got %q, %v", got, err)
	}
	if _, err := again.Open("hook", sealed); !errors.Is(err, atrest.ErrOpen) {
		t.Errorf("opened for another purpose: %v", err)
	}
	sealed[len(sealed)-1] ^= 1
	if _, err := again.Open("psk", sealed); !errors.Is(err, atrest.ErrOpen) {
		t.Errorf("opened though changed: %v", err)
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
