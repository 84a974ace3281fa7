package certs

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/smallstep/certificates/authority/provisioner"
)

func oid(n ...int) asn1.ObjectIdentifier { return n }

func mustDER(t *testing.T, v any) []byte {
	t.Helper()
	der, err := asn1.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return der
}

// hostileRequests ask, each in another way, for more than a device's own name.
func hostileRequests(t *testing.T) map[string]*x509.CertificateRequest {
	ext := func(id asn1.ObjectIdentifier, critical bool, v any) *x509.CertificateRequest {
		return &x509.CertificateRequest{ExtraExtensions: []pkix.Extension{{Id: id, Critical: critical, Value: mustDER(t, v)}}}
	}
	spiffe := func(s string) *url.URL {
		u, err := url.Parse(s)
		if err != nil {
			t.Fatal(err)
		}
		return u
	}
	type constraints struct {
		IsCA    bool
		PathLen int `asn1:"optional,default:-1"`
	}
	type access struct {
		Method   asn1.ObjectIdentifier
		Location string `asn1:"tag:6,ia5"`
	}
	return map[string]*x509.CertificateRequest{
		"nothing":                 {},
		"foreign common name":     {Subject: pkix.Name{CommonName: "evil.example"}},
		"admin of an org":         {Subject: pkix.Name{CommonName: "admin", Organization: []string{"Signet"}, OrganizationalUnit: []string{"root"}}},
		"subject serial number":   {Subject: pkix.Name{SerialNumber: "00000000-0000-7000-8000-000000000000"}},
		"two common names":        {Subject: pkix.Name{ExtraNames: []pkix.AttributeTypeAndValue{{Type: oid(2, 5, 4, 3), Value: "lab:other"}, {Type: oid(2, 5, 4, 3), Value: "lab:third"}}}},
		"raw subject":             {RawSubject: mustDER(t, pkix.Name{CommonName: "evil.example"}.ToRDNSequence())},
		"foreign DNS name":        {DNSNames: []string{"evil.example", "*.evil.example"}},
		"address":                 {IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}},
		"mail address":            {EmailAddresses: []string{"root@evil.example"}},
		"another device's SPIFFE": {URIs: []*url.URL{spiffe("spiffe://acme.example/lab/other")}},
		"other trust domain":      {URIs: []*url.URL{spiffe("spiffe://evil.example/lab/pump-1")}},
		"everything at once": {Subject: pkix.Name{CommonName: "evil.example"}, DNSNames: []string{"evil.example"},
			IPAddresses: []net.IP{net.IPv4(10, 0, 0, 1)}, EmailAddresses: []string{"a@evil.example"}, URIs: []*url.URL{spiffe("https://evil.example/")}},
		"CA:TRUE":              ext(oid(2, 5, 29, 19), true, constraints{IsCA: true, PathLen: -1}),
		"CA:TRUE, path length": ext(oid(2, 5, 29, 19), false, constraints{IsCA: true, PathLen: 5}),
		"key usage certSign":   ext(oid(2, 5, 29, 15), true, asn1.BitString{Bytes: []byte{0x06}, BitLength: 7}),
		"EKU serverAuth":       ext(oid(2, 5, 29, 37), false, []asn1.ObjectIdentifier{oid(1, 3, 6, 1, 5, 5, 7, 3, 1)}),
		"EKU any":              ext(oid(2, 5, 29, 37), true, []asn1.ObjectIdentifier{oid(2, 5, 29, 37, 0)}),
		"EKU code and OCSP":    ext(oid(2, 5, 29, 37), false, []asn1.ObjectIdentifier{oid(1, 3, 6, 1, 5, 5, 7, 3, 3), oid(1, 3, 6, 1, 5, 5, 7, 3, 9)}),
		"subject key id":       ext(oid(2, 5, 29, 14), false, []byte("0123456789abcdefghij")),
		"authority key id": ext(oid(2, 5, 29, 35), false, struct {
			ID []byte `asn1:"tag:0"`
		}{[]byte("evil")}),
		"policy":                ext(oid(2, 5, 29, 32), false, []struct{ ID asn1.ObjectIdentifier }{{oid(2, 5, 29, 32, 0)}}),
		"authority info access": ext(oid(1, 3, 6, 1, 5, 5, 7, 1, 1), false, []access{{oid(1, 3, 6, 1, 5, 5, 7, 48, 1), "http://evil.example/ocsp"}}),
		"step provisioner": ext(oid(1, 3, 6, 1, 4, 1, 37476, 9000, 64, 1), false, struct {
			Type int
			Name []byte
			ID   []byte
		}{1, []byte("admin"), []byte("admin")}),
		"unknown critical": ext(oid(1, 2, 3, 4), true, "evil"),
		"empty SAN":        ext(oid(2, 5, 29, 17), true, []string{}),
	}
}

