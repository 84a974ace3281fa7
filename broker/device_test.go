package broker_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/protocol/challenge"
	"github.com/signetd/signet/protocol/ident"
	"github.com/signetd/signet/protocol/ident/identtest"
)

// sound gives a device that is as it should be, with a key and a shared key.
func sound(t *testing.T) broker.Device {
	t.Helper()
	id := identtest.Device(t, "demo:lamp-1")
	return broker.Device{ID: id, Subject: ident.UUID{1}, Status: broker.StatusActive, Authenticators: []broker.Authenticator{key(1), shared(2)}}
}

func key(n byte) broker.Authenticator {
	return broker.Authenticator{ID: broker.KeyID{n}, Kind: challenge.Key, Key: []byte{n}}
}

func shared(n byte) broker.Authenticator {
	return broker.Authenticator{ID: broker.KeyID{n}, Kind: challenge.PSK, Sealed: []byte{n}}
}

// stating gives a device an attribute.
func stating(name, value string) func(*broker.Device) {
	return func(d *broker.Device) { d.Attributes = map[string]string{name: value} }
}

func TestDeviceValidate(t *testing.T) {
	for what, c := range map[string]struct {
		spoil func(*broker.Device)
		ok    bool
	}{
		"as it should be":       {func(*broker.Device) {}, true},
		"no authenticator":      {func(d *broker.Device) { d.Authenticators = nil }, true},
		"several of a kind":     {func(d *broker.Device) { d.Authenticators = append(d.Authenticators, key(3), shared(4)) }, true},
		"no name":               {func(d *broker.Device) { d.ID = ident.Device{} }, false},
		"no subject":            {func(d *broker.Device) { d.Subject = ident.UUID{} }, false},
		"no status":             {func(d *broker.Device) { d.Status = "" }, false},
		"unknown status":        {func(d *broker.Device) { d.Status = "Active" }, false},
		"authenticator sans id": {func(d *broker.Device) { d.Authenticators[1].ID = broker.KeyID{} }, false},
		"two of one id":         {func(d *broker.Device) { d.Authenticators[1].ID = broker.KeyID{1} }, false},
		"unknown kind":          {func(d *broker.Device) { d.Authenticators[0].Kind = "KEY" }, false},
		"kind without any":      {func(d *broker.Device) { d.Authenticators[0].Kind = challenge.Enroll }, false},
		"guessable with secret": {func(d *broker.Device) { d.Authenticators[1].Kind = challenge.TOTP }, true},
		"guessable with a key":  {func(d *broker.Device) { d.Authenticators[0].Kind = challenge.TOTP }, false},
		"key without key":       {func(d *broker.Device) { d.Authenticators[0].Key = nil }, false},
		"key with a secret":     {func(d *broker.Device) { d.Authenticators[0].Sealed = []byte{1} }, false},
		"psk without secret":    {func(d *broker.Device) { d.Authenticators[1].Sealed = nil }, false},
		"attributes and groups": {func(d *broker.Device) {
			d.Attributes, d.Groups = map[string]string{"site": "hall 3~", strings.Repeat("n", 64): strings.Repeat("v", 256), "none": ""}, []string{"pumps"}
		}, true},
		"attribute with ESC":     {stating("site", "\x1b[2J"), false},
		"attribute with newline": {stating("site", "a\nb"), false},
		"attribute with U+202E":  {stating("site", "\u202etxt.exe"), false},
		"attribute too long":     {stating("site", strings.Repeat("v", 257)), false},
		"attribute's name's ESC": {stating("\x1b[2J", "x"), false},
		"attribute without name": {stating("", "x"), false},
		"attribute's long name":  {stating(strings.Repeat("n", 65), "x"), false},
		"bad group":              {func(d *broker.Device) { d.Groups = []string{"Pumps"} }, false},
		"psk with a public half": {func(d *broker.Device) { d.Authenticators[1].Key = []byte{1} }, false},
	} {
		d := sound(t)
		c.spoil(&d)
		if err := d.Validate(); (err == nil) != c.ok || err != nil && !errors.Is(err, broker.ErrInvalid) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func TestDeviceKeys(t *testing.T) {
	d := sound(t)
	d.Authenticators = append(d.Authenticators, key(3))
	if got, want := d.PublicKeys(), []broker.KeyID{{1}, {3}}; !slices.Equal(got, want) {
		t.Errorf("public keys %v, want %v", got, want)
	}
	for n := range byte(5) {
		if got, want := d.Has(broker.KeyID{n}), n >= 1 && n <= 3; got != want {
			t.Errorf("has %d: %v", n, got)
		}
	}
}

func TestDeviceClone(t *testing.T) {
	d := sound(t)
	d.Attributes, d.Groups = map[string]string{"site": "north"}, []string{"pumps"}
	c := d.Clone()
	if diff := cmp.Diff(d, c, names); diff != "" {
		t.Fatal(diff)
	}
	c.Attributes["site"], c.Groups[0], c.Authenticators[0].Key[0], c.Authenticators[1].Sealed[0] = "x", "x", 'x', 'x'
	c.Authenticators[0].ID = broker.KeyID{9}
	want := sound(t)
	want.Attributes, want.Groups = map[string]string{"site": "north"}, []string{"pumps"}
	if diff := cmp.Diff(want, d, names); diff != "" {
		t.Errorf("written through the copy:\n%s", diff)
	}
	d = broker.Device{Attributes: map[string]string{}, Groups: []string{}, Authenticators: []broker.Authenticator{}}
	if diff := cmp.Diff(broker.Device{}, d.Clone(), names); diff != "" {
		t.Errorf("empty and nil differ:\n%s", diff)
	}
}
