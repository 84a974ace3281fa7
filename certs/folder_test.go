package certs

import (
	"bytes"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func sha256Sum(b []byte) []byte { s := sha256.Sum256(b); return s[:] }

func read(t *testing.T, dir, file string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, file))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func write(t *testing.T, dir, file string, b []byte) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, file), b, 0o600); err != nil {
		t.Fatal(err)
	}
}

func openErr(dir string, c *clock) error {
	a, err := Open(dir, Config{TrustDomain: testDomain, Now: c.now})
	if err == nil {
		err = a.Close()
	}
	return err
}

func TestCreateWritesAWholeFolder(t *testing.T) {
	c := newClock()
	dir := newDir(t, Options{Name: "Acme", Now: c.now})
	modes := map[string]fs.FileMode{}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			t.Fatal(err)
		}
		modes[e.Name()] = info.Mode()
	}
	delete(modes, RootFile) // public, and so
	delete(modes, IntermediateFile)
	if diff := cmp.Diff(map[string]fs.FileMode{RootKeyFile: 0o600, IntermediateKeyFile: 0o600}, modes); diff != "" {
		t.Errorf("private files (-want +got):\n%s", diff)
	}
	if left, err := os.ReadDir(filepath.Dir(dir)); err != nil || len(left) != 1 {
		t.Errorf("left beside the folder: %v %v", left, err)
	}
	a := openTest(t, dir, Config{Now: c.now})
	if cn := a.m.roots[0].Subject.CommonName; cn != "Acme Root CA" {
		t.Errorf("root CN %q", cn)
	}
	if !bytes.Equal(a.Roots(), read(t, dir, RootFile)) {
		t.Error("Roots differ from the file")
	}
	if err := Create(dir, Options{}); !errors.Is(err, ErrExists) {
		t.Errorf("second Create: %v, want ErrExists", err)
	}
}

func TestCreateTakesAnEmptyFolder(t *testing.T) {
	c := newClock()
	dir := t.TempDir()
	if err := Create(dir, Options{Now: c.now}); err != nil {
		t.Fatal(err)
	}
	if err := openErr(dir, c); err != nil {
		t.Error(err)
	}
	full := t.TempDir()
	write(t, full, "signet.db", nil)
	if err := Create(full, Options{}); !errors.Is(err, ErrExists) || !strings.Contains(err.Error(), "signet.db") {
		t.Errorf("folder in use: %v, want ErrExists and the file's name", err)
	}
}

// A crash in Create leaves private keys in an unfinished folder; the next Create
// removes them, also if that was cut off in its turn.
func TestCreateRemovesLeftovers(t *testing.T) {
	c := newClock()
	parent := filepath.Join(t.TempDir(), "odd [name]*")
	dir := filepath.Join(parent, "ca")
	for _, name := range []string{".ca-new-123", ".ca-new-456", ".ca-new-789.gone", "ca-new-1", ".other-new-1"} {
		if err := os.MkdirAll(filepath.Join(parent, name), 0o700); err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(parent, name), RootKeyFile, []byte("secret"))
	}
	if err := Create(dir, Options{Now: c.now}); err != nil {
		t.Fatal(err)
	}
	var left []string
	entries, err := os.ReadDir(parent)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		left = append(left, e.Name())
	}
	if diff := cmp.Diff([]string{".other-new-1", "ca", "ca-new-1"}, left); diff != "" {
		t.Errorf("beside the folder (-want +got):\n%s", diff)
	}
	if err := openErr(dir, c); err != nil {
		t.Error(err)
	}
}

func TestRootKeyMayBeTakenAway(t *testing.T) {
	c := newClock()
	dir := newDir(t, Options{Now: c.now})
	if err := os.Remove(filepath.Join(dir, RootKeyFile)); err != nil {
		t.Fatal(err)
	}
	if err := openErr(dir, c); err != nil {
		t.Error(err)
	}
}

func TestOpenRefusesReadableKeys(t *testing.T) {
	c := newClock()
	dir := newDir(t, Options{Now: c.now})
	for _, file := range []string{RootKeyFile, IntermediateKeyFile} {
		path := filepath.Join(dir, file)
		for _, mode := range []fs.FileMode{0o644, 0o640, 0o604, 0o620, 0o601} {
			if err := os.Chmod(path, mode); err != nil {
				t.Fatal(err)
			}
			err := openErr(dir, c)
			var fe *FileError
			if !errors.Is(err, ErrKeyMode) || !errors.As(err, &fe) || fe.Path != path || !strings.Contains(err.Error(), "chmod 600 "+path) {
				t.Errorf("%s with mode %o: %v", file, mode, err)
			}
		}
		if err := os.Chmod(path, 0o400); err != nil {
			t.Fatal(err)
		}
		if err := openErr(dir, c); err != nil {
			t.Errorf("%s with mode 400: %v", file, err)
		}
	}
}

