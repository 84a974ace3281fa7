package storetest

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/protocol/ident"
)

var errStop = errors.New("the caller says no")

func poolTests() []test {
	return []test{
		{"a pool comes back as it was", func(e *env) {
			want := broker.Pool{Name: e.pool("a"), Issuer: "https://x/pools/a", Flow: "main", Created: start(),
				Anchor: []byte{1}, AnchorSealed: []byte{2}, AnswerSealed: []byte{3}}
			e.ok(e.CreatePool(e.ctx, by(), want, nil, nil, nil))
			got, err := e.Pool(e.ctx, want.Name)
			e.ok(err)
			e.same(want, got)
		}},
		{"with its first keys, clients and flows", func(e *env) {
			k, c, f := signingKey(e, "a", "k1"), client(e, "a", "app"), flow(e, "a", "main")
			e.ok(e.CreatePool(e.ctx, by(), broker.Pool{Name: e.pool("a")}, []broker.SigningKey{k}, []broker.Client{c}, []broker.Flow{f}))
			keys, err := e.ListSigningKeys(e.ctx, e.pool("a"))
			e.ok(err)
			e.same([]broker.SigningKey{k}, keys)
			gotC, err := e.Client(e.ctx, e.pool("a"), "app")
			e.ok(err)
			e.same(c, gotC)
			gotF, err := e.Flow(e.ctx, e.pool("a"), "main")
			e.ok(err)
			e.same(f, gotF)
		}},
		{"exists", func(e *env) {
			e.addPool("a")
			e.wants(broker.ErrExists, e.CreatePool(e.ctx, by(), broker.Pool{Name: e.pool("a"), Flow: "other"}, nil, nil, nil))
			p, err := e.Pool(e.ctx, e.pool("a"))
			e.ok(err)
			e.same("", p.Flow)
		}},
		{"invalid parts make no pool", func(e *env) {
			bad := client(e, "a", "app")
			bad.AccessLife = time.Second
			e.wants(broker.ErrInvalid, e.CreatePool(e.ctx, by(), broker.Pool{Name: e.pool("a")}, nil, []broker.Client{bad}, nil))
			other := flow(e, "b", "main")
			e.wants(broker.ErrInvalid, e.CreatePool(e.ctx, by(), broker.Pool{Name: e.pool("a")}, nil, nil, []broker.Flow{other}))
			_, err := e.Pool(e.ctx, e.pool("a"))
			e.wants(broker.ErrNotFound, err)
		}},
		{"missing", func(e *env) {
			_, err := e.Pool(e.ctx, e.pool("a"))
			e.wants(broker.ErrNotFound, err)
			e.wants(broker.ErrNotFound, e.DeletePool(e.ctx, by(), e.pool("a")))
		}},
		{"list in order of names", func(e *env) {
			for _, n := range []string{"b", "c", "a"} {
				e.addPool(n)
			}
			all, err := e.ListPools(e.ctx)
			e.ok(err)
			var names []string
			for _, p := range all {
				names = append(names, p.Name.String())
			}
			e.same([]string{"a", "b", "c"}, names)
		}},
		{"update changes the flow and nothing else", updatedPool},
		{"delete takes all that is in it", deletedPool},
		{"nothing in a missing pool", missingPool},
		{"an enrolment token's uses change, its key never", updatedToken},
	}
}

