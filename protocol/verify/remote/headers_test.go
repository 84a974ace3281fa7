package remote_test

import (
	"context"
	"crypto/ed25519"
	"encoding/base64"
	"encoding/json"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/signetd/signet/protocol/token"
	"github.com/signetd/signet/protocol/verify"
	"github.com/signetd/signet/protocol/verify/remote"
)

// Whatever a token's header says of keys and of places to get them, nobody is asked but
// the issuer, and no key counts but its own: every signature here is right for the key
// that the header brings or points to.
func TestHeadersReachNobody(t *testing.T) {
	i := newIssuer(t, newKey(t, 0))
	var strangers atomic.Int64
	client := i.server.Client()
	transport := client.Transport.(*http.Transport).Clone()
	transport.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		if address != i.server.Listener.Addr().String() {
			strangers.Add(1)
			t.Errorf("dials %s", address)
		}
		return (&net.Dialer{}).DialContext(ctx, network, address)
	}
	keys, err := remote.New(remote.Config{Issuer: i.name(), Client: &http.Client{Transport: transport}})
	if err != nil {
		t.Fatal(err)
	}
	v, err := verify.New(verify.Config{Issuer: i.name(), Audience: "demo", Algorithms: []token.Alg{token.EdDSA}, Keys: keys})
	if err != nil {
		t.Fatal(err)
	}
	attacker := ed25519.NewKeyFromSeed([]byte(strings.Repeat("z", 32)))
	x := base64.RawURLEncoding.EncodeToString(attacker.Public().(ed25519.PublicKey))
	known := newKey(t, 0).KID()
	for name, header := range map[string]map[string]any{
		"jku":               {"kid": known, "jku": "https://192.0.2.1/jwks.json"},
		"x5u":               {"kid": known, "x5u": "https://192.0.2.1/chain.pem"},
		"jwk":               {"kid": known, "jwk": map[string]any{"kty": "OKP", "crv": "Ed25519", "x": x}},
		"x5c":               {"kid": known, "x5c": []string{"MIIB"}},
		"kid is a URL":      {"kid": "https://192.0.2.1/key"},
		"kid is a path":     {"kid": "../../../../dev/null"},
		"kid is SQL":        {"kid": "' UNION SELECT 'key'; --"},
		"kid is long":       {"kid": strings.Repeat("k", 4096)},
		"kid is a number":   {"kid": 7},
		"kid is nothing":    {"kid": ""},
		"crit":              {"kid": known, "crit": []string{"jku"}, "jku": "https://192.0.2.1/"},
		"alg is none":       {"kid": known, "alg": "none"},
		"alg is HMAC's":     {"kid": known, "alg": "HS256"},
		"kid has a newline": {"kid": known + "\nHost: 192.0.2.1"},
	} {
		t.Run(name, func(t *testing.T) {
			full := map[string]any{"alg": "EdDSA", "typ": "at+jwt"}
			for k, value := range header {
				full[k] = value
			}
			head, err := json.Marshal(full)
			if err != nil {
				t.Fatal(err)
			}
			now := time.Now().Unix()
			body, err := json.Marshal(map[string]any{"iss": i.name(), "sub": "00000000-0000-7000-8000-000000000000", "aud": "demo", "exp": now + 600, "iat": now, "token_use": "access"})
			if err != nil {
				t.Fatal(err)
			}
			signed := base64.RawURLEncoding.EncodeToString(head) + "." + base64.RawURLEncoding.EncodeToString(body)
			raw := signed + "." + base64.RawURLEncoding.EncodeToString(ed25519.Sign(attacker, []byte(signed)))
			ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
			defer cancel()
			if claims, err := v.Verify(ctx, []byte(raw)); err == nil {
				t.Errorf("accepted: %+v", claims)
			}
		})
	}
	if strangers.Load() > 0 {
		t.Errorf("%d connections to others than the issuer", strangers.Load())
	}
}
