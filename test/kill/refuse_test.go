package kill

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"

	bolt "go.etcd.io/bbolt"
)

// TestRefusedData: signetd does not start on a data folder that it must not touch,
// says why and what to do, and leaves it as it was.
func TestRefusedData(t *testing.T) {
	s := newSite(t)
	store, key := filepath.Join(s.data, "signet.db"), filepath.Join(s.data, "signet.key")
	serve := func(want string) {
		t.Helper()
		was := readFile(t, store)
		c := s.command(t.Context(), "serve", "--listen-mqtt", "127.0.0.1:0", "--listen-https", "127.0.0.1:0", "--listen-health", "127.0.0.1:0")
		out, err := c.CombinedOutput()
		if err == nil || !regexp.MustCompile(want).Match(out) {
			t.Errorf("got %v, want %q:\n%s", err, want, out)
		}
		if !bytes.Equal(was, readFile(t, store)) {
			t.Errorf("%s: the store was changed", want)
		}
	}

	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	b := s.start(t)
	if err := b.awaitReady(ctx, s); err != nil {
		t.Fatal(err)
	}
	serve(`held by process ` + strconv.Itoa(b.cmd.Process.Pid) + `\b`)
	if err := b.kill(); err != nil {
		t.Fatal(err)
	}

	if err := os.Chmod(key, 0o640); err != nil {
		t.Fatal(err)
	}
	serve(`may be read by others .*chmod 600`)
	if err := os.Chmod(key, 0o600); err != nil {
		t.Fatal(err)
	}

	setFormat(t, store, "999")
	serve(`format version 999, .*newer signetd`)
	setFormat(t, store, "1")

	if err := os.Truncate(store, 5*int64(os.Getpagesize())); err != nil {
		t.Fatal(err)
	}
	serve(`not a sound store file`)
}

func readFile(t *testing.T, path string) []byte {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// setFormat writes the version of a store's format.
func setFormat(t *testing.T, path, version string) {
	t.Helper()
	db, err := bolt.Open(path, 0o600, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	err = db.Update(func(tx *bolt.Tx) error { return tx.Bucket([]byte("meta")).Put([]byte("format"), []byte(version)) })
	if err != nil {
		t.Fatal(err)
	}
}