func updatedPool(e *env) {
	e.addPool("a")
	name := e.pool("a")
	got, err := e.UpdatePool(e.ctx, by(), name, func(p *broker.Pool) error { p.Flow = "two"; return nil })
	e.ok(err)
	e.same("two", got.Flow)
	stored, err := e.Pool(e.ctx, name)
	e.ok(err)
	e.same(got, stored)
	for _, change := range []func(*broker.Pool){
		func(p *broker.Pool) { p.Name = e.pool("b") }, func(p *broker.Pool) { p.Issuer += "x" },
		func(p *broker.Pool) { p.Anchor = []byte{1} }, func(p *broker.Pool) { p.AnswerSealed = []byte{1} },
	} {
		_, err := e.UpdatePool(e.ctx, by(), name, func(p *broker.Pool) error { change(p); return nil })
		e.wants(broker.ErrInvalid, err)
	}
	_, err = e.UpdatePool(e.ctx, by(), name, func(p *broker.Pool) error { p.Flow = "three"; return broker.ErrConflict })
	e.wants(broker.ErrConflict, err)
	stored, err = e.Pool(e.ctx, name)
	e.ok(err)
	e.same("two", stored.Flow)
	_, err = e.UpdatePool(e.ctx, by(), e.pool("none"), func(*broker.Pool) error { return nil })
	e.wants(broker.ErrNotFound, err)
}

func updatedToken(e *env) {
	e.addPool("a")
	tok := e.addToken("a", 1, nil)
	got, err := e.UpdateEnrolToken(e.ctx, by(), tok.Pool, tok.ID, func(t *broker.EnrolToken) error { t.Uses = 7; return nil })
	e.ok(err)
	e.same(7, got.Uses)
	stored, err := e.EnrolToken(e.ctx, tok.Pool, tok.ID)
	e.ok(err)
	e.same(got, stored)
	for _, change := range []func(*broker.EnrolToken){
		func(t *broker.EnrolToken) { t.ID = "00" }, func(t *broker.EnrolToken) { t.Key = []byte{9} },
	} {
		_, err := e.UpdateEnrolToken(e.ctx, by(), tok.Pool, tok.ID, func(t *broker.EnrolToken) error { change(t); return nil })
		e.wants(broker.ErrInvalid, err)
	}
	_, err = e.UpdateEnrolToken(e.ctx, by(), tok.Pool, "none", func(*broker.EnrolToken) error { return nil })
	e.wants(broker.ErrNotFound, err)
}

func deletedPool(e *env) {
	e.addPool("a")
	e.addPool("b")
	d := e.addDevice("a", "one")
	e.addDevice("b", "one")
	l := e.login(d)
	e.record(l)
	tok := e.addToken("a", 1, nil)
	e.ok(e.PutClient(e.ctx, by(), client(e, "a", "app")))
	e.ok(e.DeletePool(e.ctx, by(), e.pool("a")))
	e.stored(e.id("b", "one"))

	e.addPool("a") // the name may be used again, and inherits nothing
	_, err := e.Device(e.ctx, d.ID)
	e.wants(broker.ErrNotFound, err)
	_, err = e.EnrolToken(e.ctx, tok.Pool, tok.ID)
	e.wants(broker.ErrNotFound, err)
	_, err = e.Client(e.ctx, e.pool("a"), "app")
	e.wants(broker.ErrNotFound, err)
	_, err = e.Session(e.ctx, l.Session.ID)
	e.wants(broker.ErrNotFound, err)
	e.addDevice("a", "one") // its key is free, too
	_, err = e.Session(e.ctx, l.Session.ID)
	e.wants(broker.ErrNotFound, err)
	all, err := e.ListSessions(e.ctx, d.ID)
	e.ok(err)
	e.same(0, len(all))
}

func missingPool(e *env) {
	d := e.device("a", "one")
	e.wants(broker.ErrNotFound, e.CreateDevice(e.ctx, by(), d))
	_, err := e.RecordLogin(e.ctx, by(), e.login(d))
	e.wants(broker.ErrNotFound, err)
	_, err = e.RecordLogin(e.ctx, by(), e.enrolment(d, "00"))
	e.wants(broker.ErrNotFound, err)
	e.wants(broker.ErrNotFound, e.PutClient(e.ctx, by(), client(e, "a", "app")))
	e.wants(broker.ErrNotFound, e.PutFlow(e.ctx, by(), flow(e, "a", "main")))
	e.wants(broker.ErrNotFound, e.PutHook(e.ctx, by(), hook(e, "a", "hook")))
	e.wants(broker.ErrNotFound, e.CreateEnrolToken(e.ctx, by(), broker.EnrolToken{Pool: e.pool("a"), ID: "00", Uses: 1}))
	e.wants(broker.ErrNotFound, e.ChangeSigningKeys(e.ctx, by(), e.pool("a"), func(k []broker.SigningKey) ([]broker.SigningKey, error) { return k, nil }))
	_, err = e.ListDevices(e.ctx, e.pool("a"), "", 10)
	e.wants(broker.ErrNotFound, err)
}