// leafFields is everything that a parsed certificate says but for the bytes it
// was parsed from, the signature and the random serial number.
func leafFields() cmp.Option {
	return cmp.Options{
		cmpopts.IgnoreFields(x509.Certificate{}, "Raw", "RawTBSCertificate", "RawSubjectPublicKeyInfo", "RawSubject",
			"RawIssuer", "Signature", "SerialNumber", "Extensions"),
		cmpopts.EquateEmpty(),
		cmp.Comparer(func(a, b *ecdsa.PublicKey) bool { return a.Equal(b) }),
		cmpopts.IgnoreUnexported(x509.Certificate{}),
	}
}

func wantLeaf(t *testing.T, a *Authority, c *clock, key crypto.PublicKey) *x509.Certificate {
	t.Helper()
	id, err := keyID(key)
	if err != nil {
		t.Fatal(err)
	}
	sub := subject(t).String()
	return &x509.Certificate{
		SignatureAlgorithm: x509.ECDSAWithSHA256,
		PublicKeyAlgorithm: x509.ECDSA,
		PublicKey:          key,
		Version:            3,
		Issuer:             a.m.chain[0].Subject,
		Subject: pkix.Name{CommonName: "lab:pump-1", SerialNumber: sub, Names: []pkix.AttributeTypeAndValue{
			{Type: oid(2, 5, 4, 3), Value: "lab:pump-1"}, {Type: oid(2, 5, 4, 5), Value: sub}}},
		NotBefore:             c.now().Add(-time.Minute),
		NotAfter:              c.now().Add(time.Hour),
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
		BasicConstraintsValid: true,
		MaxPathLen:            -1,
		SubjectKeyId:          id,
		AuthorityKeyId:        a.m.chain[0].SubjectKeyId,
		URIs:                  []*url.URL{{Scheme: "spiffe", Host: "acme.example", Path: "/lab/pump-1"}},
	}
}

func checkLeaf(t *testing.T, a *Authority, c *clock, chain []*x509.Certificate, key crypto.PublicKey) {
	t.Helper()
	if len(chain) != 2 || !chain[1].Equal(a.m.chain[0]) {
		t.Fatalf("chain of %d, want the leaf and the intermediate", len(chain))
	}
	leaf := chain[0]
	if diff := cmp.Diff(*wantLeaf(t, a, c, key), *leaf, leafFields()); diff != "" {
		t.Errorf("leaf (-want +got):\n%s", diff)
	}
	var ids []string
	for _, e := range leaf.Extensions {
		ids = append(ids, fmt.Sprint(e.Id, e.Critical))
	}
	want := []string{"2.5.29.15 true", "2.5.29.37 false", "2.5.29.19 true", "2.5.29.14 false", "2.5.29.35 false", "2.5.29.17 false"}
	if diff := cmp.Diff(want, ids); diff != "" {
		t.Errorf("extensions (-want +got):\n%s", diff)
	}
	between := x509.NewCertPool()
	between.AddCert(chain[1])
	if _, err := leaf.Verify(x509.VerifyOptions{Roots: a.Pool(), Intermediates: between, CurrentTime: c.now(),
		KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}}); err != nil {
		t.Errorf("leaf does not verify: %v", err)
	}
}

