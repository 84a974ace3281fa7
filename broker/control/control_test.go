package control_test

import (
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/broker/control"
	"github.com/signetd/signet/broker/control/controltest"
	"github.com/signetd/signet/broker/hook/target"
	"github.com/signetd/signet/broker/keyring"
	"github.com/signetd/signet/protocol"
	"github.com/signetd/signet/protocol/ident"
	"github.com/signetd/signet/protocol/ident/identtest"
	"github.com/signetd/signet/protocol/token"
)

func pool(t *testing.T, s string) ident.Pool {
	t.Helper()
	return identtest.Pool(t, s)
}

func device(t *testing.T, s string) ident.Device {
	t.Helper()
	return identtest.Device(t, s)
}

// world has the pool "demo".
func world(t *testing.T) *controltest.World {
	t.Helper()
	w := controltest.New(t)
	if _, err := w.CreatePool(t.Context(), by(), pool(t, "demo")); err != nil {
		t.Fatal(err)
	}
	return w
}

func want(t *testing.T, err, target error) {
	t.Helper()
	if !errors.Is(err, target) {
		t.Fatalf("got error %v, want %v", err, target)
	}
}

func TestPoolIsBornComplete(t *testing.T) {
	w, demo := world(t), pool(t, "demo")
	p, err := w.Pool(t.Context(), demo)
	want(t, err, nil)
	if p.Issuer != "https://signet.example:8443/pools/demo" || p.Flow != "default" {
		t.Errorf("got issuer %q, flow %q", p.Issuer, p.Flow)
	}
	anchor, err := control.Anchor(p)
	want(t, err, nil)
	der, err := w.Sealer.Open(broker.AnchorPurpose(p.Name), p.AnchorSealed)
	want(t, err, nil)
	private, err := x509.ParsePKCS8PrivateKey(der)
	want(t, err, nil)
	if !private.(ed25519.PrivateKey).Public().(ed25519.PublicKey).Equal(anchor.Public()) {
		t.Error("the sealed anchor is not the private half of the anchor")
	}
	keys, err := w.ListKeys(t.Context(), demo)
	want(t, err, nil)
	if len(keys) != 1 || keys[0].State != broker.KeyActive || keys[0].Alg != "ES256" {
		t.Errorf("got keys %+v, want one active ES256", keys)
	}
	if _, err := w.Store.Client(t.Context(), demo, broker.DefaultClient); err != nil {
		t.Error(err)
	}
	if f, err := w.Store.Flow(t.Context(), demo, p.Flow); err != nil || !cmp.Equal(f.Steps, []string{"key"}) {
		t.Errorf("got default flow %v, %v", f, err)
	}
	_, err = w.CreatePool(t.Context(), by(), demo)
	want(t, err, broker.ErrExists)
}

