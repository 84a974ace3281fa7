package verify_test

import (
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"testing"

	"github.com/c2sp/wycheproof"
	"github.com/go-jose/go-jose/v4"
	"github.com/signetd/signet/protocol/token"
	"github.com/signetd/signet/protocol/verify"
)

// TestKeySets: each form gives the same keys under the same ids.
func TestKeySets(t *testing.T) {
	var keys []*token.Key
	var blocks []byte
	for _, alg := range []token.Alg{token.ES256, token.EdDSA, token.RS256} {
		k := newSigner(t, alg).Key()
		der, err := x509.MarshalPKIXPublicKey(k.Public())
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, k)
		blocks = append(blocks, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})...)
	}
	var sets []*verify.KeySet
	for _, parse := range []func() (*verify.KeySet, error){
		func() (*verify.KeySet, error) { return verify.ParseJWKS(token.MarshalJWKS(keys)) },
		func() (*verify.KeySet, error) { return verify.ParseCOSEKeySet(token.MarshalCOSEKeySet(keys)) },
		func() (*verify.KeySet, error) { return verify.ParsePEM(blocks) },
	} {
		set, err := parse()
		if err != nil {
			t.Fatal(err)
		}
		sets = append(sets, set)
	}
	for i, set := range sets {
		for _, k := range keys {
			for _, kid := range [][]byte{[]byte(k.KID()), k.COSEKID()} {
				if got, err := set.Key(t.Context(), kid); err != nil || !got.Equal(k) {
					t.Errorf("set %d, kid %x: %v", i, kid, err)
				}
			}
		}
		if _, err := set.Key(t.Context(), nil); !errors.Is(err, verify.ErrUnknownKey) {
			t.Errorf("set %d, no kid: %v, want ErrUnknownKey", i, err)
		}
	}
}

func TestParseJWKS(t *testing.T) {
	k := newSigner(t, token.ES256).Key()
	jwk := string(k.MarshalJWK())
	with := func(member string) string { return strings.Replace(jwk, `{`, `{`+member+`,`, 1) }
	for _, tt := range []struct {
		name, set string
		keys      int // -1: an error
	}{
		{"one", `{"keys":[` + jwk + `]}`, 1},
		{"none", `{"keys":[]}`, 0},
		{"unknown type", `{"keys":[{"kty":"AKP","alg":"ML-DSA-44"},` + jwk + `]}`, 1},
		{"symmetric", `{"keys":[{"kty":"oct","k":"AAAA","kid":"x"},` + jwk + `]}`, 1},
		{"other curve", `{"keys":[{"kty":"EC","crv":"P-384","x":"","y":""}]}`, 0},
		{"encryption", `{"keys":[` + strings.Replace(jwk, `"sig"`, `"enc"`, 1) + `]}`, 0},
		{"key_ops sign", `{"keys":[` + with(`"key_ops":["sign"]`) + `]}`, 0},
		{"key_ops verify", `{"keys":[` + with(`"key_ops":["verify"]`) + `]}`, 1},
		{"other alg", `{"keys":[` + strings.Replace(jwk, `"ES256"`, `"ES384"`, 1) + `]}`, 0},
		{"private", `{"keys":[` + with(`"d":"AAAA"`) + `]}`, -1},
		{"twice", `{"keys":[` + jwk + `,` + jwk + `]}`, -1},
		{"one kid for two", `{"keys":[{"kty":"oct","k":"AAAA","kid":"` + k.KID() + `"},` + jwk + `]}`, -1},
		{"duplicate member", `{"keys":[` + with(`"kty":"EC"`) + `]}`, -1},
		{"off curve", `{"keys":[{"kty":"EC","crv":"P-256","x":"AQ","y":"AQ"}]}`, -1},
		{"long kid", `{"keys":[{"kty":"oct","kid":"` + strings.Repeat("k", 65) + `"}]}`, -1},
		{"no keys", `{}`, -1},
		{"array", `[]`, -1},
		{"empty", ``, -1},
	} {
		t.Run(tt.name, func(t *testing.T) {
			set, err := verify.ParseJWKS([]byte(tt.set))
			switch {
			case tt.keys < 0 && !errors.Is(err, token.ErrKey):
				t.Errorf("%v, want ErrKey", err)
			case tt.keys >= 0 && (err != nil || len(set.Keys()) != tt.keys):
				t.Errorf("%v, want %d keys", err, tt.keys)
			}
		})
	}
}

func TestParsePEMRefuses(t *testing.T) {
	for _, s := range []string{"", "x", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n"} {
		if _, err := verify.ParsePEM([]byte(s)); !errors.Is(err, token.ErrKey) {
			t.Errorf("%q: %v, want ErrKey", s, err)
		}
	}
}