func TestHostileRequestsComeOutAsTheDirectorySays(t *testing.T) {
	c := newClock()
	a := newTestAuthority(t, c)
	key := newKey(t)
	requests := hostileRequests(t)
	if len(requests) < 15 {
		t.Fatalf("%d requests, want 15 at least", len(requests))
	}
	for name, template := range requests {
		t.Run(name, func(t *testing.T) {
			der, err := x509.CreateCertificateRequest(rand.Reader, template, key)
			if err != nil {
				t.Fatal(err)
			}
			chain, err := a.IssueDeviceRequest(t.Context(), der, device(t, "lab:pump-1"), subject(t), time.Hour)
			if err != nil {
				t.Fatal(err)
			}
			checkLeaf(t, a, c, chain, key.Public())
			checkWithOpenSSL(t, chain[0])
		})
	}
}

// The modifier alone must be enough, should a request ever reach the library.
func TestModifierOverwritesHostileRequests(t *testing.T) {
	c := newClock()
	a := newTestAuthority(t, c)
	key := newKey(t)
	for name, template := range hostileRequests(t) {
		t.Run(name, func(t *testing.T) {
			der, err := x509.CreateCertificateRequest(rand.Reader, template, key)
			if err != nil {
				t.Fatal(err)
			}
			csr, err := x509.ParseCertificateRequest(der)
			if err != nil {
				t.Skip("the library is never shown what does not parse:", err)
			}
			leaf, err := a.deviceLeaf(key.Public(), device(t, "lab:pump-1"), subject(t), time.Hour)
			if err != nil {
				t.Fatal(err)
			}
			ctx := provisioner.NewContextWithMethod(context.Background(), provisioner.SignMethod)
			chain, err := a.ca.SignWithContext(ctx, csr, provisioner.SignOptions{}, whole{leaf})
			if err != nil {
				t.Fatal(err)
			}
			checkLeaf(t, a, c, chain, key.Public())
		})
	}
}

