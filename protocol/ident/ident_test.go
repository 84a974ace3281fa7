package ident_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/fxamacker/cbor/v2"

	"github.com/signetd/signet/protocol/ident"
)

func TestParsePool(t *testing.T) {
	for s, ok := range map[string]bool{
		"a": true, "demo": true, "a-1": true, "a--": true, strings.Repeat("a", 32): true,
		"": false, "1a": false, "-a": false, "A": false, "aB": false, "a_b": false, "a.b": false, "a:b": false, "a/b": false,
		"a\x00": false, "ä": false, " a": false, "a\n": false, strings.Repeat("a", 33): false,
	} {
		p, err := ident.ParsePool(s)
		if (err == nil) != ok || err != nil && !errors.Is(err, ident.ErrInvalid) {
			t.Errorf("%q: %v, want ok %v", s, err, ok)
		}
		if ok && p.String() != s || p.IsZero() == ok {
			t.Errorf("%q became %q", s, p)
		}
	}
}

func TestParseName(t *testing.T) {
	for s, ok := range map[string]bool{
		"a": true, "Z": true, "0": true, "_": true, ":": true, "-": true, "lamp-1": true, "AA:BB:CC": true, strings.Repeat("x", 128): true,
		"": false, "a/b": false, "a+": false, "#": false, "$a": false, "a.b": false, "a b": false, "a\x00": false, "ä": false, "a\n": false,
		strings.Repeat("x", 129): false,
	} {
		n, err := ident.ParseName(s)
		if (err == nil) != ok || err != nil && !errors.Is(err, ident.ErrInvalid) {
			t.Errorf("%q: %v, want ok %v", s, err, ok)
		}
		if ok && n.String() != s || n.IsZero() == ok {
			t.Errorf("%q became %q", s, n)
		}
	}
}

func TestParseDevice(t *testing.T) {
	for s, path := range map[string]string{
		"demo:lamp-1": "demo/lamp-1", "demo:a:b": "demo/a:b", "demo::": "demo/:",
		"": "", "demo": "", "demo:": "", ":lamp": "", "Demo:lamp": "", "demo:a/b": "", "demo/lamp": "",
	} {
		d, err := ident.ParseDevice(s)
		if (err == nil) != (path != "") || err != nil && !errors.Is(err, ident.ErrInvalid) {
			t.Errorf("%q: %v", s, err)
		}
		if err == nil && (d.String() != s || d.Path() != path) || d.IsZero() == (err == nil) {
			t.Errorf("%q became %q, path %q", s, d, d.Path())
		}
	}
}

func TestParseUUID(t *testing.T) {
	const good = "0190a5c8-7b3e-7c2d-9f00-0123456789ab"
	for s, ok := range map[string]bool{
		good: true, strings.ToUpper(good): true,
		"": false, good[1:]: false, good + "0": false, strings.ReplaceAll(good, "-", ""): false, strings.ReplaceAll(good, "-", "_"): false,
		"g" + good[1:]: false, "{" + good[1:35] + "}": false, strings.Repeat("-", 36): false,
	} {
		u, err := ident.ParseUUID(s)
		if (err == nil) != ok || err != nil && !errors.Is(err, ident.ErrInvalid) {
			t.Errorf("%q: %v, want ok %v", s, err, ok)
		}
		if ok && u.String() != good || u.IsZero() == ok {
			t.Errorf("%q became %s", s, u)
		}
	}
}

// all has one of each; as JSON and CBOR they are texts.
type all struct {
	Pool   ident.Pool   `json:"pool" cbor:"pool"`
	Name   ident.Name   `json:"name" cbor:"name"`
	Device ident.Device `json:"device" cbor:"-"`
	ID     ident.UUID   `json:"id" cbor:"-"`
}

func TestText(t *testing.T) {
	const text = `{"pool":"demo","name":"lamp-1","device":"demo:lamp-1","id":"0190a5c8-7b3e-7c2d-9f00-0123456789ab"}`
	var v all
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		t.Fatal(err)
	}
	if out, err := json.Marshal(v); err != nil || string(out) != text {
		t.Errorf("%s became %s, %v", text, out, err)
	}
	for _, bad := range []string{`{"pool":"Demo"}`, `{"name":"a/b"}`, `{"device":"demo"}`, `{"id":"x"}`, `{"pool":1}`} {
		if err := json.Unmarshal([]byte(bad), new(all)); err == nil {
			t.Errorf("%s: read", bad)
		}
	}
	if err := json.Unmarshal([]byte(`{"name":"a/b"}`), new(all)); !errors.Is(err, ident.ErrInvalid) {
		t.Errorf("%v, want ErrInvalid", err)
	}
}

