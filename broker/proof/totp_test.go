package proof

import (
	"bytes"
	"encoding/base32"
	"errors"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/protocol/detcbor"
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

// TestGenerators: what is made is kept and shown as one and the same, of a random secret,
// as the parameters say or as is usual.
func TestGenerators(t *testing.T) {
	id, err := ident.ParseDevice("demo:lamp-1")
	if err != nil {
		t.Fatal(err)
	}
	random := bytes.NewReader(bytes.Repeat([]byte("abcdefghijklmnopqrstuvwxyz"), 10))
	for _, c := range []struct {
		params            map[string]string
		algorithm, digits string
	}{
		{nil, "SHA1", "6"}, {map[string]string{"digits": "8"}, "SHA1", "8"},
		{map[string]string{"algorithm": "SHA256", "digits": "7"}, "SHA256", "7"}, {map[string]string{"algorithm": "SHA512"}, "SHA512", "6"},
	} {
		n, err := makeGenerator(id, c.params, random)
		if err != nil {
			t.Fatal(err)
		}
		u, err := url.Parse(n.Shown)
		if err != nil || u.Scheme != "otpauth" || u.Host != "totp" || u.Path != "/Signet:demo:lamp-1" {
			t.Fatalf("%s: %v", n.Shown, err)
		}
		g, err := parseGenerator(n.Secret)
		if err != nil {
			t.Fatal(err)
		}
		q := u.Query()
		secret, err := base32.StdEncoding.WithPadding(base32.NoPadding).DecodeString(q.Get("secret"))
		if err != nil || !bytes.Equal(secret, g.Secret) || len(secret) < 20 || q.Get("algorithm") != c.algorithm || q.Get("digits") != c.digits || q.Get("period") != "30" || q.Get("issuer") != "Signet" {
			t.Errorf("%s: %v", u, err)
		}
		if g.Algorithm != c.algorithm || strconv.Itoa(g.Digits) != c.digits || n.ID != g.id(id) || n.ID.IsZero() {
			t.Errorf("%v: kept as %d digits by %s", c.params, g.Digits, g.Algorithm)
		}
		other, err := makeGenerator(id, c.params, random)
		if err != nil || other.ID == n.ID {
			t.Errorf("two generators have one id: %v", err)
		}
	}
	for _, bad := range []map[string]string{
		{"algorithm": "MD5"}, {"algorithm": "sha1"}, {"algorithm": ""}, {"digits": "5"}, {"digits": "9"}, {"digits": "six"}, {"digits": ""}, {"period": "60"},
	} {
		if _, err := makeGenerator(id, bad, random); !errors.Is(err, broker.ErrInvalid) {
			t.Errorf("%v: %v", bad, err)
		}
	}
	if _, err := makeGenerator(id, nil, bytes.NewReader(nil)); err == nil {
		t.Error("a secret without randomness")
	}
}

func FuzzGenerator(f *testing.F) {
	g := &Generator{Secret: []byte("12345678901234567890"), Algorithm: "SHA1", Digits: 6}
	raw, err := detcbor.Marshal(g)
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
