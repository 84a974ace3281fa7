package broker_test

import (
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/protocol/ident"
)

var names = cmp.AllowUnexported(ident.Pool{}, ident.Name{})

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