func TestDeviceKeyForms(t *testing.T) {
	ec, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	want(t, err, nil)
	edPub, edPriv, err := ed25519.GenerateKey(rand.Reader)
	want(t, err, nil)
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	want(t, err, nil)
	pemOf := func(typ string, der []byte, err error) string {
		want(t, err, nil)
		return string(pem.EncodeToMemory(&pem.Block{Type: typ, Bytes: der}))
	}
	pkix := func(pub any) string {
		der, err := x509.MarshalPKIXPublicKey(pub)
		return pemOf("PUBLIC KEY", der, err)
	}
	ecKey, err := token.NewKey(ec.Public())
	want(t, err, nil)
	edKey, err := token.NewKey(edPub)
	want(t, err, nil)
	rsaJWK, err := token.NewKey(rsaKey.Public())
	want(t, err, nil)
	private, err := x509.MarshalPKCS8PrivateKey(edPriv)
	secret := pemOf("PRIVATE KEY", private, err)
	for _, c := range []struct {
		name, text string
		want       *token.Key // nil: refused
	}{
		{"PEM P-256", pkix(ec.Public()), ecKey},
		{"PEM Ed25519", "\n" + pkix(edPub), edKey},
		{"JWK P-256", string(ecKey.MarshalJWK()), ecKey},
		{"JWK Ed25519", string(edKey.MarshalJWK()), edKey},
		{"COSE hex", hex.EncodeToString(ecKey.MarshalCOSE()), ecKey},
		{"COSE hex upper case", strings.ToUpper(hex.EncodeToString(edKey.MarshalCOSE())), edKey},
		{"empty", " ", nil},
		{"RSA", pkix(rsaKey.Public()), nil},
		{"private key", secret, nil},
		{"two blocks", pkix(edPub) + pkix(edPub), nil},
		{"damaged PEM", "-----BEGIN PUBLIC KEY-----\nAAAA", nil},
		{"private JWK", `{"kty":"OKP","crv":"Ed25519","x":"` + base64.RawURLEncoding.EncodeToString(edPub) + `","d":"AAAA"}`, nil},
		{"JWK for encryption", jwkWith(edKey, `"use":"enc"`), nil},
		{"JWK of another alg", jwkWith(edKey, `"alg":"ES256"`), nil},
		{"JWK that may not verify", jwkWith(edKey, `"key_ops":["sign"]`), nil},
		{"JWK with a long kid", jwkWith(edKey, `"kid":"`+strings.Repeat("k", token.MaxKID+1)+`"`), nil},
		{"JWK with a kid that is no text", jwkWith(edKey, `"kid":7`), nil},
		{"JWK with all of it right", jwkWith(edKey, `"use":"sig","alg":"EdDSA","key_ops":["verify"],"kid":"k","x5u":"passed over"`), edKey},
		{"JWK in padded base64", strings.Replace(jwkWith(edKey, `"kid":"k"`), `","kid"`, `=","kid"`, 1), nil},
		{"shared JWK", `{"kty":"oct","k":"AAAA"}`, nil},
		{"JWK RSA", string(rsaJWK.MarshalJWK()), nil},
		{"JWK with a member twice", `{"kty":"OKP","kty":"OKP","crv":"Ed25519","x":"` + base64.RawURLEncoding.EncodeToString(edPub) + `"}`, nil},
		{"point not on the curve", `{"kty":"EC","crv":"P-256","x":"` + strings.Repeat("A", 43) + `","y":"` + strings.Repeat("A", 43) + `"}`, nil},
		{"other curve", `{"kty":"EC","crv":"P-384","x":"AA","y":"AA"}`, nil},
		{"too long", strings.Repeat("a", 1<<14), nil},
		{"text", "hello", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := control.ParseDeviceKey(c.text)
			if c.want == nil {
				want(t, err, broker.ErrInvalid)
				if strings.Contains(err.Error(), "MC4") || strings.Contains(err.Error(), "AAAA") {
					t.Errorf("the error repeats the input: %v", err)
				}
				return
			}
			want(t, err, nil)
			if !got.Equal(c.want) {
				t.Error("another key came out")
			}
		})
	}
}

// jwkWith gives an Ed25519 key's JWK with more members.
func jwkWith(k *token.Key, more string) string {
	return fmt.Sprintf(`{"kty":"OKP","crv":"Ed25519","x":"%s",%s}`, base64.RawURLEncoding.EncodeToString(k.Public().(ed25519.PublicKey)), more)
}

func FuzzParseDeviceKey(f *testing.F) {
	for _, s := range []string{"", "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", `{"kty":"OKP","crv":"Ed25519","x":"AAAA"}`, "a301", "zz"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		k, err := control.ParseDeviceKey(s)
		if (k == nil) != errors.Is(err, broker.ErrInvalid) {
			t.Fatalf("key %v and error %v", k, err)
		}
	})
}

