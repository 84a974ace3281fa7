package proof

import (
	"bytes"
	"encoding/base32"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/signetd/signet/protocol/ident"
)

// TestTOTPVectors: RFC 6238, appendix B.
func TestTOTPVectors(t *testing.T) {
	seed := strings.Repeat("1234567890", 7)
	for algorithm, length := range map[string]int{"SHA1": 20, "SHA256": 32, "SHA512": 64} {
		g := &Generator{Secret: []byte(seed[:length]), Algorithm: algorithm, Digits: 8}
		for _, v := range []struct {
			at    int64
			codes map[string]string
		}{
			{59, map[string]string{"SHA1": "94287082", "SHA256": "46119246", "SHA512": "90693936"}},
			{1111111109, map[string]string{"SHA1": "07081804", "SHA256": "68084774", "SHA512": "25091201"}},
			{1111111111, map[string]string{"SHA1": "14050471", "SHA256": "67062674", "SHA512": "99943326"}},
			{1234567890, map[string]string{"SHA1": "89005924", "SHA256": "91819424", "SHA512": "93441116"}},
			{2000000000, map[string]string{"SHA1": "69279037", "SHA256": "90698825", "SHA512": "38618901"}},
			{20000000000, map[string]string{"SHA1": "65353130", "SHA256": "77737706", "SHA512": "47863826"}},
		} {
			want := v.codes[algorithm]
			if got := g.Code(uint64(v.at / TOTPPeriod)); got != want {
				t.Errorf("%s at %d: %s, want %s", algorithm, v.at, got, want)
			}
			for _, off := range []int64{-30, 0, 29} { // any time of the step before, of its own, or of the next
				at := time.Unix(v.at/TOTPPeriod*TOTPPeriod+off, 0)
				if step := g.find(want, at); step != uint64(v.at/TOTPPeriod) {
					t.Errorf("%s: %s is not good %d s off its step: %d", algorithm, want, off, step)
				}
			}
			for _, off := range []int64{-31, 60} {
				at := time.Unix(v.at/TOTPPeriod*TOTPPeriod+off, 0)
				if step := g.find(want, at); step != 0 {
					t.Errorf("%s: %s is good %d s off its step", algorithm, want, off)
				}
			}
		}
	}
}

// TestHOTPVectors: RFC 4226, appendix D.
func TestHOTPVectors(t *testing.T) {
	g := &Generator{Secret: []byte("12345678901234567890"), Algorithm: "SHA1", Digits: 6}
	for n, want := range []string{"755224", "287082", "359152", "969429", "338314", "254676", "287922", "162583", "399871", "520489"} {
		if got := g.Code(uint64(n)); got != want {
			t.Errorf("%d: %s, want %s", n, got, want)
		}
	}
}

func TestGenerators(t *testing.T) {
	id, err := ident.ParseDevice("demo:lamp-1")
	if err != nil {
		t.Fatal(err)
	}
	random := bytes.NewReader(bytes.Repeat([]byte("abcdefghijklmnopqrstuvwxyz"), 10))
	g, err := NewGenerator("SHA256", 8, random)
	if err != nil {
		t.Fatal(err)
	}
	u, err := url.Parse(g.URI(id))
	if err != nil || u.Scheme != "otpauth" || u.Host != "totp" || u.Path != "/Signet:demo:lamp-1" {
		t.Fatalf("%s: %v", g.URI(id), err)
	}
	q := u.Query()
	secret, err := base32.StdEncoding.WithPadding(base32.NoPadding).DecodeString(q.Get("secret"))
	if err != nil || !bytes.Equal(secret, g.Secret) || len(secret) < 20 || q.Get("algorithm") != "SHA256" || q.Get("digits") != "8" || q.Get("period") != "30" || q.Get("issuer") != "Signet" {
		t.Errorf("%s: %v", u, err)
	}
	raw, err := g.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	back, err := parseGenerator(raw)
	if err != nil || back.Code(7) != g.Code(7) || back.ID(id) != g.ID(id) {
		t.Errorf("reads as something else: %v", err)
	}
	other, err := NewGenerator("SHA256", 8, random)
	if err != nil || other.ID(id) == g.ID(id) {
		t.Errorf("two generators have one id: %v", err)
	}
	for _, bad := range []struct {
		algorithm string
		digits    int
	}{{"MD5", 6}, {"", 6}, {"SHA1", 5}, {"SHA1", 9}} {
		if _, err := NewGenerator(bad.algorithm, bad.digits, random); err == nil {
			t.Errorf("%d digits by %q", bad.digits, bad.algorithm)
		}
	}
	if _, err := NewGenerator("SHA1", 6, bytes.NewReader(nil)); err == nil {
		t.Error("a secret without randomness")
	}
}

func FuzzGenerator(f *testing.F) {
	g := &Generator{Secret: []byte("12345678901234567890"), Algorithm: "SHA1", Digits: 6}
	raw, err := g.Marshal()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(raw)
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, raw []byte) {
		g, err := parseGenerator(raw)
		if err != nil {
			return
		}
		if code := g.Code(1); len(code) != g.Digits {
			t.Errorf("code %q of %d digits", code, g.Digits)
		}
	})
}
