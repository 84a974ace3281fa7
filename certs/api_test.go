package certs

import (
	"context"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"math/big"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"time"
)

func forbidden(name string) bool {
	return regexp.MustCompile(`(?i)renew|rekey`).MatchString(name)
}

func TestNoExportedRenewOrRekey(t *testing.T) {
	for _, v := range []any{&Authority{}, &ServerCertificate{}} {
		typ := reflect.TypeOf(v)
		for m := range typ.Methods() {
			if forbidden(m.Name) {
				t.Errorf("%s has a method %s", typ, m.Name)
			}
			for i := range m.Type.NumIn() {
				if in := m.Type.In(i).String(); i > 0 && strings.Contains(in, "x509.Certificate") {
					t.Errorf("%s.%s takes a certificate in: %s", typ, m.Name, in)
				}
			}
			if strings.Contains(m.Type.String(), "provisioner.") || strings.Contains(m.Type.String(), "*authority.") {
				t.Errorf("%s.%s shows the library: %s", typ, m.Name, m.Type)
			}
		}
		for i := range typ.Elem().NumField() {
			if f := typ.Elem().Field(i); f.IsExported() || f.Anonymous {
				t.Errorf("%s has an exported or embedded field %s", typ, f.Name)
			}
		}
	}
}

// The source itself: no exported declaration, and no call of the library, by such a name.
func TestSourceNeverRenewsACertificate(t *testing.T) {
	entries, err := os.ReadDir(".")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if !strings.HasSuffix(e.Name(), ".go") || strings.HasSuffix(e.Name(), "_test.go") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), e.Name(), nil, parser.SkipObjectResolution)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(n ast.Node) bool {
			if id, ok := n.(*ast.Ident); ok && id.IsExported() && forbidden(id.Name) {
				t.Errorf("%s uses the name %s", e.Name(), id.Name)
			}
			return true
		})
	}
}

// Should anyone reach for the library's renewal after all, our ledger stops it.
func TestLibraryRenewsNothingOverOurLedger(t *testing.T) {
	c := newClock()
	a := newTestAuthority(t, c)
	key := newKey(t)
	der, err := x509.CreateCertificate(rand.Reader, &x509.Certificate{SerialNumber: big.NewInt(7), Subject: pkix.Name{CommonName: "admin"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), DNSNames: []string{"evil.example"}, IsCA: true, BasicConstraintsValid: true},
		&x509.Certificate{Subject: pkix.Name{CommonName: "admin"}}, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	stranger, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	if chain, err := a.ca.RenewContext(context.Background(), stranger, nil); err == nil {
		t.Errorf("the library renewed a stranger's certificate: %v", chain[0].Subject)
	}
}

// BenchmarkIssueDeviceRequest against BenchmarkFloor is the cost of going through
// the library, in one run.
func BenchmarkIssueDeviceRequest(b *testing.B) {
	a := openTest(b, newDir(b, Options{}), Config{})
	csr, d, sub := newRequest(b), device(b, "lab:pump-1"), subject(b)
	for b.Loop() {
		if _, err := a.IssueDeviceRequest(b.Context(), csr, d, sub, time.Hour); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkFloor does by the standard library alone what no issuer can do
// without: parse and check a request, sign a certificate, parse it.
func BenchmarkFloor(b *testing.B) {
	a := openTest(b, newDir(b, Options{}), Config{})
	csr := newRequest(b)
	leaf, err := a.deviceLeaf(newKey(b).Public(), device(b, "lab:pump-1"), subject(b), time.Hour)
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		req, err := x509.ParseCertificateRequest(csr)
		if err != nil || req.CheckSignature() != nil {
			b.Fatal("request")
		}
		leaf.SerialNumber = big.NewInt(1)
		der, err := x509.CreateCertificate(rand.Reader, &leaf, a.m.chain[0], req.PublicKey, a.m.key)
		if err != nil {
			b.Fatal(err)
		}
		if _, err := x509.ParseCertificate(der); err != nil {
			b.Fatal(err)
		}
	}
}

func newRequest(b *testing.B) []byte {
	b.Helper()
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, newKey(b))
	if err != nil {
		b.Fatal(err)
	}
	return der
}

// Nobody but this package reaches the library, in the whole module.
func TestOnlyHereIsTheLibraryImported(t *testing.T) {
	fset, seen := token.NewFileSet(), 0
	err := filepath.WalkDir("..", func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasPrefix(path, "../certs/") {
			return err
		}
		file, err := parser.ParseFile(fset, path, nil, parser.ImportsOnly)
		if err != nil {
			return nil //nolint:nilerr // does not build either
		}
		seen++
		for _, imp := range file.Imports {
			if strings.HasPrefix(imp.Path.Value, `"github.com/smallstep/`) {
				t.Errorf("%s imports %s", path, imp.Path.Value)
			}
		}
		return nil
	})
	if err != nil || seen < 50 {
		t.Errorf("read %d files: %v", seen, err)
	}
}