func TestCBOR(t *testing.T) {
	for _, name := range []string{"a", strings.Repeat("x", 23), strings.Repeat("x", 24), strings.Repeat("x", 128)} {
		n, err := ident.ParseName(name)
		if err != nil {
			t.Fatal(err)
		}
		raw, err := cbor.Marshal(n)
		want, wantErr := cbor.Marshal(name)
		if err != nil || wantErr != nil || string(raw) != string(want) {
			t.Errorf("%q: %x, want %x: %v", name, raw, want, err)
		}
		var again ident.Name
		if err := cbor.Unmarshal(raw, &again); err != nil || again != n {
			t.Errorf("%q became %q: %v", name, again, err)
		}
	}
	for _, bad := range []string{"", "\x60", "\x41a", "\x61", "\x61aa", "\x78", "\x78\x01a", "\x79\x00\x01a", "\x01", "\xf6", "\x63a/b", "\x7f\x61a\xff"} {
		var n ident.Name
		if err := n.UnmarshalCBOR([]byte(bad)); !errors.Is(err, ident.ErrInvalid) {
			t.Errorf("%x: %v, want ErrInvalid", bad, err)
		}
		var p ident.Pool
		if err := p.UnmarshalCBOR([]byte(bad)); !errors.Is(err, ident.ErrInvalid) {
			t.Errorf("%x: %v, want ErrInvalid", bad, err)
		}
	}
}

// FuzzParse: what is accepted reads back as itself, in text and in CBOR, and holds
// nothing that means something in a topic.
func FuzzParse(f *testing.F) {
	for _, s := range []string{"demo", "demo:lamp-1", "a:b:c", "0190a5c8-7b3e-7c2d-9f00-0123456789ab", "a/#", "\x64demo", "$share/x"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if d, err := ident.ParseDevice(s); err == nil {
			if d.String() != s || strings.ContainsAny(d.Path()[len(d.Pool.String())+1:], "/+#$.\x00") {
				t.Fatalf("%q became %q", s, d)
			}
		}
		if p, err := ident.ParsePool(s); err == nil {
			var again ident.Pool
			raw, _ := p.MarshalCBOR()
			if again.UnmarshalCBOR(raw) != nil || again != p || p.String() != s {
				t.Fatalf("%q is not stable", s)
			}
		}
		if u, err := ident.ParseUUID(s); err == nil && !strings.EqualFold(u.String(), s) {
			t.Fatalf("%q became %s", s, u)
		}
		var n ident.Name
		if n.UnmarshalCBOR([]byte(s)) == nil {
			if raw, err := n.MarshalCBOR(); err != nil || string(raw) != s {
				t.Fatalf("%x became %x: %v", s, raw, err)
			}
		}
	})
}

// TestMessagesCountCharacters: people count characters, and see whole ones.
func TestMessagesCountCharacters(t *testing.T) {
	for name, want := range map[string]string{
		"lämp":                         `character 2 is 'ä'`,
		"la\u0308mp":                   `character 3 is '\u0308', a mark on the one before`,
		"日本":                           `character 1 is '日'`,
		"lamp\u202e":                   `character 5 is '\u202e'`,
		"a\xff":                        `character 2 is no UTF-8 (0xff)`,
		"ok-\u00e9\u00e9":              `character 4 is 'é'`,
		strings.Repeat("ä", 128):       `character 1 is 'ä'`,
		strings.Repeat("ä", 129):       "1 to 128 characters, got 129",
		strings.Repeat("a", 128) + ".": "1 to 128 characters, got 129",
	} {
		if _, err := ident.ParseName(name); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("name %q: %v, want %q", name, err, want)
		}
	}
	if got := ident.Character("äé!", 4); got != "3 is '!'" { // for texts that may have others before it
		t.Errorf("%q", got)
	}
	if _, err := ident.ParsePool("dömo"); err == nil || !strings.Contains(err.Error(), `character 2 is 'ö'`) {
		t.Errorf("pool: %v", err)
	}
}