func TestOpenRefusesBrokenFolders(t *testing.T) {
	c := newClock()
	good, other := newDir(t, Options{Now: c.now}), newDir(t, Options{Now: c.now})
	cat := func(parts ...[]byte) []byte { return bytes.Join(parts, nil) }
	leafKey := newKey(t)
	a := openTest(t, good, Config{Now: c.now})
	chain, err := a.IssueDevice(t.Context(), leafKey.Public(), device(t, "lab:pump-1"), subject(t), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(leafKey)
	if err != nil {
		t.Fatal(err)
	}
	keyPEM := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
	for name, tc := range map[string]struct {
		file string
		data []byte
		want error
	}{
		"empty root":              {RootFile, nil, ErrMalformed},
		"garbage root":            {RootFile, []byte("garbage"), ErrMalformed},
		"garbage in a block":      {RootFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("garbage")}), ErrMalformed},
		"key in place of root":    {RootFile, keyPEM, ErrMalformed},
		"block that does not end": {RootFile, cat(read(t, good, RootFile), []byte("-----BEGIN CERTIFICATE-----\nMIIB")), ErrMalformed},
		"huge root":               {RootFile, bytes.Repeat([]byte("x"), maxFile+1), ErrMalformed},
		"eleven roots":            {RootFile, bytes.Repeat(read(t, good, RootFile), maxBundle+1), ErrMalformed},
		"other root":              {RootFile, read(t, other, RootFile), ErrUnfit},
		"garbage intermediate":    {IntermediateFile, []byte{0, 1, 2}, ErrMalformed},
		"other intermediate":      {IntermediateFile, read(t, other, IntermediateFile), ErrUnfit},
		"leaf as intermediate":    {IntermediateFile, encodeCertificates(chain[:1]), ErrUnfit},
		"garbage key":             {IntermediateKeyFile, []byte("garbage"), ErrMalformed},
		"garbage in a key":        {IntermediateKeyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte("garbage")}), ErrMalformed},
		"certificate as key":      {IntermediateKeyFile, read(t, good, RootFile), ErrMalformed},
		"encrypted key":           {IntermediateKeyFile, pem.EncodeToMemory(&pem.Block{Type: "ENCRYPTED PRIVATE KEY", Bytes: []byte{1}}), ErrMalformed},
		"two keys":                {IntermediateKeyFile, cat(keyPEM, keyPEM), ErrMalformed},
		"other key":               {IntermediateKeyFile, keyPEM, ErrUnfit},
		"other root key":          {RootKeyFile, keyPEM, ErrUnfit},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			for _, f := range []string{RootFile, RootKeyFile, IntermediateFile, IntermediateKeyFile} {
				write(t, dir, f, read(t, good, f))
			}
			write(t, dir, tc.file, tc.data)
			err := openErr(dir, c)
			var fe *FileError
			if !errors.Is(err, tc.want) || !errors.As(err, &fe) || !strings.HasPrefix(filepath.Join(dir, tc.file), fe.Path) {
				t.Errorf("got %v, want %v and the path", err, tc.want)
			}
		})
	}
}

func TestOpenRefusesWhatIsNotThere(t *testing.T) {
	c := newClock()
	if err := openErr(filepath.Join(t.TempDir(), "none"), c); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no folder: %v", err)
	}
	dir := newDir(t, Options{Now: c.now})
	if err := os.Remove(filepath.Join(dir, IntermediateKeyFile)); err != nil {
		t.Fatal(err)
	}
	if err := openErr(dir, c); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), IntermediateKeyFile) {
		t.Errorf("no key: %v", err)
	}
	for _, domain := range []string{"", "Acme.example", "a/b", "spiffe://x", strings.Repeat("a", 256)} {
		if _, err := Open(dir, Config{TrustDomain: domain}); !errors.Is(err, ErrName) {
			t.Errorf("trust domain %q: %v", domain, err)
		}
	}
	old := newDir(t, Options{Now: c.now, IntermediateLife: time.Hour})
	c.add(2 * time.Hour)
	if err := openErr(old, c); !errors.Is(err, ErrExpired) {
		t.Errorf("expired: %v", err)
	}
}

func TestOpenWithOwnSigner(t *testing.T) {
	c := newClock()
	dir := newDir(t, Options{Now: c.now})
	key, err := parseKey(read(t, dir, IntermediateKeyFile))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(dir, IntermediateKeyFile)); err != nil {
		t.Fatal(err)
	}
	a := openTest(t, dir, Config{Now: c.now, Signer: key})
	newServer(t, a, 0)
}