// checkWithOpenSSL reads the certificate with eyes other than Go's.
func checkWithOpenSSL(t *testing.T, leaf *x509.Certificate) {
	t.Helper()
	openssl := findOpenSSL(t)
	if openssl == "" {
		return
	}
	file := filepath.Join(t.TempDir(), "leaf.pem")
	if err := os.WriteFile(file, encodeCertificates([]*x509.Certificate{leaf}), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(openssl, "x509", "-in", file, "-noout", "-text").CombinedOutput()
	if err != nil {
		t.Fatalf("openssl: %v\n%s", err, out)
	}
	text := string(out)
	for _, want := range []string{"CA:FALSE", "TLS Web Client Authentication", "Digital Signature", "URI:spiffe://acme.example/lab/pump-1\n"} {
		if strings.Count(text, want) != 1 {
			t.Errorf("openssl's text holds %q %d times, want once", want, strings.Count(text, want))
		}
	}
	for _, not := range []string{"evil", "CA:TRUE", "Server Auth", "Certificate Sign", "DNS:", "IP Address:", "email:", "admin", "other"} {
		if strings.Contains(text, not) {
			t.Errorf("openssl's text holds %q:\n%s", not, text)
		}
	}
}

func TestDeviceNames(t *testing.T) {
	a := newTestAuthority(t, newClock())
	key := newKey(t).Public()
	long := strings.Repeat("n", 128)
	for name, tc := range map[string]struct{ device, cn, uri string }{
		"plain":           {"lab:pump-1", "lab:pump-1", "spiffe://acme.example/lab/pump-1"},
		"colon":           {"lab:a:b", "lab:a:b", "spiffe://acme.example/lab/a.b"},
		"64 bytes":        {"lab:" + long[:60], "lab:" + long[:60], "spiffe://acme.example/lab/" + long[:60]},
		"65 bytes, no CN": {"lab:" + long[:61], "", "spiffe://acme.example/lab/" + long[:61]},
		"longest":         {"lab:" + long, "", "spiffe://acme.example/lab/" + long},
		"three colons":    {"lab::::", "lab::::", "spiffe://acme.example/lab/..."},
	} {
		t.Run(name, func(t *testing.T) {
			chain, err := a.IssueDevice(t.Context(), key, device(t, tc.device), subject(t), time.Hour)
			if err != nil {
				t.Fatal(err)
			}
			leaf := chain[0]
			if leaf.Subject.CommonName != tc.cn || len(leaf.URIs) != 1 || leaf.URIs[0].String() != tc.uri {
				t.Errorf("CN %q, URIs %v", leaf.Subject.CommonName, leaf.URIs)
			}
		})
	}
	for _, bad := range []string{"lab::", "lab:::"} {
		if _, err := a.IssueDevice(t.Context(), key, device(t, bad), subject(t), time.Hour); !errors.Is(err, ErrName) {
			t.Errorf("%s: %v, want ErrName", bad, err)
		}
	}
}

func TestIssueDeviceRefuses(t *testing.T) {
	c := newClock()
	a := newTestAuthority(t, c)
	key, d, sub := newKey(t).Public(), device(t, "lab:pump-1"), subject(t)
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	issue := func(ctx context.Context, life time.Duration) error {
		_, err := a.IssueDevice(ctx, key, d, sub, life)
		return err
	}
	for _, life := range []time.Duration{-time.Hour, 0, MinLife - 1, DefaultMaxDeviceLife + 1} {
		if err := issue(t.Context(), life); !errors.Is(err, ErrLifetime) {
			t.Errorf("life %s: %v", life, err)
		}
	}
	if err := issue(gone, time.Hour); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	if _, err := a.IssueDevice(t.Context(), key, d, [16]byte{}, time.Hour); !errors.Is(err, ErrName) {
		t.Errorf("no subject: %v", err)
	}
	now := c.now()
	for _, at := range []time.Time{time.Unix(0, 0), time.Date(2099, 1, 1, 0, 0, 0, 0, time.UTC)} {
		c.set(at)
		if err := issue(t.Context(), time.Hour); !errors.Is(err, ErrExpired) {
			t.Errorf("at %s: %v", at, err)
		}
	}
	c.set(now)
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
	if err := issue(t.Context(), time.Hour); !errors.Is(err, ErrClosed) {
		t.Errorf("closed: %v", err)
	}
}

func TestLeafNeverOutlastsItsIssuer(t *testing.T) {
	c := newClock()
	a := openTest(t, newDir(t, Options{Now: c.now, IntermediateLife: 2 * time.Hour}), Config{Now: c.now})
	chain, err := a.IssueDevice(t.Context(), newKey(t).Public(), device(t, "lab:pump-1"), subject(t), 24*time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	if end := chain[0].NotAfter; !end.Equal(a.m.chain[0].NotAfter) {
		t.Errorf("leaf until %s, intermediate until %s", end, a.m.chain[0].NotAfter)
	}
}

func TestIssuingAtOnce(t *testing.T) {
	c := newClock()
	a := newTestAuthority(t, c)
	key := newKey(t).Public()
	var wg sync.WaitGroup
	for i := range 16 {
		wg.Go(func() {
			d := device(t, fmt.Sprintf("lab:pump-%d", i))
			chain, err := a.IssueDevice(t.Context(), key, d, subject(t), time.Hour)
			if err != nil || chain[0].Subject.CommonName != d.String() {
				t.Errorf("%s: %v %v", d, chain, err)
			}
		})
	}
	wg.Wait()
}