func TestDeviceLife(t *testing.T) {
	w, id, ctx := world(t), device(t, "demo:lamp-1"), t.Context()
	pub, _, err := ed25519.GenerateKey(rand.Reader)
	want(t, err, nil)
	key, err := token.NewKey(pub)
	want(t, err, nil)
	text := hex.EncodeToString(key.MarshalCOSE())
	_, err = w.CreateDevice(ctx, by(), control.NewDevice{ID: device(t, "none:lamp-1")})
	want(t, err, broker.ErrNotFound)
	d, err := w.CreateDevice(ctx, by(), control.NewDevice{ID: id, Key: text, Pending: true, Groups: []string{"lab"}})
	want(t, err, nil)
	if d.Status != broker.StatusPending || d.Subject[6]>>4 != 7 || !cmp.Equal(d.Authenticators[0].Key, key.MarshalCOSE()) {
		t.Errorf("got %+v", d)
	}
	_, err = w.CreateDevice(ctx, by(), control.NewDevice{ID: id})
	want(t, err, broker.ErrExists)
	_, err = w.CreateDevice(ctx, by(), control.NewDevice{ID: device(t, "demo:lamp-2"), Key: text})
	want(t, err, broker.ErrKeyBound)
	_, err = w.EnableDevice(ctx, by(), id)
	want(t, err, broker.ErrConflict)
	d, err = w.ApproveDevice(ctx, by(), id)
	want(t, err, nil)
	if d.Status != broker.StatusActive {
		t.Errorf("after approval: %s", d.Status)
	}
	_, err = w.UpdateDevice(ctx, by(), id, []string{"hall"}, nil)
	want(t, err, nil)
	_, err = w.UpdateDevice(ctx, by(), id, []string{"no group"}, nil)
	want(t, err, broker.ErrInvalid)
	w.Clock.Advance(time.Minute)
	d, err = w.DisableDevice(ctx, by(), id)
	want(t, err, nil)
	if d.Status != broker.StatusDisabled || !d.SessionsAfter.Equal(w.Clock.Now()) {
		t.Errorf("after disable: %+v", d)
	}
	_, err = w.EnableDevice(ctx, by(), id)
	want(t, err, nil)
	_, err = w.RevokeSessions(ctx, by(), id)
	want(t, err, nil)
	want(t, w.DeleteDevice(ctx, by(), id), nil)
	want(t, w.DeleteDevice(ctx, by(), id), broker.ErrNotFound)
}

func TestSharedKey(t *testing.T) {
	w, id := world(t), device(t, "demo:lamp-1")
	psk := strings.Repeat("k", 32)
	for _, bad := range []string{"", "!", hex.EncodeToString([]byte("short"))} {
		_, err := control.ParsePSK(bad)
		want(t, err, broker.ErrInvalid)
	}
	d, err := w.CreateDevice(t.Context(), by(), control.NewDevice{ID: id, PSK: base64.StdEncoding.EncodeToString([]byte(psk))})
	want(t, err, nil)
	got, err := w.Sealer.Open(broker.AuthenticatorPurpose(d.Authenticators[0].Kind, d.ID), d.Authenticators[0].Sealed)
	if err != nil || string(got) != psk {
		t.Errorf("got %q, %v", got, err)
	}
	again, err := w.CreateDevice(t.Context(), by(), control.NewDevice{ID: device(t, "demo:lamp-2"), PSK: hex.EncodeToString([]byte(psk))})
	want(t, err, nil)
	if a, b := d.Authenticators[0].ID, again.Authenticators[0].ID; a.IsZero() || a == b {
		t.Errorf("two devices' ids of one shared key: %v, %v; want two, which nobody can compare", a, b)
	}
	want(t, w.DeleteDevice(t.Context(), by(), id), nil)
	same, err := w.CreateDevice(t.Context(), by(), control.NewDevice{ID: id, PSK: hex.EncodeToString([]byte(psk))})
	want(t, err, nil)
	if a, b := d.Authenticators[0].ID, same.Authenticators[0].ID; a != b {
		t.Errorf("the same shared key has the ids %v, %v", a, b)
	}
}