func deviceTests() []test {
	return []test{
		{"comes back as it was, with a revision", func(e *env) {
			e.addPool("a")
			want := e.device("a", "one")
			want.SessionsAfter, want.SessionsRev = start().Add(time.Nanosecond), 3
			want.Authenticators = append(want.Authenticators, sharedKey([]byte{4}))
			e.ok(e.CreateDevice(e.ctx, by(), want))
			got := e.stored(want.ID)
			if got.Rev == 0 {
				e.Fatal("no revision")
			}
			want.Rev = got.Rev
			e.same(want, got)
		}},
		{"each status comes back", func(e *env) {
			e.addPool("a")
			d := e.addDevice("a", "one")
			for _, s := range []broker.Status{broker.StatusPending, broker.StatusDisabled, broker.StatusQuarantined, broker.StatusActive} {
				e.setStatus(d.ID, s)
				e.same(s, e.stored(d.ID).Status)
			}
		}},
		{"what goes in and out is the caller's", func(e *env) {
			e.addPool("a")
			d := e.device("a", "one")
			e.ok(e.CreateDevice(e.ctx, by(), d))
			d.Attributes["site"], d.Groups[0], d.Authenticators[0].Key[0] = "changed", "changed", 'X'
			got := e.stored(d.ID)
			got.Attributes["site"], got.Groups[0], got.Authenticators[0].Key[0] = "changed", "changed", 'X'
			again := e.stored(d.ID)
			e.same([]any{"north", "pumps", byte('k')}, []any{again.Attributes["site"], again.Groups[0], again.Authenticators[0].Key[0]})
		}},
		{"invalid", func(e *env) {
			e.addPool("a")
			d := e.device("a", "one")
			d.Status = "sleepy"
			e.wants(broker.ErrInvalid, e.CreateDevice(e.ctx, by(), d))
			d = e.device("a", "one")
			d.Subject = ident.UUID{}
			e.wants(broker.ErrInvalid, e.CreateDevice(e.ctx, by(), d))
			d = e.device("a", "one")
			d.Authenticators[0].ID = broker.KeyID{}
			e.wants(broker.ErrInvalid, e.CreateDevice(e.ctx, by(), d))
			d = e.device("a", "one")
			d.Authenticators = append(d.Authenticators, d.Authenticators[0])
			e.wants(broker.ErrInvalid, e.CreateDevice(e.ctx, by(), d))
		}},
		{"missing", func(e *env) {
			e.addPool("a")
			_, err := e.Device(e.ctx, e.id("a", "one"))
			e.wants(broker.ErrNotFound, err)
			_, err = e.UpdateDevice(e.ctx, by(), e.id("a", "one"), func(*broker.Device) error { return nil })
			e.wants(broker.ErrNotFound, err)
			e.wants(broker.ErrNotFound, e.DeleteDevice(e.ctx, by(), e.id("a", "one")))
		}},
		{"pages", pages},
		{"pools are apart", func(e *env) {
			e.addPool("a")
			e.addPool("a-b")
			d := e.addDevice("a", "one")
			_, err := e.Device(e.ctx, e.id("a-b", "one"))
			e.wants(broker.ErrNotFound, err)
			all, err := e.ListDevices(e.ctx, e.pool("a-b"), "", 1000)
			e.ok(err)
			e.same(0, len(all))
			e.stored(d.ID)
		}},
	}
}

