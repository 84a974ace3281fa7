package vectors_test

import (
	"bytes"
	"crypto/ecdh"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"io/fs"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/signetd/signet/protocol"
	"github.com/signetd/signet/protocol/token"
	"github.com/signetd/signet/protocol/vectors"
)

var update = flag.Bool("update", false, "write the vectors anew")

func TestVectorsAreWhatTheCodeMakes(t *testing.T) {
	for name, v := range map[string]any{
		"messages.json": messages(t), "exchanges.json": exchanges(t), "enrollment.json": enrollment(t), "keys.json": keys(t), "tokens.json": tokens(t),
		"grants.json": grants(t), "connect.json": connects(t),
	} {
		var out bytes.Buffer
		e := json.NewEncoder(&out)
		e.SetEscapeHTML(false)
		e.SetIndent("", " ")
		if err := e.Encode(v); err != nil {
			t.Fatal(err)
		}
		if *update {
			if err := os.WriteFile(name, out.Bytes(), 0o644); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if d := cmp.Diff(string(raw(t, name)), out.String()); d != "" {
			t.Errorf("%s is not what the code makes; if that is meant, go test -update (-file +code):\n%.4000s", name, d)
		}
	}
}

func raw(t *testing.T, name string) []byte {
	t.Helper()
	b, err := fs.ReadFile(vectors.Files(), name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func load[T any](t *testing.T, name string) T {
	t.Helper()
	var v T
	if err := json.Unmarshal(raw(t, name), &v); err != nil {
		t.Fatal(err)
	}
	return v
}

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func decode(what string, b []byte) (err error) {
	switch what {
	case "challenge-body":
		_, err = protocol.DecodeChallengeBody(b)
	case "refresh-body":
		_, err = protocol.DecodeRefreshBody(b)
	case "connect-proof":
		_, err = protocol.DecodeConnectProof(b)
	case "grant-body":
		_, err = protocol.DecodeGrantBody(b)
	default:
		_, err = protocol.Decode(b)
	}
	return err
}

func TestMessages(t *testing.T) {
	f := load[messageFile](t, "messages.json")
	seen := make(map[string]bool)
	for _, v := range f.Valid {
		seen[v.What] = true
		b := unhex(t, v.Hex)
		if err := decode(v.What, b); err != nil {
			t.Errorf("%s: %v", v.Name, err)
		}
		if number, ok := types()[v.What]; ok {
			if m, err := protocol.Decode(b); err == nil && m.Type() != number {
				t.Errorf("%s: type %d", v.Name, m.Type())
			}
		}
	}
	for name := range shapes() {
		if inside := strings.HasPrefix(name, "problem") || name == "succession"; !seen[name] && !inside {
			t.Errorf("no valid vector for %s", name)
		}
	}
	for _, v := range f.Invalid {
		err := decode(v.What, unhex(t, v.Hex))
		if err == nil {
			t.Errorf("%s: accepted", v.Name)
			continue
		}
		if v.What != "message" {
			continue
		}
		var d *protocol.DecodeError
		if !errors.As(err, &d) || d.Code != codes()[v.Code] || uint8(d.Code) != v.Number {
			t.Errorf("%s: %v, want code %s", v.Name, err, v.Code)
			continue
		}
		call := ""
		if d.ID != (protocol.CallID{}) {
			call = hexOf(d.ID[:])
		}
		if call != v.Call {
			t.Errorf("%s: refuses call %q, want %q", v.Name, call, v.Call)
		}
	}
}

func TestEnrollmentTokens(t *testing.T) {
	f := load[enrollmentFile](t, "enrollment.json")
	for _, v := range f.Valid {
		tok, err := protocol.ParseEnrollToken(v.Text)
		if err != nil {
			t.Fatal(err)
		}
		key, err := tok.Key()
		if err != nil || hexOf(tok.ID()) != v.ID || hexOf(tok.Pin()) != v.Pin || hexOf(key.Seed()) != v.Private {
			t.Errorf("%s reads as something else: %v", v.Text, err)
		}
	}
	for _, v := range f.Invalid {
		if _, err := protocol.ParseEnrollToken(v.Text); !errors.Is(err, protocol.ErrEnrollToken) {
			t.Errorf("%s: %v", v.Name, err)
		}
	}
}

func TestKeys(t *testing.T) {
	f := load[keyFile](t, "keys.json")
	for _, v := range f.Valid {
		k, err := token.ParseCOSEKey(unhex(t, v.COSE))
		if err != nil {
			t.Fatalf("%s: %v", v.Name, err)
		}
		thumb := k.Thumbprint()
		if hexOf(thumb[:]) != v.Thumbprint || hexOf(k.COSEKID()) != v.KID || k.KID() != v.JKT || k.Alg().String() != v.Alg {
			t.Errorf("%s: other thumbprints", v.Name)
		}
	}
	for _, v := range f.Invalid {
		if _, err := token.ParseCOSEKey(unhex(t, v.COSE)); !errors.Is(err, token.ErrKey) {
			t.Errorf("%s: %v", v.Name, err)
		}
	}
}

func TestTokens(t *testing.T) {
	f := load[tokenFile](t, "tokens.json")
	set, err := token.ParseCOSEKeySet(unhex(t, f.COSEKeys))
	if err != nil {
		t.Fatal(err)
	}
	anchor, err := token.ParseCOSEKey(unhex(t, f.Anchor))
	if err != nil {
		t.Fatal(err)
	}
	try := func(form, class, text string) error {
		b, list := []byte(text), set
		if form == "cwt" {
			b = unhex(t, text)
		}
		if class == "keys" || class == "anchor" {
			list = []*token.Key{anchor}
		}
		return read(form, class, b, list)
	}
	for _, v := range f.Valid {
		if err := try(v.Form, v.Class, v.Token); err != nil {
			t.Errorf("%s: %v", v.Name, err)
		}
	}
	for _, v := range f.Invalid {
		if err := try(v.Form, v.Class, v.Token); err == nil || failureName(err) != v.Failure {
			t.Errorf("%s %s: %v, want %s", v.Form, v.Name, err, v.Failure)
		}
	}
}

func TestExchanges(t *testing.T) {
	f := load[exchangeFile](t, "exchanges.json")
	for _, x := range f.Exchanges {
		var said protocol.Transcript
		for _, s := range x.Steps {
			m, err := protocol.Decode(unhex(t, s.Hex))
			if err != nil {
				t.Fatalf("%s: %s: %v", x.Name, s.Message, err)
			}
			if g, ok := m.(*protocol.Grant); ok {
				openGrant(t, &x, &s, g, said)
				continue
			}
			if s.Secret != nil {
				openSecret(t, &x, s.Secret, said)
			}
			if said = said.Add(unhex(t, s.Added)); hexOf(said[:]) != s.Transcript {
				t.Errorf("%s: %s: another transcript", x.Name, s.Message)
			}
		}
	}
}

func openGrant(t *testing.T, x *exchanged, s *step, g *protocol.Grant, said protocol.Transcript) {
	t.Helper()
	plain, err := protocol.OpenGrant(private(t, x.Ephemeral), said, g.Sealed)
	if err != nil {
		t.Fatalf("%s: %v", x.Name, err)
	}
	body, err := protocol.DecodeGrantBody(plain)
	if err != nil || hexOf(plain) != s.Grant.Plain {
		t.Fatalf("%s: another grant: %v", x.Name, err)
	}
	claims, err := token.ParseCWT(body.ID, token.ID, lookup(publicKeys(t)))
	if err != nil || hexOf(claims.Nonce) != x.Nonce {
		t.Errorf("%s: ID token: %v", x.Name, err)
	}
	said[0] ^= 1
	if _, err := protocol.OpenGrant(private(t, x.Ephemeral), said, g.Sealed); !errors.Is(err, protocol.ErrSealed) {
		t.Errorf("%s: opens under another transcript: %v", x.Name, err)
	}
}

func openSecret(t *testing.T, x *exchanged, s *sealing, said protocol.Transcript) {
	t.Helper()
	plain, err := protocol.OpenAnswer(private(t, s.Recipient), said, unhex(t, s.Sealed))
	if err != nil || hexOf(plain) != s.Plain {
		t.Errorf("%s: secret: %v", x.Name, err)
	}
}

func private(t *testing.T, s string) *ecdh.PrivateKey {
	t.Helper()
	key, err := ecdh.X25519().NewPrivateKey(unhex(t, s))
	if err != nil {
		t.Fatal(err)
	}
	return key
}