// TestKeyIsKnownInAnyForm: a key has one id, whichever way an operator writes it.
func TestKeyIsKnownInAnyForm(t *testing.T) {
	w := world(t)
	pub, _, err := ed25519.GenerateKey(rand.Reader)
	want(t, err, nil)
	key, err := token.NewKey(pub)
	want(t, err, nil)
	der, err := x509.MarshalPKIXPublicKey(pub)
	want(t, err, nil)
	d, err := w.CreateDevice(t.Context(), by(), control.NewDevice{ID: device(t, "demo:lamp-1"), Key: hex.EncodeToString(key.MarshalCOSE())})
	want(t, err, nil)
	if d.Authenticators[0].ID != key.Thumbprint() {
		t.Errorf("id %v, want the key's thumbprint %x", d.Authenticators[0].ID, key.Thumbprint())
	}
	for i, text := range []string{
		hex.EncodeToString(append([]byte{0xa5, 1, 1, 2, 0x41, 9, 3, 0x27, 0x20, 6, 0x21, 0x58, 32}, pub...)), // with kid and alg
		`{"kid":"mine","kty":"OKP","crv":"Ed25519","x":"` + base64.RawURLEncoding.EncodeToString(pub) + `"}`,
		string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})),
	} {
		_, err := w.CreateDevice(t.Context(), by(), control.NewDevice{ID: device(t, fmt.Sprintf("demo:other-%d", i)), Key: text})
		want(t, err, broker.ErrKeyBound)
	}
}

func TestSessions(t *testing.T) {
	w, id, other := world(t), device(t, "demo:lamp-1"), device(t, "demo:lamp-2")
	for _, d := range []ident.Device{id, other} {
		_, err := w.CreateDevice(t.Context(), by(), control.NewDevice{ID: d})
		want(t, err, nil)
	}
	began := func(session ident.UUID, id ident.Device) {
		_, err := w.Store.RecordLogin(t.Context(), by(), broker.Login{Session: broker.Session{ID: session, Device: id, Created: w.Clock.Now()}})
		want(t, err, nil)
	}
	began(ident.UUID{1}, id)
	want(t, w.RevokeSession(t.Context(), by(), other, ident.UUID{1}), broker.ErrNotFound)
	want(t, w.RevokeSession(t.Context(), by(), id, ident.UUID{1}), nil)
	got, err := w.ListSessions(t.Context(), id)
	if err != nil || len(got) != 1 || !got[0].Revoked {
		t.Errorf("got %v, %v", got, err)
	}
	began(ident.UUID{2}, other)
	for _, revoked := range []bool{false, true} {
		if got, err := w.ListSessions(t.Context(), other); err != nil || len(got) != 1 || got[0].Revoked != revoked {
			t.Errorf("got %v, %v, want it revoked: %v", got, err, revoked)
		}
		_, err := w.RevokeSessions(t.Context(), by(), other)
		want(t, err, nil)
	}
}

func TestEnrollToken(t *testing.T) {
	w, demo := world(t), pool(t, "demo")
	rec, text, err := w.CreateEnrollToken(t.Context(), by(), control.NewEnrollToken{Pool: demo, Uses: 3, Groups: []string{"lab"}})
	want(t, err, nil)
	secret, err := protocol.ParseEnrollToken(text)
	want(t, err, nil)
	private, err := secret.Key()
	want(t, err, nil)
	p, err := w.Pool(t.Context(), demo)
	want(t, err, nil)
	anchor, err := control.Anchor(p)
	want(t, err, nil)
	thumb := anchor.Thumbprint()
	if rec.ID != hex.EncodeToString(secret.ID()) || !private.Public().(ed25519.PublicKey).Equal(ed25519.PublicKey(rec.Key)) ||
		!cmp.Equal(secret.Pin(), thumb[:protocol.PinLen]) || rec.Uses != 3 || rec.Expires.Sub(rec.Created) != broker.DefaultEnrollLife {
		t.Errorf("record %+v does not fit its token", rec)
	}
	for _, bad := range []control.NewEnrollToken{
		{Pool: demo, Uses: -1}, {Pool: demo, Life: time.Second}, {Pool: demo, Groups: []string{"NO"}},
		{Pool: demo, Attributes: map[string]string{"a": "\x00"}},
	} {
		_, _, err := w.CreateEnrollToken(t.Context(), by(), bad)
		want(t, err, broker.ErrInvalid)
	}
	want(t, w.EnrollTokens().Delete(t.Context(), by(), demo, rec.ID, nil, false), nil)
}