// deviceKeyTests: what keeps devices apart.
func deviceKeyTests() []test {
	return []test{
		{"exists by name", func(e *env) {
			e.addPool("a")
			e.addDevice("a", "one")
			d := e.device("a", "one")
			d.Authenticators[0] = publicKey("another", start())
			e.wants(broker.ErrExists, e.CreateDevice(e.ctx, by(), d))
			e.same([]byte("key of a:one"), e.stored(d.ID).Authenticators[0].Key)
		}},
		{"key bound in its pool only", func(e *env) {
			e.addPool("a")
			e.addPool("b")
			one := e.addDevice("a", "one")
			two := e.device("a", "two")
			two.Authenticators = one.Authenticators
			e.wants(broker.ErrKeyBound, e.CreateDevice(e.ctx, by(), two))
			_, err := e.Device(e.ctx, two.ID)
			e.wants(broker.ErrNotFound, err)
			other := e.device("b", "two")
			other.Authenticators = one.Authenticators
			e.ok(e.CreateDevice(e.ctx, by(), other))
		}},
		{"a key is told by its id, whatever else is kept of it", keyBoundByID},
		{"two devices may share a sealed psk", func(e *env) {
			e.addPool("a")
			for _, n := range []string{"one", "two"} {
				d := e.device("a", n)
				d.Authenticators = []broker.Authenticator{sharedKey([]byte("same"))}
				e.ok(e.CreateDevice(e.ctx, by(), d))
			}
		}},
		{"several keys, each bound", severalKeys},
		{"update frees and takes keys", updateKeys},
	}
}

func deviceChangeTests() []test {
	return []test{
		{"update", updateDevice},
		{"update may fail", func(e *env) {
			e.addPool("a")
			d := e.addDevice("a", "one")
			_, err := e.UpdateDevice(e.ctx, by(), d.ID, func(d *broker.Device) error { d.Groups = nil; return errStop })
			e.wants(errStop, err)
			e.same(d, e.stored(d.ID))
		}},
		{"update keeps name and subject", func(e *env) {
			e.addPool("a")
			d := e.addDevice("a", "one")
			_, err := e.UpdateDevice(e.ctx, by(), d.ID, func(d *broker.Device) error { d.ID = e.id("a", "two"); return nil })
			e.wants(broker.ErrInvalid, err)
			_, err = e.UpdateDevice(e.ctx, by(), d.ID, func(d *broker.Device) error { d.Subject = e.uuid(); return nil })
			e.wants(broker.ErrInvalid, err)
			e.same(d, e.stored(d.ID))
		}},
		{"delete", func(e *env) {
			e.addPool("a")
			d := e.addDevice("a", "one")
			l := e.login(d)
			e.record(l)
			e.ok(e.DeleteDevice(e.ctx, by(), d.ID))
			_, err := e.Device(e.ctx, d.ID)
			e.wants(broker.ErrNotFound, err)
			_, err = e.Session(e.ctx, l.Session.ID)
			e.wants(broker.ErrNotFound, err)
			_, err = e.ListSessions(e.ctx, d.ID)
			e.wants(broker.ErrNotFound, err)
			e.addDevice("a", "one") // name and key are free; the sessions were another's
			_, err = e.Session(e.ctx, l.Session.ID)
			e.wants(broker.ErrNotFound, err)
		}},
	}
}

func updateDevice(e *env) {
	e.addPool("a")
	d := e.addDevice("a", "one")
	got, err := e.UpdateDevice(e.ctx, by(), d.ID, func(x *broker.Device) error {
		e.sees(d, *x)
		x.Attributes["site"], x.Status, x.Updated = "south", broker.StatusDisabled, start().Add(time.Second)
		return nil
	})
	e.ok(err)
	if got.Rev <= d.Rev {
		e.Fatalf("revision %d after %d", got.Rev, d.Rev)
	}
	d.Attributes["site"], d.Status, d.Updated, d.Rev = "south", broker.StatusDisabled, start().Add(time.Second), got.Rev
	e.same(d, got)
	e.same(d, e.stored(d.ID))
}

