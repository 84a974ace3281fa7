package broker_test

import (
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/protocol/ident"
)

var names = cmp.Options{cmp.AllowUnexported(ident.Pool{}, ident.Name{}), cmp.Comparer(func(a, b netip.Addr) bool { return a == b })}

// An enrollment as the tests have it: lamp-1 comes with key 9 and token "t".
func enrollment(t *testing.T) broker.Login {
	t.Helper()
	come := sound(t)
	come.Subject, come.Authenticators = ident.UUID{2}, []broker.Authenticator{key(9)}
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	return broker.Login{
		Session: broker.Session{ID: ident.UUID{7}, Device: come.ID, Created: now},
		Enroll:  &broker.Enrollment{Device: come, TokenID: "t", Now: now},
	}
}

func TestAdmit(t *testing.T) {
	l := enrollment(t)
	now := l.Enroll.Now
	usable := &broker.EnrollToken{ID: "t", Uses: 2, Expires: now.Add(1)}
	replaces := &broker.EnrollToken{ID: "t", Uses: 2, Expires: now.Add(1), Replace: true}
	there := func(change func(*broker.Device)) *broker.Device { // with keys 1 and 2
		d := sound(t)
		d.Rev, d.SessionsRev, d.SessionsAfter, d.Groups = 5, 2, now.Add(-time.Hour), []string{"g"}
		change(&d)
		return &d
	}
	as := func(s broker.Status) func(*broker.Device) { return func(d *broker.Device) { d.Status = s } }
	same := func(d *broker.Device) { d.Authenticators = append(d.Authenticators, key(9)) }
	same2 := func(s broker.Status) func(*broker.Device) { return func(d *broker.Device) { same(d); d.Status = s } }
	bare := func(d *broker.Device) { d.Authenticators = nil }
	plain := func(*broker.Device) {}
	waits := func(l *broker.Login) { l.Enroll.Device.Status = broker.StatusPending }
	noToken := func(l *broker.Login) { l.Enroll.TokenID = "" }
	changed := broker.Admission{Changed: true, CostsUse: true}
	replaced := broker.Admission{Changed: true, CostsUse: true, KeyReplaced: true}

	other, err := ident.ParseName("pump-1")
	if err != nil {
		t.Fatal(err)
	}
	from := func(addr string) func(*broker.Login) {
		return func(l *broker.Login) { l.Enroll.From = netip.MustParseAddr(addr) }
	}
	for _, c := range []struct {
		what  string
		old   *broker.Device
		token *broker.EnrollToken
		used  int
		come  func(*broker.Login)
		want  broker.Admission // but for Device
		err   error
	}{
		{what: "new with a token", token: usable, want: changed},
		{what: "new with another's token", token: &broker.EnrollToken{Uses: 2, Name: other}, err: broker.ErrNotFor},
		{what: "new from elsewhere", token: &broker.EnrollToken{Uses: 2, Networks: networks("192.0.2.0/24")}, come: from("198.51.100.1"), err: broker.ErrNotFor},
		{what: "new from nobody knows where", token: &broker.EnrollToken{Uses: 2, Networks: networks("0.0.0.0/0", "::/0")}, err: broker.ErrNotFor},
		{what: "new from where its token is for", token: &broker.EnrollToken{Uses: 2, Networks: networks("2001:db8::/32", "192.0.2.0/24")}, come: from("::ffff:192.0.2.7"), want: changed},
		{what: "new with the last use", token: usable, used: 1, want: changed},
		{what: "new without a token", come: noToken, err: broker.ErrNotFound},
		{what: "new with a token that is not there", err: broker.ErrNotFound},
		{what: "new at the token's end", token: &broker.EnrollToken{Uses: 2, Expires: now}, err: broker.ErrExpired},
		{what: "new with a token without end", token: &broker.EnrollToken{Uses: 2}, want: changed},
		{what: "new with no use left", token: usable, used: 2, err: broker.ErrExhausted},
		{what: "new that waits", token: usable, come: waits, want: changed},

		{what: "same key", old: there(same), token: usable},
		{what: "same key, token not there", old: there(same)},
		{what: "same key, token spent", old: there(same), token: usable, used: 2},
		{what: "same key, no token", old: there(same), come: noToken},
		{what: "same key, disabled", old: there(same2(broker.StatusDisabled)), token: replaces, err: broker.ErrInactive},
		{what: "same key, quarantined", old: there(same2(broker.StatusQuarantined)), token: replaces, err: broker.ErrInactive},
		{what: "same key, pending", old: there(same2(broker.StatusPending)), token: replaces, err: broker.ErrInactive},

		{what: "other key", old: there(plain), token: usable, err: broker.ErrKeyBound},
		{what: "other key, no token", old: there(plain), come: noToken, err: broker.ErrKeyBound},
		{what: "other key, token not there", old: there(plain), err: broker.ErrNotFound},
		{what: "other key, token that replaces", old: there(plain), token: replaces, want: replaced},
		{what: "other key, token that replaced already", old: there(plain), token: replaces, used: 2, err: broker.ErrExhausted},
		{what: "other key, another's token that replaces", old: there(plain), token: &broker.EnrollToken{Uses: 2, Replace: true, Name: other}, err: broker.ErrNotFor},
		{what: "other key, token for other names", old: there(plain), token: &broker.EnrollToken{Uses: 2, Replace: true, NamePattern: "pump-*"}, err: broker.ErrNotFor},
		{what: "same key, another's token", old: there(same), token: &broker.EnrollToken{Uses: 2, Replace: true, Name: other}},
		{what: "other key, disabled", old: there(as(broker.StatusDisabled)), token: replaces, err: broker.ErrInactive},
		{what: "other key, quarantined", old: there(as(broker.StatusQuarantined)), token: replaces, err: broker.ErrInactive},
		{what: "other key, disabled, no token", old: there(as(broker.StatusDisabled)), come: noToken, err: broker.ErrInactive},
		{what: "other key, pending", old: there(as(broker.StatusPending)), token: replaces, want: replaced},
		{what: "other key, comes to wait", old: there(plain), token: replaces, come: waits, want: replaced},
		{what: "first key", old: there(bare), token: usable, want: changed},
		{what: "first key, no token", old: there(bare), come: noToken, err: broker.ErrKeyBound},
	} {
		t.Run(c.what, func(t *testing.T) {
			l := enrollment(t)
			if c.come != nil {
				c.come(&l)
			}
			before := enrollment(t)
			if c.come != nil {
				c.come(&before)
			}
			var was *broker.Device
			if c.old != nil {
				d := *c.old
				was = &d
			}
			got, err := broker.Admit(c.old, &l, c.token, c.used)
			if !errors.Is(err, c.err) || (err == nil) != (c.err == nil) {
				t.Fatalf("%v, want %v", err, c.err)
			}
			if diff := cmp.Diff(before, l, names); diff != "" {
				t.Errorf("the login changed:\n%s", diff)
			}
			if diff := cmp.Diff(was, c.old, names); diff != "" {
				t.Errorf("what is there changed:\n%s", diff)
			}
			c.want.Device = admitted(c.old, &l, c.want, err)
			if diff := cmp.Diff(c.want, got, names); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

// admitted is the device that the admission a, but for its Device, must have.
func admitted(old *broker.Device, l *broker.Login, a broker.Admission, err error) broker.Device {
	switch {
	case err != nil && !errors.Is(err, broker.ErrInactive):
		return broker.Device{}
	case !a.Changed:
		return *old
	case old == nil:
		d := l.Enroll.Device
		d.Rev = 1
		return d
	}
	d := *old
	d.Rev, d.Authenticators, d.Updated = 6, []broker.Authenticator{key(9)}, l.Enroll.Now
	if l.Enroll.Device.Status == broker.StatusPending {
		d.Status = broker.StatusPending
	}
	if a.KeyReplaced {
		d.SessionsRev, d.SessionsAfter = 6, l.Session.Created.Add(-1)
	}
	return d
}

// TestAdmissionEndsOldSessions: all that the old key began is over, by whatever
// clock; the enrollment's own session is not.
func TestAdmissionEndsOldSessions(t *testing.T) {
	l := enrollment(t)
	token := &broker.EnrollToken{ID: "t", Uses: 1, Replace: true}
	for _, before := range []time.Time{{}, l.Session.Created.Add(-time.Hour), l.Session.Created.Add(time.Hour)} {
		old := sound(t)
		old.Rev, old.SessionsAfter = 5, before
		a, err := broker.Admit(&old, &l, token, 0)
		if err != nil {
			t.Fatal(err)
		}
		earlier := broker.Session{Created: a.Device.SessionsAfter.Add(time.Hour), DeviceRev: 5}
		if !earlier.Ended(&a.Device) {
			t.Error("a session of the old key lives on")
		}
		own := l.Session
		own.DeviceRev = a.Device.Rev
		if own.Ended(&a.Device) {
			t.Errorf("sessions were ended at %v before: the enrollment's own has ended, too", before)
		}
	}
}

// TestPending: who is written and is not active waits.
func TestPending(t *testing.T) {
	l := enrollment(t)
	token := &broker.EnrollToken{ID: "t", Uses: 1}
	if a, err := broker.Admit(nil, &l, token, 0); err != nil || a.Pending() {
		t.Errorf("%+v, %v", a, err)
	}
	l.Enroll.Device.Status = broker.StatusPending
	a, err := broker.Admit(nil, &l, token, 0)
	if err != nil || !a.Pending() {
		t.Errorf("%+v, %v", a, err)
	}
	if again, err := broker.Admit(&a.Device, &l, token, 1); !errors.Is(err, broker.ErrInactive) || again.Pending() {
		t.Errorf("%+v, %v", again, err)
	}
}

func TestTokenBecomes(t *testing.T) {
	old := broker.EnrollToken{ID: "t", Key: []byte{1}, Uses: 1}
	for want, change := range map[error]func(*broker.EnrollToken){
		nil:               func(n *broker.EnrollToken) { n.Uses, n.Expires = 9, time.Now() },
		broker.ErrInvalid: func(n *broker.EnrollToken) { n.Key = []byte{2} },
	} {
		next := old
		change(&next)
		if err := old.Becomes(&next); !errors.Is(err, want) {
			t.Errorf("%v, want %v", err, want)
		}
	}
}

func networks(texts ...string) (out []netip.Prefix) {
	for _, s := range texts {
		out = append(out, netip.MustParsePrefix(s))
	}
	return out
}

// TestEnrollTokenIsForSome: a token that may replace keys is for one name or a pattern, and
// what a pattern fits is what it says.
func TestEnrollTokenIsForSome(t *testing.T) {
	name := func(s string) ident.Name {
		n, err := ident.ParseName(s)
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	token := func(change func(*broker.EnrollToken)) error {
		x := broker.EnrollToken{ID: "0a", Uses: 1}
		change(&x)
		return x.Validate()
	}
	for what, c := range map[string]struct {
		change func(*broker.EnrollToken)
		ok     bool
	}{
		"replaces anybody's":      {func(x *broker.EnrollToken) { x.Replace = true }, false},
		"replaces from a network": {func(x *broker.EnrollToken) { x.Replace, x.Networks = true, networks("192.0.2.0/24") }, false},
		"replaces one's":          {func(x *broker.EnrollToken) { x.Replace, x.Name = true, name("lamp-1") }, true},
		"replaces those that fit": {func(x *broker.EnrollToken) { x.Replace, x.NamePattern = true, "lamp-*" }, true},
		"both":                    {func(x *broker.EnrollToken) { x.Name, x.NamePattern = name("lamp-1"), "lamp-*" }, false},
		"fits all":                {func(x *broker.EnrollToken) { x.NamePattern = "*" }, false},
		"fits all, too":           {func(x *broker.EnrollToken) { x.NamePattern = "?*" }, false},
		"no name's characters":    {func(x *broker.EnrollToken) { x.NamePattern = "lamp/*" }, false},
		"classes":                 {func(x *broker.EnrollToken) { x.NamePattern = "lamp-[12]" }, false},
		"longer than any name":    {func(x *broker.EnrollToken) { x.NamePattern = strings.Repeat("a", ident.MaxNameLen+1) }, false},
		"bits of a host":          {func(x *broker.EnrollToken) { x.Networks = networks("192.0.2.7/24") }, false},
		"IPv4 in IPv6": {func(x *broker.EnrollToken) {
			x.Networks = []netip.Prefix{netip.PrefixFrom(netip.MustParseAddr("::ffff:192.0.2.0"), 120)}
		}, false},
		"17 networks": {func(x *broker.EnrollToken) {
			x.Networks = networks(strings.Fields(strings.Repeat("192.0.2.0/24 ", 17))...)
		}, false},
		"networks of any name": {func(x *broker.EnrollToken) { x.Networks = networks("192.0.2.0/24", "2001:db8::/32") }, true},
	} {
		if err := token(c.change); (err == nil) != c.ok {
			t.Errorf("%s: %v", what, err)
		}
	}
	for _, c := range []struct {
		pattern, name string
		fits          bool
	}{
		{"lamp-*", "lamp-", true}, {"lamp-*", "lamp-1", true}, {"lamp-*", "Lamp-1", false}, {"lamp-*", "xlamp-1", false}, {"lamp-?", "lamp-", false},
		{"lamp-?", "lamp-12", false}, {"*-1", "lamp-1", true}, {"*-1", "lamp-1-1", true}, {"*-1", "lamp-12", false}, {"a*b*c", "abcbc", true},
		{"a*b*c", "acb", false}, {"lamp", "lamp", true}, {"lamp", "lamp1", false}, {"a**", "a", true},
		{strings.Repeat("a*", 60) + "b", strings.Repeat("a", 128), false},
	} {
		x := broker.EnrollToken{NamePattern: c.pattern}
		if got := x.For(name(c.name), netip.Addr{}) == nil; got != c.fits {
			t.Errorf("%s fits %s: %v", c.name, c.pattern, got)
		}
	}
	x := broker.EnrollToken{ID: "0a", Name: name("lamp-1")}
	if err := x.For(name("lamp-1"), netip.Addr{}); err != nil {
		t.Errorf("its own device: %v", err)
	}
	if err := x.For(name("lamp-2"), netip.Addr{}); !errors.Is(err, broker.ErrNotFor) {
		t.Errorf("another device: %v", err)
	}
	x = broker.EnrollToken{ID: "0a", Networks: networks("192.0.2.0/24")}
	for from, ok := range map[netip.Addr]bool{{}: false, netip.MustParseAddr("192.0.2.7"): true, netip.MustParseAddr("::ffff:192.0.2.7"): true, netip.MustParseAddr("192.0.3.7"): false} {
		if err := x.For(name("lamp-1"), from); (err == nil) != ok || err != nil && !errors.Is(err, broker.ErrNotFor) {
			t.Errorf("from %v: %v", from, err)
		}
	}
}