func TestFlowsNeedTheirHooks(t *testing.T) {
	w, demo, ctx := world(t), pool(t, "demo"), t.Context()
	flow := broker.Flow{Pool: demo, Name: "two", Steps: []string{"key", "hook:pin"}}
	_, err := controltest.PutFlow(ctx, w.Plane, by(), flow, true)
	want(t, err, broker.ErrInvalid)
	h, secret, err := controltest.CreateHook(ctx, w.Plane, by(), broker.Hook{Pool: demo, Name: "pin", URL: "https://hooks.example/pin"})
	want(t, err, nil)
	if got, err := w.Sealer.Open(broker.HookPurpose(h.Pool, h.Name), h.Sealed); err != nil || string(got) != secret || !strings.HasPrefix(secret, "whsec_") {
		t.Errorf("sealed secret: %v", err)
	}
	_, err = controltest.PutFlow(ctx, w.Plane, by(), flow, true)
	want(t, err, nil)
	_, err = controltest.PutFlow(ctx, w.Plane, by(), flow, true)
	want(t, err, broker.ErrExists)
	want(t, w.Hooks().Delete(ctx, by(), demo, "pin", nil, false), broker.ErrConflict)
	client := broker.Client{Pool: demo, ID: "app", Flow: "none"}
	_, err = controltest.PutClient(ctx, w.Plane, by(), client, true)
	want(t, err, broker.ErrInvalid)
	client.Flow = "two"
	_, err = controltest.PutClient(ctx, w.Plane, by(), client, false)
	want(t, err, broker.ErrNotFound)
	_, err = controltest.PutClient(ctx, w.Plane, by(), client, true)
	want(t, err, nil)
	want(t, w.Flows().Delete(ctx, by(), demo, "two", nil, false), broker.ErrConflict)
	want(t, w.Clients().Delete(ctx, by(), demo, "app", nil, false), nil)
	want(t, w.Flows().Delete(ctx, by(), demo, "two", nil, false), nil)
	want(t, w.Hooks().Delete(ctx, by(), demo, "pin", nil, false), nil)
	want(t, w.Flows().Delete(ctx, by(), demo, "default", nil, false), broker.ErrConflict)
	want(t, w.Clients().Delete(ctx, by(), demo, "default", nil, false), broker.ErrConflict)
}

func TestHookURLs(t *testing.T) {
	w, demo := world(t), pool(t, "demo")
	for _, bad := range []string{
		"", "/x", "http://hooks.example/", "ftp://hooks.example/", "file:///etc/passwd", "https://user:pw@hooks.example/",
		"https://localhost/", "https://a.localhost./", "https://127.0.0.1/", "https://[::1]/", "https://[::ffff:10.0.0.1]/",
		"https://169.254.169.254/latest", "https://192.168.1.1/", "https://0.0.0.0/", "https://[fe80::1]/", "https://hooks.example/#x",
	} {
		_, _, err := controltest.CreateHook(t.Context(), w.Plane, by(), broker.Hook{Pool: demo, Name: "h", URL: bad})
		if !errors.Is(err, broker.ErrInvalid) {
			t.Errorf("%s: got %v", bad, err)
		}
	}
}

// TestAllowedHookURLs: an allow-list allows what is in it and changes nothing else.
func TestAllowedHookURLs(t *testing.T) {
	w, demo := world(t), pool(t, "demo")
	w.HookTargets = target.New([]netip.Prefix{netip.MustParsePrefix("10.1.0.0/16")})
	for i, c := range []struct {
		url  string
		want error
	}{
		{"http://10.1.2.3:8080/", nil}, {"https://10.1.2.3/", nil}, {"https://hooks.example/", nil}, {"http://10.2.0.1/", broker.ErrInvalid},
		{"https://127.0.0.1/", broker.ErrInvalid}, {"http://hooks.example/", broker.ErrInvalid}, {"https://localhost/", broker.ErrInvalid},
	} {
		_, _, err := controltest.CreateHook(t.Context(), w.Plane, by(), broker.Hook{Pool: demo, Name: fmt.Sprint("h", i), URL: c.url})
		if !errors.Is(err, c.want) {
			t.Errorf("%s: got %v, want %v", c.url, err, c.want)
		}
	}
}

