package cli_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/signetd/signet/broker/control/controltest"
	"github.com/signetd/signet/protocol/ident"
	"github.com/signetd/signet/protocol/token"
	"github.com/signetd/signet/protocol/verify"
)

func newSigner(t *testing.T) *token.Signer {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	s, err := token.NewSigner(private)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// offline is a shell without a broker.
func offline(t *testing.T) *shell {
	t.Helper()
	w := controltest.New(t)
	return &shell{World: w, home: t.TempDir(), env: map[string]string{}}
}

func sampleClaims(s *shell) *token.Claims {
	now := s.Clock.Now()
	return &token.Claims{
		Issuer: "https://signet.example/pools/demo", Subject: ident.UUID{1}, Audience: "demo",
		IssuedAt: now, Expires: now.Add(time.Hour), ID: []byte("12345678"), ClientID: "default",
	}
}

func (s *shell) file(t *testing.T, name string, data []byte) string {
	t.Helper()
	path := filepath.Join(s.home, name)
	write(t, path, data)
	return path
}

// bothForms makes an access token as JWT and as CWT.
func bothForms(t *testing.T, claims *token.Claims, signer *token.Signer) (jwt string, cwt []byte) {
	t.Helper()
	jwt, err := token.SignJWT(token.Access, claims, signer)
	if err != nil {
		t.Fatal(err)
	}
	if cwt, err = token.SignCWT(token.Access, claims, signer); err != nil {
		t.Fatal(err)
	}
	return jwt, cwt
}

// TestVerifySaysWhatItWasGiven: a token of another form than was asked for is named, and so is
// an empty input, in one line.
func TestVerifySaysWhatItWasGiven(t *testing.T) {
	s, signer := offline(t), newSigner(t)
	claims := sampleClaims(s)
	claims.Confirmation = token.Confirm(signer.Key())
	jwt, cwt := bothForms(t, claims, signer)
	key := s.file(t, "jwk", signer.Key().MarshalJWK())
	for _, c := range []struct{ format, in, says string }{
		{"jws", string(cwt), "there is: CWT, want --format cwt"},
		{"jws", hex.EncodeToString(cwt) + "\n", "there is: CWT, want --format cwt"},
		{"cwt", jwt, "there is: JWT, want --format jws"},
		{"cose", jwt + "\n", "there is: JWT, want --format jws"},
		{"jws", "", "there is: nothing"},
		{"cwt", "\n", "there is: nothing"},
		{"jws", "a.b", "malformed token: a compact JWS has three parts"},
	} {
		r := s.run(t, c.in, "token", "verify", "--format", c.format, "--key", key)
		if r.code != 1 || !strings.Contains(r.err, c.says) || strings.Count(r.err, "\n") != 1 {
			t.Errorf("%s of %.10q: %+v, want %q", c.format, c.in, r, c.says)
		}
	}
}

func TestVerify(t *testing.T) {
	s, signer, other := offline(t), newSigner(t), newSigner(t)
	claims := sampleClaims(s)
	claims.Confirmation = token.Confirm(other.Key())
	jwt, cwt := bothForms(t, claims, signer)
	secret, err := token.NewSecret([]byte(strings.Repeat("s", 32)))
	if err != nil {
		t.Fatal(err)
	}
	mac, err := token.Mac0(token.KeyStatement, []byte("x"), nil, []byte("k"), secret)
	if err != nil {
		t.Fatal(err)
	}
	bare, err := token.SignJWS("x", []byte("hello"), signer)
	if err != nil {
		t.Fatal(err)
	}
	oct := `{"kty":"oct","k":"c3Nzc3Nzc3Nzc3Nzc3Nzc3Nzc3Nzc3Nzc3Nzc3Nzc3M"}`
	jwk := s.file(t, "jwk", signer.Key().MarshalJWK())
	jwks := s.file(t, "jwks", token.MarshalJWKS([]*token.Key{other.Key(), signer.Key()}))
	cose := s.file(t, "cose", []byte(hex.EncodeToString(signer.Key().MarshalCOSE())))
	set := s.file(t, "set", token.MarshalCOSEKeySet([]*token.Key{other.Key(), signer.Key()}))
	wrong := s.file(t, "wrong", other.Key().MarshalJWK())
	symmetric, junk := s.file(t, "oct", []byte(oct)), s.file(t, "junk", []byte("junk"))
	tampered := []byte(jwt)
	tampered[len(tampered)-10] ^= 1
	later := s.Clock.Now().Add(time.Hour).Format(time.RFC3339)
	for _, c := range []struct {
		name, in, line string
		code           int
	}{
		{"JWS with a JWK", jwt + "\n", "jws --key " + jwk + " --aud demo", 0},
		{"JWS with a set", jwt, "jws --key " + jwks, 0},
		{"JWS with a COSE key", jwt, "jws --key " + cose, 0},
		{"JWS that is no token", bare, "jws --key " + jwk, 0},
		{"CWT raw", string(cwt), "cwt --key " + jwk + " --aud demo", 0},
		{"CWT hex with a COSE set", hex.EncodeToString(cwt) + "\n", "cwt --key " + set, 0},
		{"COSE_Sign1", hex.EncodeToString(cwt), "cose --key " + cose, 0},
		{"COSE_Mac0", hex.EncodeToString(mac), "cose --key " + symmetric, 0},
		{"just before the end", jwt, "jws --key " + jwk + " --at 1767229199", 0},
		{"at the end", jwt, "jws --key " + jwk + " --at " + later, 1},
		{"CWT at the end", string(cwt), "cwt --key " + jwk + " --at " + later, 1},
		{"other audience", jwt, "jws --key " + jwk + " --aud other", 1},
		{"CWT for another audience", string(cwt), "cwt --key " + jwk + " --aud other", 1},
		{"audience of what has none", bare, "jws --key " + jwk + " --aud demo", 1},
		{"wrong key", jwt, "jws --key " + wrong, 1},
		{"tampered", string(tampered), "jws --key " + jwk, 1},
		{"space inside", strings.Replace(jwt, ".", ". ", 1), "jws --key " + jwk, 1},
		{"CWT with a secret", string(cwt), "cwt --key " + symmetric, 1},
		{"JWS with a secret", jwt, "jws --key " + symmetric, 1},
		{"MAC as CWT", string(mac), "cwt --key " + symmetric, 1},
		{"MAC with a public key", string(mac), "cose --key " + cose, 1},
		{"empty", "", "jws --key " + jwk, 1},
		{"empty CWT", "", "cwt --key " + jwk, 1},
		{"CWT as JWS", string(cwt), "jws --key " + jwk, 1},
		{"huge", strings.Repeat("a", 1<<20), "jws --key " + jwk, 1},
		{"junk for a key", jwt, "jws --key " + junk, 2},
		{"no key file", jwt, "jws --key /nowhere", 2},
		{"no key", jwt, "jws", 2},
		{"no such format", jwt, "jwe --key " + jwk, 2},
		{"bad time", jwt, "jws --at noon --key " + jwk, 2},
		{"audience of COSE", string(cwt), "cose --aud demo --key " + jwk, 2},
	} {
		t.Run(c.name, func(t *testing.T) {
			r := s.run(t, c.in, append([]string{"token", "verify", "--format"}, strings.Fields(c.line)...)...)
			if r.code != c.code || r.out != "" {
				t.Fatalf("got %+v, want exit %d", r, c.code)
			}
			if c.code == 1 && (strings.Count(r.err, "\n") != 1 || !strings.HasPrefix(r.err, "signet: refused: ")) {
				t.Errorf("not one line why: %q", r.err)
			}
		})
	}
	for _, line := range []string{"jws --key " + wrong + " < " + jwt, "cwt --key " + wrong + " < " + string(cwt)} {
		command, in, _ := strings.Cut(line, " < ")
		r := s.run(t, in, append([]string{"token", "verify", "--format"}, strings.Fields(command)...)...)
		if r.code != 1 || !strings.Contains(r.err, "no key with kid ") || !strings.Contains(r.err, ", the set has ") {
			t.Errorf("the key is not there: %+v", r)
		}
	}
}

// TestVerifyLeeway: a clock a little behind or ahead is no fault of the token, unless a time
// was named or the leeway is 0.
func TestVerifyLeeway(t *testing.T) {
	s, signer := offline(t), newSigner(t)
	jwk := s.file(t, "jwk", signer.Key().MarshalJWK())
	now := s.Clock.Now()
	for _, c := range []struct {
		iat, exp time.Duration // from now
		flags    string
		says     string // nothing: accepted
	}{
		{time.Second, time.Hour, "", ""}, {60 * time.Second, time.Hour, "", ""}, {61 * time.Second, time.Hour, "", "61 s earlier, with a leeway of 1m0s"},
		{time.Second, time.Hour, "--leeway 0s", "1 s earlier, with a leeway of 0s"}, {-time.Hour, -59 * time.Second, "", ""}, {-time.Hour, -60 * time.Second, "", "60 s later, with a leeway of 1m0s"},
		{time.Second, time.Hour, "--at " + now.Format(time.RFC3339), "1 s earlier"}, {time.Second, time.Hour, "--leeway 1s --at " + now.Format(time.RFC3339), ""},
		{0, time.Hour, "--leeway -1s", "want 0 or more"},
	} {
		claims := sampleClaims(s)
		claims.Confirmation, claims.IssuedAt, claims.NotBefore, claims.Expires = token.Confirm(signer.Key()), now.Add(c.iat), time.Time{}, now.Add(c.exp)
		jwt, err := token.SignJWT(token.Access, claims, signer)
		if err != nil {
			t.Fatal(err)
		}
		r := s.run(t, jwt, append([]string{"token", "verify", "--format", "jws", "--key", jwk}, strings.Fields(c.flags)...)...)
		if (r.code == 0) != (c.says == "") || !strings.Contains(r.err, c.says) {
			t.Errorf("%+v: %+v", c, r)
		}
	}
}

// TestVerifyAsTheSDK: at any second, the program accepts what package verify
// accepts without leeway.
func TestVerifyAsTheSDK(t *testing.T) {
	s, signer := offline(t), newSigner(t)
	now := s.Clock.Now()
	jwk := s.file(t, "jwk", signer.Key().MarshalJWK())
	set, err := verify.NewKeySet(signer.Key())
	if err != nil {
		t.Fatal(err)
	}
	for name, start := range map[string]struct{ issued, notBefore time.Time }{
		"iat alone": {issued: now}, "both": {now, now}, "nbf after iat": {now, now.Add(time.Minute)}, "nbf before iat": {now, now.Add(-time.Minute)},
	} {
		claims := sampleClaims(s)
		claims.Confirmation, claims.IssuedAt, claims.NotBefore = token.Confirm(signer.Key()), start.issued, start.notBefore
		jwt, err := token.SignJWT(token.Access, claims, signer)
		if err != nil {
			t.Fatal(err)
		}
		cwt, err := token.SignCWT(token.Access, claims, signer)
		if err != nil {
			t.Fatal(err)
		}
		for _, at := range []time.Time{now.Add(-time.Minute), now.Add(-time.Second), now, now.Add(59 * time.Second), now.Add(time.Minute), claims.Expires.Add(-time.Second), claims.Expires} {
			v, err := verify.New(verify.Config{Keys: set, Issuer: claims.Issuer, Audience: claims.Audience, Algorithms: []token.Alg{token.ES256}, Leeway: -1, Now: func() time.Time { return at }})
			if err != nil {
				t.Fatal(err)
			}
			for format, raw := range map[string][]byte{"jws": []byte(jwt), "cwt": cwt} {
				_, refused := v.Verify(t.Context(), raw)
				r := s.run(t, string(raw), "token", "verify", "--format", format, "--key", jwk, "--at", at.Format(time.RFC3339))
				if (refused == nil) != (r.code == 0) {
					t.Errorf("%s, %s at %v: %+v, but the SDK says %v", name, format, at.Sub(now), r, refused)
				}
			}
		}
	}
}

func TestInspect(t *testing.T) {
	s, signer := offline(t), newSigner(t)
	claims := sampleClaims(s)
	claims.Groups, claims.Attributes = []string{"lab"}, map[string]string{"site": "berlin"}
	claims.Confirmation = token.Confirm(signer.Key())
	jwt, cwt := bothForms(t, claims, signer)
	for name, in := range map[string]string{"JWT": jwt, "CWT": string(cwt), "CWT in hex": hex.EncodeToString(cwt) + "\n"} {
		r := s.run(t, in, "token", "inspect", "-")
		for _, want := range []string{name[:3] + "  ES256  kid ", "valid 1h0m0s", "iss https://signet.example/pools/demo", "sub " + claims.Subject.String(), "aud demo", "cnf"} {
			if r.code != 0 || !strings.Contains(r.out, want) {
				t.Errorf("%s lacks %q: %+v", name, want, r)
			}
		}
		r = s.run(t, in, "token", "inspect", "-o", "json")
		var got struct{ Claims map[string]any }
		if err := json.Unmarshal([]byte(r.out), &got); err != nil || got.Claims["aud"] != "demo" || !strings.Contains(r.out, "berlin") {
			t.Errorf("%s: got %s, %v", name, r.out, err)
		}
		if r = s.run(t, in, "token", "inspect", "-o", "csv"); strings.Contains(r.out, "e+") || strings.Contains(r.out, "map[") || !strings.Contains(r.out, "\nexp,1") {
			t.Errorf("%s as CSV: %s", name, r.out)
		}
	}
	for _, bad := range []string{"", "x", "sgnt_secret", "sgne_secret", "a.b.c", "d2", "\xd2", "ff"} {
		r := s.run(t, bad, "token", "inspect", "-")
		if r.code == 0 || r.out != "" || strings.Contains(r.err, "secret") {
			t.Errorf("%q: got %+v", bad, r)
		}
	}
	s.Clock.Advance(2 * time.Hour)
	if r := s.run(t, jwt, "token", "inspect", "-"); !strings.Contains(r.out, "expired 1h0m0s ago") {
		t.Errorf("got %+v", r)
	}
}