func TestBringing(t *testing.T) {
	c := newClock()
	src := newDir(t, Options{Name: "Brought", Now: c.now})
	root, rootKey := read(t, src, RootFile), read(t, src, RootKeyFile)
	inter, interKey := read(t, src, IntermediateFile), read(t, src, IntermediateKeyFile)
	other := newDir(t, Options{Now: c.now})
	early := newClock()
	early.add(-2 * time.Hour)
	old := newDir(t, Options{Now: early.now, RootLife: time.Hour})
	worn := newDir(t, Options{Now: early.now, IntermediateLife: time.Hour})
	a := openTest(t, src, Config{Now: c.now})
	leafKey := newKey(t)
	leaf, err := a.IssueServer(t.Context(), leafKey.Public(), names(), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(leafKey)
	if err != nil {
		t.Fatal(err)
	}
	noCA, noCAKey := encodeCertificates(leaf[:1]), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
	for name, tc := range map[string]struct {
		o    Options
		want error
	}{
		"root expired":          {Options{Root: read(t, old, RootFile), RootKey: read(t, old, RootKeyFile)}, ErrExpired},
		"intermediate expired":  {Options{Root: read(t, worn, RootFile), Intermediate: read(t, worn, IntermediateFile), IntermediateKey: read(t, worn, IntermediateKeyFile)}, ErrExpired},
		"root no authority":     {Options{Root: noCA, RootKey: noCAKey}, ErrUnfit},
		"issuer no authority":   {Options{Root: root, Intermediate: noCA, IntermediateKey: noCAKey}, ErrUnfit},
		"root with key":         {Options{Root: root, RootKey: rootKey}, nil},
		"all":                   {Options{Root: root, Intermediate: inter, IntermediateKey: interKey}, nil},
		"root alone":            {Options{Root: root}, ErrUnfit},
		"no root":               {Options{Intermediate: inter, IntermediateKey: interKey}, ErrUnfit},
		"other key":             {Options{Root: root, RootKey: interKey}, ErrUnfit},
		"other root":            {Options{Root: read(t, other, RootFile), Intermediate: inter, IntermediateKey: interKey}, ErrUnfit},
		"other issuing key":     {Options{Root: root, Intermediate: inter, IntermediateKey: rootKey}, ErrUnfit},
		"under an intermediate": {Options{Root: inter, RootKey: interKey}, ErrUnfit},
		"garbage":               {Options{Root: []byte("x"), RootKey: rootKey}, ErrMalformed},
		"garbage key":           {Options{Root: root, RootKey: []byte("x")}, ErrMalformed},
		"name too long":         {Options{Name: strings.Repeat("n", maxName+1)}, ErrName},
		"name with newline":     {Options{Name: "a\nb"}, ErrName},
		"life too short":        {Options{RootLife: time.Minute}, ErrLifetime},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "ca")
			tc.o.Now = c.now
			err := Create(dir, tc.o)
			if !errors.Is(err, tc.want) {
				t.Fatalf("got %v, want %v", err, tc.want)
			}
			if tc.want != nil {
				if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
					t.Error("a refused Create left a folder")
				}
				return
			}
			if _, err := os.Stat(filepath.Join(dir, RootKeyFile)); !errors.Is(err, fs.ErrNotExist) {
				t.Error("the brought root's key was kept")
			}
			a := openTest(t, dir, Config{Now: c.now})
			if !bytes.Equal(a.Roots(), root) {
				t.Error("another root")
			}
			newServer(t, a, 0)
		})
	}
}

// An authority made with OpenSSL, in the key form that it writes by default for
// curves, is one that operators bring.
func TestBringingFromOpenSSL(t *testing.T) {
	openssl := findOpenSSL(t)
	if openssl == "" {
		t.Skip("no openssl here")
	}
	src := t.TempDir()
	run := func(args ...string) {
		t.Helper()
		cmd := exec.Command(openssl, args...)
		cmd.Dir = src
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("openssl %v: %v\n%s", args, err, out)
		}
	}
	run("ecparam", "-name", "prime256v1", "-genkey", "-out", "root.key")
	run("req", "-new", "-x509", "-key", "root.key", "-subj", "/CN=Company Root", "-days", "30", "-out", "root.pem")
	dir := filepath.Join(t.TempDir(), "ca")
	if err := Create(dir, Options{Root: read(t, src, "root.pem"), RootKey: read(t, src, "root.key")}); err != nil {
		t.Fatal(err)
	}
	newServer(t, openTest(t, dir, Config{}), 0)
}

// FuzzFolder reads any bytes as each of a folder's files.
func FuzzFolder(f *testing.F) {
	dir := filepath.Join(f.TempDir(), "ca")
	if err := Create(dir, Options{}); err != nil {
		f.Fatal(err)
	}
	for _, name := range []string{RootFile, RootKeyFile, IntermediateFile, IntermediateKeyFile} {
		raw, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(raw)
	}
	f.Add([]byte("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		list, err := parseCertificates(raw)
		if err == nil && len(list) == 0 || err != nil && !errors.Is(err, ErrMalformed) {
			t.Errorf("%d certificates, %v", len(list), err)
		}
		if key, err := parseKey(raw); (key == nil) == (err == nil) || err != nil && !errors.Is(err, ErrMalformed) && !errors.Is(err, ErrWeakKey) {
			t.Errorf("key %T, %v", key, err)
		}
	})
}