// TestChangesAtOnceAreInOrder: of two key statements a device can tell which is the newer,
// though the clock stood still, or was set back, between the changes that made them.
func TestChangesAtOnceAreInOrder(t *testing.T) {
	w, demo, ctx := world(t), pool(t, "demo"), t.Context()
	keys := keyring.New(w.Store, w.Sealer, nil)
	statement := func() *protocol.Statement {
		r, err := keys.Ring(ctx, demo)
		want(t, err, nil)
		anchor, err := token.ParseCOSEKey(r.Anchor)
		want(t, err, nil)
		s, err := protocol.DecodeStatement(r.Statement, anchor)
		want(t, err, nil)
		return s
	}
	before := statement()
	later := func(what string) {
		t.Helper()
		s := statement()
		if !before.Before(s) {
			t.Errorf("%s: the statement is of %v, the one before of %v", what, s.Issued, before.Issued)
		}
		before = s
	}
	var made []broker.SigningKey
	for _, back := range []time.Duration{0, -time.Hour} {
		w.Clock.Advance(back)
		k, err := w.RotateKey(ctx, by(), demo, token.EdDSA, true)
		want(t, err, nil)
		later("rotate and activate")
		made = append(made, k)
	}
	_, err := w.RotateKey(ctx, by(), demo, token.ES256, false)
	want(t, err, nil)
	later("rotate")
	_, err = w.RetireKey(ctx, by(), demo, made[0].ID, true)
	want(t, err, nil)
	later("retire a stolen key")
}

func TestKeyPhases(t *testing.T) {
	w, demo, ctx := world(t), pool(t, "demo"), t.Context()
	keys, err := w.ListKeys(ctx, demo)
	want(t, err, nil)
	first := keys[0].ID
	second, err := w.RotateKey(ctx, by(), demo, token.EdDSA, false)
	want(t, err, nil)
	_, err = w.RotateKey(ctx, by(), demo, token.ES256, false)
	want(t, err, broker.ErrConflict)
	_, err = w.RetireKey(ctx, by(), demo, first, true)
	want(t, err, broker.ErrConflict)
	w.Clock.Advance(90 * 24 * time.Hour) // it signed until now, however long ago it was made
	got, err := w.ActivateKey(ctx, by(), demo, second.ID)
	if err != nil || got.State != broker.KeyActive {
		t.Fatalf("got %v, %v", got.State, err)
	}
	_, err = w.ActivateKey(ctx, by(), demo, first)
	want(t, err, broker.ErrConflict)
	_, err = w.RetireKey(ctx, by(), demo, first, false)
	want(t, err, broker.ErrConflict)
	w.Clock.Advance(broker.MaxAccessLife + broker.KeySetLife - time.Second)
	_, err = w.RetireKey(ctx, by(), demo, first, false)
	want(t, err, broker.ErrConflict)
	w.Clock.Advance(time.Second + 2*time.Millisecond) // each of two changes at once is dated after the one before
	_, err = w.RetireKey(ctx, by(), demo, first, false)
	want(t, err, nil)
	_, err = w.RetireKey(ctx, by(), demo, first, false)
	want(t, err, broker.ErrNotFound)
	third, err := w.RotateKey(ctx, by(), demo, token.RS256, true)
	want(t, err, nil)
	keys, err = w.ListKeys(ctx, demo)
	want(t, err, nil)
	states := map[string]broker.KeyState{}
	for _, k := range keys {
		states[k.ID] = k.State
	}
	if diff := cmp.Diff(map[string]broker.KeyState{second.ID: broker.KeyVerifying, third.ID: broker.KeyActive}, states); diff != "" {
		t.Errorf("keys (-want +got):\n%s", diff)
	}
	gone, err := w.RetireKey(ctx, by(), demo, second.ID, true)
	if err != nil || gone.State != broker.KeyGone || gone.ID != second.ID {
		t.Errorf("retired: %s %s, %v", gone.ID, gone.State, err)
	}
	want(t, w.DeletePool(ctx, by(), demo, true), nil)
}

