package ace_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"

	"github.com/signetd/signet/protocol/ace"
)

// TestOpening: a token and a proof, or a token alone (RFC 9431, sections 2.2.4.2.1 and 2.2.4.2.2).
func TestOpening(t *testing.T) {
	for _, x := range []struct{ in, token, proof string }{
		{"\x00\x01a", "a", ""}, {"\x00\x02abp", "ab", "p"}, {"\x00\x01a" + strings.Repeat("p", 512), "a", strings.Repeat("p", 512)},
		{"\x01\x00" + strings.Repeat("t", 256) + "proof", strings.Repeat("t", 256), "proof"},
	} {
		o, err := ace.ParseOpening([]byte(x.in))
		if err != nil || string(o.Token) != x.token || string(o.Proof) != x.proof || x.proof == "" && o.Proof != nil {
			t.Errorf("%q: %+v, %v", x.in, o, err)
		}
		if again, err := o.Append(nil); err != nil || string(again) != x.in {
			t.Errorf("%q: again %q, %v", x.in, again, err)
		}
	}
	for _, in := range []string{"", "\x00", "\x00\x00", "\x00\x00p", "\x00\x02a", "\xff\xffa", "\x00\x01a" + strings.Repeat("p", 513)} {
		if o, err := ace.ParseOpening([]byte(in)); !errors.Is(err, ace.ErrMalformed) {
			t.Errorf("%.20q: %+v, %v", in, o, err)
		}
	}
	for _, n := range []int{0, 1 << 16} {
		if _, err := (ace.Opening{Token: make([]byte, n)}).Append(nil); !errors.Is(err, ace.ErrMalformed) {
			t.Errorf("a token of %d bytes: %v", n, err)
		}
	}
}

// TestResponse: a nonce and a proof over both nonces, the server's first (section 2.2.4.2.2).
func TestResponse(t *testing.T) {
	r, err := ace.ParseResponse([]byte("client--proof"))
	if err != nil || string(r.Nonce[:]) != "client--" || string(r.Proof) != "proof" || string(r.Append(nil)) != "client--proof" {
		t.Fatalf("%+v, %v", r, err)
	}
	if got := r.Input([ace.NonceLen]byte([]byte("server--"))); string(got) != "server--client--" {
		t.Errorf("input %q", got)
	}
	for _, in := range []string{"", "nonce", "a nonce.", "a nonce." + strings.Repeat("p", 513)} {
		if _, err := ace.ParseResponse([]byte(in)); !errors.Is(err, ace.ErrMalformed) {
			t.Errorf("%.20q: %v", in, err)
		}
	}
}

// TestUserName: a token in base64url without padding (section 6.1), in one form only. No device is called so.
func TestUserName(t *testing.T) {
	token := []byte{0xd2, 0xff, 0xfe, 1}
	name := ace.UserName(token)
	if got, err := ace.ParseUserName(name); name != "ace0v_-AQ" || err != nil || !bytes.Equal(got, token) || !ace.IsUserName(name) {
		t.Errorf("%q: %x, %v", name, got, err)
	}
	for _, bad := range []string{"", "ace", "ac", "0v_-AQ", "ace0v/+AQ", "ace0v_-AQ==", "ace0v_-AR", "ace0v_\n-AQ", "ACE0v_-AQ"} {
		if got, err := ace.ParseUserName(bad); !errors.Is(err, ace.ErrMalformed) {
			t.Errorf("%q: %x, %v", bad, got, err)
		}
	}
	for _, device := range []string{"ace:lamp", "acetone:lamp-1", "demo:ace", "ace:lamp/2", "demo/ace", ""} {
		if ace.IsUserName(device) {
			t.Errorf("%q is taken for a token", device)
		}
	}
}

// FuzzACE: what reads is written as it was, and nothing panics.
func FuzzACE(f *testing.F) {
	for _, s := range []string{"", "\x00\x01a", "\x00\x01ap", "\x00\x05a", "\xff\xff", "client--proof", "ace0v_-AQ", "ace"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		if o, err := ace.ParseOpening(in); err == nil {
			if again, err := o.Append(nil); err != nil || !bytes.Equal(again, in) {
				t.Fatalf("%x, then %x, %v", in, again, err)
			}
		}
		if r, err := ace.ParseResponse(in); err == nil && !bytes.Equal(r.Append(nil), in) {
			t.Fatalf("%x, then %x", in, r.Append(nil))
		}
		if token, err := ace.ParseUserName(string(in)); err == nil && ace.UserName(token) != string(in) {
			t.Fatalf("%q, then %q", in, ace.UserName(token))
		}
	})
}