// TestWycheproofJWK and JWS: each vector's keys as a JWK set, its JWS checked with
// the key that its kid names there.
func TestWycheproofJWK(t *testing.T) { runJWKVectors(t, "json_web_key_test.json", 1, 25) }
func TestWycheproofJWS(t *testing.T) { runJWKVectors(t, "json_web_signature_test.json", 9, 350) }

func runJWKVectors(t *testing.T, file string, wantAccepted, wantRefused int) {
	b, err := fs.ReadFile(wycheproof.TestVectors, file)
	if err != nil {
		t.Fatal(err)
	}
	var f struct {
		TestGroups []struct {
			Public, Private json.RawMessage
			Tests           []struct {
				TcID            int
				Comment, Result string
				JWS             json.RawMessage
			}
		}
	}
	if err := json.Unmarshal(b, &f); err != nil {
		t.Fatal(err)
	}
	accepted, refused := 0, 0
	for _, g := range f.TestGroups {
		set := g.Public
		if set == nil {
			set = g.Private
		}
		if !strings.Contains(string(set), `"keys"`) {
			set = fmt.Appendf(nil, `{"keys":[%s]}`, set)
		}
		allowed := strings.Contains(string(set), `"ES256"`) || strings.Contains(string(set), `"RS256"`)
		for _, tt := range g.Tests {
			err := verifyWithSet(t, set, tt.JWS)
			switch {
			case tt.Result == "invalid" && err == nil:
				t.Errorf("%d (%s): accepted, must be refused", tt.TcID, tt.Comment)
			case tt.Result == "valid" && allowed && err != nil:
				t.Errorf("%d (%s): %v, must be accepted", tt.TcID, tt.Comment, err)
			case err == nil:
				accepted++
			default:
				refused++
			}
		}
	}
	t.Logf("accepted %d, refused %d", accepted, refused)
	if accepted < wantAccepted || refused < wantRefused {
		t.Errorf("accepted %d, refused %d: want at least %d and %d", accepted, refused, wantAccepted, wantRefused)
	}
}

// verifyWithSet lets go-jose find the kid, laxly, so that the refusal is ours.
func verifyWithSet(t *testing.T, set, vector []byte) error {
	t.Helper()
	keys, err := verify.ParseJWKS(set)
	if err != nil {
		return err
	}
	var raw string
	if err := json.Unmarshal(vector, &raw); err != nil {
		raw = string(vector)
	}
	kid := ""
	if m, err := jose.ParseSignedCompact(raw, []jose.SignatureAlgorithm{jose.ES256, jose.RS256, jose.PS256, jose.HS256, jose.ES512}); err == nil && len(m.Signatures) == 1 {
		kid = m.Signatures[0].Header.KeyID
	}
	key, err := keys.Key(t.Context(), []byte(kid))
	if kid == "" && len(keys.Keys()) == 1 {
		key, err = keys.Keys()[0], nil
	}
	if err != nil {
		return err
	}
	_, err = token.VerifyJWS([]byte(raw), key)
	return err
}

// FuzzParseJWKS: a set that is accepted can be written and read again.
func FuzzParseJWKS(f *testing.F) {
	f.Add(token.MarshalJWKS([]*token.Key{newSigner(f, token.ES256).Key(), newSigner(f, token.EdDSA).Key()}))
	f.Add([]byte(`{"keys":[{"kty":"RSA","n":"AQ","e":"AQAB"},{"kty":"oct","k":""}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		_, _ = verify.ParsePEM(data)
		_, _ = verify.ParseCOSEKeySet(data)
		set, err := verify.ParseJWKS(data)
		if err != nil {
			return
		}
		again, err := verify.ParseJWKS(token.MarshalJWKS(set.Keys()))
		if err != nil || len(again.Keys()) != len(set.Keys()) {
			t.Fatalf("%d keys are not stable: %v", len(set.Keys()), err)
		}
	})
}

// TestMissingKeyIsNamed: whoever has an old key set reads which key it lacks.
func TestMissingKeyIsNamed(t *testing.T) {
	k, other := newSigner(t, token.ES256).Key(), newSigner(t, token.EdDSA).Key()
	set, err := verify.NewKeySet(k)
	if err != nil {
		t.Fatal(err)
	}
	for kid, want := range map[string]string{
		other.KID():        fmt.Sprintf("no key with kid %q, the set has %q", other.KID(), k.KID()),
		"\xff\xfe\x00\x01": fmt.Sprintf("no key with kid fffe0001, the set has %x", k.COSEKID()),
		"a\x1b[2J":         fmt.Sprintf("no key with kid 611b5b324a, the set has %x", k.COSEKID()),
	} {
		if _, err := set.Key(t.Context(), []byte(kid)); !errors.Is(err, verify.ErrUnknownKey) || err.Error() != want {
			t.Errorf("%q: %v, want %s", kid, err, want)
		}
	}
}