// TestKeyChangesAreInOrder: whatever is done to keys, and whatever the clock does,
// the latest change of a pool's keys does not go back.
func TestKeyChangesAreInOrder(t *testing.T) {
	w, demo, ctx := world(t), pool(t, "demo"), t.Context()
	var last time.Time
	latest := func(after string) {
		t.Helper()
		keys, err := w.ListKeys(ctx, demo)
		want(t, err, nil)
		var now time.Time
		for _, k := range keys {
			if k.Changed.After(now) {
				now = k.Changed
			}
		}
		if now.Before(last) {
			t.Errorf("after %s the latest change is %v, was %v", after, now, last)
		}
		last = now
	}
	for _, step := range []time.Duration{time.Hour, -24 * time.Hour, 48 * time.Hour, 0} {
		w.Clock.Advance(step)
		k, err := w.RotateKey(ctx, by(), demo, token.EdDSA, false)
		want(t, err, nil)
		latest("announcing")
		_, err = w.RetireKey(ctx, by(), demo, k.ID, false)
		want(t, err, nil)
		latest("taking the next key back")
		first, err := w.ListKeys(ctx, demo)
		want(t, err, nil)
		_, err = w.RotateKey(ctx, by(), demo, token.EdDSA, true)
		want(t, err, nil)
		latest("rotating at once")
		_, err = w.RetireKey(ctx, by(), demo, first[0].ID, true)
		want(t, err, nil)
		latest("retiring by force")
	}
}

// TestKeyIDsAreNoFlags: of 500 thumbprints some eight begin with "-", unless the
// key is drawn again.
func TestKeyIDsAreNoFlags(t *testing.T) {
	w, demo := world(t), pool(t, "demo")
	for range 500 {
		k, err := w.RotateKey(t.Context(), by(), demo, token.EdDSA, false)
		want(t, err, nil)
		if k.ID[0] == '-' {
			t.Fatalf("key id %s reads as a flag on a command line", k.ID)
		}
		_, err = w.RetireKey(t.Context(), by(), demo, k.ID, false)
		want(t, err, nil)
	}
}

func TestOperators(t *testing.T) {
	w, ctx := world(t), t.Context()
	o, secret, err := w.CreateOperator(ctx, by(), control.NewOperator{Name: "ada", Life: time.Hour, Scope: broker.OperatorAdmin})
	want(t, err, nil)
	if strings.Contains(string(o.Hash), secret) || len(secret) != 48 {
		t.Errorf("token of %d characters", len(secret))
	}
	_, _, err = w.CreateOperator(ctx, by(), control.NewOperator{Name: "ada", Scope: broker.OperatorAdmin})
	want(t, err, broker.ErrExists)
	got, err := w.Authenticate(ctx, secret)
	if err != nil || got.Name != "ada" {
		t.Errorf("got %q, %v", got.Name, err)
	}
	for _, bad := range []string{"", "sgnt_", secret + "A", "x" + secret[1:], secret[:47] + "*"} {
		_, err := w.Authenticate(ctx, bad)
		want(t, err, control.ErrUnauthorized)
	}
	w.Clock.Advance(time.Hour)
	_, err = w.Authenticate(ctx, secret)
	want(t, err, control.ErrUnauthorized)
}

func by() broker.By { return broker.By{Actor: "operator:ada", Request: "1"} }

