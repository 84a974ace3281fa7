package token_test

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"io/fs"
	"math/big"
	"testing"

	"github.com/c2sp/wycheproof"
	"github.com/signetd/signet/protocol/token"
)

// A vectorFile is what the Wycheproof collections of interest have in common.
type vectorFile struct {
	TestGroups []struct {
		KeySize, TagSize int
		PublicKey        struct{ Uncompressed, PK string }
		Public, Private  map[string]any
		Tests            []struct {
			TcID          int
			Comment       string
			Flags         []string
			Key, Msg, Sig string
			Tag, Result   string
			JWS           any
		}
	}
}

func readVectors(t *testing.T, name string) vectorFile {
	t.Helper()
	b, err := fs.ReadFile(wycheproof.TestVectors, name)
	if err != nil {
		t.Fatal(err)
	}
	var f vectorFile
	if err := json.Unmarshal(b, &f); err != nil {
		t.Fatal(err)
	}
	return f
}

// A tally makes sure that a collection was really run.
type tally struct{ accepted, refused int }

func (c *tally) check(t *testing.T, id int, comment, result string, allowed bool, err error) {
	t.Helper()
	switch {
	case result == "invalid" && err == nil:
		t.Errorf("%d (%s): accepted, must be refused", id, comment)
	case result == "valid" && allowed && err != nil:
		t.Errorf("%d (%s): %v, must be accepted", id, comment, err)
	case err == nil:
		c.accepted++
	default:
		c.refused++
	}
}

func (c *tally) atLeast(t *testing.T, accepted, refused int) {
	t.Helper()
	t.Logf("accepted %d, refused %d", c.accepted, c.refused)
	if c.accepted < accepted || c.refused < refused {
		t.Errorf("accepted %d, refused %d: want at least %d and %d", c.accepted, c.refused, accepted, refused)
	}
}

func TestWycheproofECDSA(t *testing.T) {
	var c tally
	for _, g := range readVectors(t, "ecdsa_secp256r1_sha256_p1363_test.json").TestGroups {
		pub, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), unhex(t, g.PublicKey.Uncompressed))
		if err != nil {
			t.Fatal(err)
		}
		k, err := token.NewKey(pub)
		if err != nil {
			t.Fatal(err)
		}
		for _, tt := range g.Tests {
			c.check(t, tt.TcID, tt.Comment, tt.Result, true, k.Verify(unhex(t, tt.Msg), unhex(t, tt.Sig)))
		}
	}
	c.atLeast(t, 170, 85)
}

func TestWycheproofEd25519(t *testing.T) {
	var c tally
	for _, g := range readVectors(t, "ed25519_test.json").TestGroups {
		k, err := token.NewKey(ed25519.PublicKey(unhex(t, g.PublicKey.PK)))
		if err != nil {
			t.Fatal(err)
		}
		for _, tt := range g.Tests {
			c.check(t, tt.TcID, tt.Comment, tt.Result, true, k.Verify(unhex(t, tt.Msg), unhex(t, tt.Sig)))
		}
	}
	c.atLeast(t, 85, 60)
}

// TestWycheproofHMAC: shorter keys and cut tags are not of HMAC 256/256.
func TestWycheproofHMAC(t *testing.T) {
	var c tally
	for _, g := range readVectors(t, "hmac_sha256_test.json").TestGroups {
		for _, tt := range g.Tests {
			secret, err := token.NewSecret(unhex(t, tt.Key))
			if err == nil {
				err = secret.Verify(unhex(t, tt.Msg), unhex(t, tt.Tag))
			}
			c.check(t, tt.TcID, tt.Comment, tt.Result, g.KeySize >= 256 && g.TagSize == 256, err)
		}
	}
	c.atLeast(t, 15, 108)
}

// TestWycheproofJWS: keys are taken as they come, and refused if they are not for
// signatures; verify.ParseJWKS does the same to whole sets.
func TestWycheproofJWS(t *testing.T) {
	var c tally
	for _, g := range readVectors(t, "json_web_signature_test.json").TestGroups {
		members := g.Public
		if members == nil {
			members = g.Private
		}
		key, keyErr := jwkOf(members)
		for _, tt := range g.Tests {
			raw, ok := tt.JWS.(string)
			if !ok {
				b, err := json.Marshal(tt.JWS)
				if err != nil {
					t.Fatal(err)
				}
				raw = string(b)
			}
			err := keyErr
			if err == nil {
				_, err = token.VerifyJWS([]byte(raw), key)
			}
			allowed := members["alg"] == "ES256" || members["alg"] == "RS256"
			c.check(t, tt.TcID, tt.Comment, tt.Result, allowed, err)
		}
	}
	c.atLeast(t, 9, 350)
}

// jwkOf makes a key of what a JWK says, if it is one for signatures that we know.
func jwkOf(m map[string]any) (*token.Key, error) {
	if use, ok := m["use"]; ok && use != "sig" {
		return nil, token.ErrKey
	}
	if ops, ok := m["key_ops"].([]any); ok && (len(ops) != 1 || ops[0] != "verify") {
		return nil, token.ErrKey
	}
	part := func(name string) []byte {
		s, _ := m[name].(string)
		b, err := base64.RawURLEncoding.DecodeString(s)
		if err != nil {
			return nil
		}
		return b
	}
	switch {
	case m["kty"] == "EC" && m["crv"] == "P-256" && m["alg"] == "ES256":
		pub, err := ecdsa.ParseUncompressedPublicKey(elliptic.P256(), append(append([]byte{4}, part("x")...), part("y")...))
		if err != nil {
			return nil, err
		}
		return token.NewKey(pub)
	case m["kty"] == "RSA" && m["alg"] == "RS256":
		e := new(big.Int).SetBytes(part("e")).Int64()
		return token.NewKey(&rsa.PublicKey{N: new(big.Int).SetBytes(part("n")), E: int(e)})
	}
	return nil, token.ErrKey
}