func updateKeys(e *env) {
	e.addPool("a")
	one, two := e.addDevice("a", "one"), e.addDevice("a", "two")
	_, err := e.UpdateDevice(e.ctx, by(), two.ID, func(d *broker.Device) error { d.Authenticators = one.Authenticators; return nil })
	e.wants(broker.ErrKeyBound, err)
	_, err = e.UpdateDevice(e.ctx, by(), one.ID, func(d *broker.Device) error {
		d.Authenticators = []broker.Authenticator{publicKey("new", start())}
		return nil
	})
	e.ok(err)
	_, err = e.UpdateDevice(e.ctx, by(), two.ID, func(d *broker.Device) error { d.Authenticators = one.Authenticators; return nil })
	e.ok(err)
}

func keyBoundByID(e *env) {
	e.addPool("a")
	one, two := e.device("a", "one"), e.device("a", "two")
	two.Authenticators[0].ID = one.Authenticators[0].ID
	e.ok(e.CreateDevice(e.ctx, by(), one))
	e.wants(broker.ErrKeyBound, e.CreateDevice(e.ctx, by(), two))
	two.Authenticators[0].ID, two.Authenticators[0].Key = broker.KeyID{9}, one.Authenticators[0].Key
	e.ok(e.CreateDevice(e.ctx, by(), two))
}

func severalKeys(e *env) {
	e.addPool("a")
	one := e.device("a", "one")
	one.Authenticators = append(one.Authenticators, publicKey("second", start()), sharedKey([]byte("third")))
	e.ok(e.CreateDevice(e.ctx, by(), one))
	e.same(one.Authenticators, e.stored(one.ID).Authenticators)
	two := e.device("a", "two")
	two.Authenticators = append(two.Authenticators, publicKey("second", start()))
	e.wants(broker.ErrKeyBound, e.CreateDevice(e.ctx, by(), two))
	_, err := e.UpdateDevice(e.ctx, by(), one.ID, func(d *broker.Device) error { d.Authenticators = d.Authenticators[:1]; return nil })
	e.ok(err)
	e.ok(e.CreateDevice(e.ctx, by(), two))
	e.ok(e.DeleteDevice(e.ctx, by(), two.ID)) // and frees both
	two.ID = e.id("a", "three")
	e.ok(e.CreateDevice(e.ctx, by(), two))
}

// sharedKey is an authenticator whose sealed shared key is sealed.
func sharedKey(sealed []byte) broker.Authenticator {
	return broker.Authenticator{ID: sha256.Sum256(sealed), Kind: broker.KindPSK, Sealed: sealed, Added: start()}
}

func pages(e *env) {
	e.addPool("a")
	e.addPool("b")
	var want []string
	for i := range 25 {
		name := fmt.Sprintf("d%02d", i*7%25)
		e.addDevice("a", name)
		want = append(want, name)
	}
	e.addDevice("b", "d00")
	slices.Sort(want)
	var got []string
	for after := ""; ; after = got[len(got)-1] {
		page, err := e.ListDevices(e.ctx, e.pool("a"), after, 10)
		e.ok(err)
		if len(page) > 10 {
			e.Fatalf("page of %d", len(page))
		}
		for _, d := range page {
			got = append(got, d.ID.Name.String())
		}
		if len(page) < 10 {
			break
		}
	}
	e.same(want, got)
	page, err := e.ListDevices(e.ctx, e.pool("a"), "d100", 1) // no device of that name
	e.ok(err)
	e.same("d11", page[0].ID.Name.String())
	e.ok(e.DeleteDevice(e.ctx, by(), e.id("a", "d05"))) // a page goes on behind a device that is gone
	page, err = e.ListDevices(e.ctx, e.pool("a"), "d05", 1)
	e.ok(err)
	e.same("d06", page[0].ID.Name.String())
	page, err = e.ListDevices(e.ctx, e.pool("a"), strings.Repeat("z", 128), 10)
	e.ok(err)
	e.same(0, len(page))
	for _, limit := range []int{-1, 0, 1001} {
		_, err := e.ListDevices(e.ctx, e.pool("a"), "", limit)
		e.wants(broker.ErrInvalid, err)
	}
}