// TestManyDevices: each of many comes in or is refused as it would be alone.
func TestManyDevices(t *testing.T) {
	w := world(t)
	pub, _, err := ed25519.GenerateKey(rand.Reader)
	want(t, err, nil)
	key, err := token.NewKey(pub)
	want(t, err, nil)
	text := hex.EncodeToString(key.MarshalCOSE())
	_, err = w.CreateDevice(t.Context(), by(), control.NewDevice{ID: device(t, "demo:there")})
	want(t, err, nil)
	cases := []struct {
		control.NewDevice
		err error
	}{
		{control.NewDevice{ID: device(t, "demo:z"), Groups: []string{"lab"}, Pending: true}, nil},
		{control.NewDevice{ID: device(t, "demo:there")}, broker.ErrExists},
		{control.NewDevice{ID: device(t, "demo:b"), Key: text}, broker.ErrKeyBound},
		{control.NewDevice{ID: device(t, "demo:a"), Key: text}, nil}, // whose name comes first
		{control.NewDevice{ID: device(t, "demo:bad"), Key: "zz"}, broker.ErrInvalid},
		{control.NewDevice{ID: device(t, "demo:bad"), Groups: []string{"no group"}}, broker.ErrInvalid},
		{control.NewDevice{ID: device(t, "none:one")}, broker.ErrNotFound},
		{control.NewDevice{ID: device(t, "demo:shared"), PSK: strings.Repeat("0a", 32)}, nil},
	}
	var all []control.NewDevice
	for _, c := range cases {
		all = append(all, c.NewDevice)
	}
	devs, errs := w.CreateDevices(t.Context(), by(), all)
	for i, c := range cases {
		want(t, errs[i], c.err)
		if c.err != nil {
			if !devs[i].ID.IsZero() {
				t.Errorf("%s: %+v although %v", c.ID, devs[i], errs[i])
			}
			continue
		}
		got, err := w.Device(t.Context(), c.ID)
		want(t, err, nil)
		if got.Subject != devs[i].Subject || got.Status != devs[i].Status || len(got.Authenticators) != len(devs[i].Authenticators) {
			t.Errorf("%s: stored %+v, told %+v", c.ID, got, devs[i])
		}
	}
	if devs[0].Status != broker.StatusPending || len(devs[3].Authenticators) != 1 || devs[3].Authenticators[0].ID != key.Thumbprint() {
		t.Errorf("%+v, %+v", devs[0], devs[3])
	}
}

// TestTheLastAdminStays: over the API nobody locks everybody out, nor by mistake himself, and
// operators who may not make others do not count; whoever has the machine may.
func TestTheLastAdminStays(t *testing.T) {
	w := world(t)
	ctx := t.Context()
	as := func(name string) broker.By { return broker.By{Actor: broker.OperatorActor(name)} }
	for _, name := range []string{"ada", "eve"} {
		if _, _, err := w.CreateOperator(ctx, by(), control.NewOperator{Name: name, Life: time.Hour, Scope: broker.OperatorAdmin}); err != nil {
			t.Fatal(err)
		}
	}
	demo := pool(t, "demo")
	for _, n := range []control.NewOperator{{Name: "bound", Scope: broker.OperatorAdmin, Pools: []ident.Pool{demo}}, {Name: "writer", Scope: broker.OperatorWrite}} {
		if _, _, err := w.CreateOperator(ctx, by(), n); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.DeleteOperator(ctx, as("ada"), "ada", false); !errors.Is(err, broker.ErrConflict) {
		t.Errorf("oneself: %v", err)
	}
	var wg sync.WaitGroup
	var gone atomic.Int64
	elsewhere, err := control.New(w.Config) // another process's, on the same store
	if err != nil {
		t.Fatal(err)
	}
	for who, at := range map[[2]string]*control.Plane{{"ada", "eve"}: w.Plane, {"eve", "ada"}: elsewhere} { // each the other, at once
		wg.Go(func() {
			if at.DeleteOperator(ctx, as(who[0]), who[1], true) == nil {
				gone.Add(1)
			}
		})
	}
	wg.Wait()
	left, err := w.ListOperators(ctx)
	if err != nil || gone.Load() != 1 || len(left) != 3 {
		t.Fatalf("%d deleted, %d left, %v", gone.Load(), len(left), err)
	}
	last := left[0].Name
	if last == "bound" {
		last = left[1].Name
	}
	if err := w.DeleteOperator(ctx, as(last), last, true); !errors.Is(err, broker.ErrConflict) {
		t.Errorf("the last one: %v", err)
	}
	for _, name := range []string{"bound", "writer"} {
		if err := w.DeleteOperator(ctx, as(last), name, false); err != nil {
			t.Errorf("one who is no admin of all: %v", err)
		}
	}
	if err := w.DeleteOperator(ctx, broker.By{Actor: broker.ActorLocal}, last, false); err != nil {
		t.Errorf("on the machine: %v", err)
	}
}
