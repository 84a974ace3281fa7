package storetest

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/protocol/challenge"
	"github.com/signetd/signet/protocol/ident"
)

func deviceTests() []test {
	return []test{
		{"comes back as it was, with a revision", func(e *env) {
			e.addPool("a")
			want := e.device("a", "one")
			want.SessionsAfter, want.SessionsRev = start().Add(time.Nanosecond), 3
			want.Authenticators = append(want.Authenticators, sharedKey([]byte{4}))
			e.ok(e.devices.CreateDevice(e.ctx, by(), want))
			got := e.stored(want.ID)
			if got.Rev == 0 {
				e.t.Fatal("no revision")
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
			e.ok(e.devices.CreateDevice(e.ctx, by(), d))
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
			e.wants(broker.ErrInvalid, e.devices.CreateDevice(e.ctx, by(), d))
			d = e.device("a", "one")
			d.Subject = ident.UUID{}
			e.wants(broker.ErrInvalid, e.devices.CreateDevice(e.ctx, by(), d))
			d = e.device("a", "one")
			d.Authenticators[0].ID = broker.KeyID{}
			e.wants(broker.ErrInvalid, e.devices.CreateDevice(e.ctx, by(), d))
			d = e.device("a", "one")
			d.Authenticators = append(d.Authenticators, d.Authenticators[0])
			e.wants(broker.ErrInvalid, e.devices.CreateDevice(e.ctx, by(), d))
		}},
		{"missing", func(e *env) {
			e.addPool("a")
			_, err := e.devices.Device(e.ctx, e.id("a", "one"))
			e.wants(broker.ErrNotFound, err)
			_, err = e.devices.UpdateDevice(e.ctx, by(), e.id("a", "one"), func(*broker.Device) error { return nil })
			e.wants(broker.ErrNotFound, err)
			e.wants(broker.ErrNotFound, e.devices.DeleteDevice(e.ctx, by(), e.id("a", "one")))
		}},
		{"pages", pages},
		{"are counted, whichever way they come and go", counted},
		{"pools are apart", func(e *env) {
			e.addPool("a")
			e.addPool("a-b")
			d := e.addDevice("a", "one")
			_, err := e.devices.Device(e.ctx, e.id("a-b", "one"))
			e.wants(broker.ErrNotFound, err)
			all, err := e.devices.ListDevices(e.ctx, e.pool("a-b"), "", 1000)
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
			e.wants(broker.ErrExists, e.devices.CreateDevice(e.ctx, by(), d))
			e.same([]byte("key of a:one"), e.stored(d.ID).Authenticators[0].Key)
		}},
		{"key bound in its pool only", func(e *env) {
			e.addPool("a")
			e.addPool("b")
			one := e.addDevice("a", "one")
			two := e.device("a", "two")
			two.Authenticators = one.Authenticators
			e.wants(broker.ErrKeyBound, e.devices.CreateDevice(e.ctx, by(), two))
			_, err := e.devices.Device(e.ctx, two.ID)
			e.wants(broker.ErrNotFound, err)
			other := e.device("b", "two")
			other.Authenticators = one.Authenticators
			e.ok(e.devices.CreateDevice(e.ctx, by(), other))
		}},
		{"a key is told by its id, whatever else is kept of it", keyBoundByID},
		{"two devices may share a sealed psk", func(e *env) {
			e.addPool("a")
			for _, n := range []string{"one", "two"} {
				d := e.device("a", n)
				d.Authenticators = []broker.Authenticator{sharedKey([]byte("same"))}
				e.ok(e.devices.CreateDevice(e.ctx, by(), d))
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
			_, err := e.devices.UpdateDevice(e.ctx, by(), d.ID, func(d *broker.Device) error { d.Groups = nil; return errStop })
			e.wants(errStop, err)
			e.same(d, e.stored(d.ID))
		}},
		{"update keeps name and subject", func(e *env) {
			e.addPool("a")
			d := e.addDevice("a", "one")
			_, err := e.devices.UpdateDevice(e.ctx, by(), d.ID, func(d *broker.Device) error { d.ID = e.id("a", "two"); return nil })
			e.wants(broker.ErrInvalid, err)
			_, err = e.devices.UpdateDevice(e.ctx, by(), d.ID, func(d *broker.Device) error { d.Subject = e.uuid(); return nil })
			e.wants(broker.ErrInvalid, err)
			e.same(d, e.stored(d.ID))
		}},
		{"delete", func(e *env) {
			e.addPool("a")
			d := e.addDevice("a", "one")
			e.ok(e.devices.DeleteDevice(e.ctx, by(), d.ID))
			for _, h := range []*handle{&e.handle, &e.other} {
				_, err := h.devices.Device(e.ctx, d.ID)
				e.wants(broker.ErrNotFound, err)
			}
			e.addDevice("a", "one") // name and key are free
		}},
	}
}

func updateDevice(e *env) {
	e.addPool("a")
	d := e.addDevice("a", "one")
	got, err := e.devices.UpdateDevice(e.ctx, by(), d.ID, func(x *broker.Device) error {
		e.sees(d, *x)
		x.Attributes["site"], x.Status, x.Updated = "south", broker.StatusDisabled, start().Add(time.Second)
		return nil
	})
	e.ok(err)
	if got.Rev <= d.Rev {
		e.t.Fatalf("revision %d after %d", got.Rev, d.Rev)
	}
	d.Attributes["site"], d.Status, d.Updated, d.Rev = "south", broker.StatusDisabled, start().Add(time.Second), got.Rev
	e.same(d, got)
	e.same(d, e.stored(d.ID))
}

func updateKeys(e *env) {
	e.addPool("a")
	one, two := e.addDevice("a", "one"), e.addDevice("a", "two")
	_, err := e.devices.UpdateDevice(e.ctx, by(), two.ID, func(d *broker.Device) error { d.Authenticators = one.Authenticators; return nil })
	e.wants(broker.ErrKeyBound, err)
	_, err = e.devices.UpdateDevice(e.ctx, by(), one.ID, func(d *broker.Device) error {
		d.Authenticators = []broker.Authenticator{publicKey("new", start())}
		return nil
	})
	e.ok(err)
	_, err = e.devices.UpdateDevice(e.ctx, by(), two.ID, func(d *broker.Device) error { d.Authenticators = one.Authenticators; return nil })
	e.ok(err)
}

func keyBoundByID(e *env) {
	e.addPool("a")
	one, two := e.device("a", "one"), e.device("a", "two")
	two.Authenticators[0].ID = one.Authenticators[0].ID
	e.ok(e.devices.CreateDevice(e.ctx, by(), one))
	e.wants(broker.ErrKeyBound, e.devices.CreateDevice(e.ctx, by(), two))
	two.Authenticators[0].ID, two.Authenticators[0].Key = broker.KeyID{9}, one.Authenticators[0].Key
	e.ok(e.devices.CreateDevice(e.ctx, by(), two))
}

func severalKeys(e *env) {
	e.addPool("a")
	one := e.device("a", "one")
	one.Authenticators = append(one.Authenticators, publicKey("second", start()), sharedKey([]byte("third")))
	e.ok(e.devices.CreateDevice(e.ctx, by(), one))
	e.same(one.Authenticators, e.stored(one.ID).Authenticators)
	two := e.device("a", "two")
	two.Authenticators = append(two.Authenticators, publicKey("second", start()))
	e.wants(broker.ErrKeyBound, e.devices.CreateDevice(e.ctx, by(), two))
	_, err := e.devices.UpdateDevice(e.ctx, by(), one.ID, func(d *broker.Device) error { d.Authenticators = d.Authenticators[:1]; return nil })
	e.ok(err)
	e.ok(e.devices.CreateDevice(e.ctx, by(), two))
	e.ok(e.devices.DeleteDevice(e.ctx, by(), two.ID)) // and frees both
	two.ID = e.id("a", "three")
	e.ok(e.devices.CreateDevice(e.ctx, by(), two))
}

// sharedKey is an authenticator whose sealed shared key is sealed.
func sharedKey(sealed []byte) broker.Authenticator {
	return broker.Authenticator{ID: sha256.Sum256(sealed), Kind: challenge.PSK, Sealed: sealed, Added: start()}
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
		page, err := e.devices.ListDevices(e.ctx, e.pool("a"), after, 10)
		e.ok(err)
		if len(page) > 10 {
			e.t.Fatalf("page of %d", len(page))
		}
		for _, d := range page {
			got = append(got, d.ID.Name.String())
		}
		if len(page) < 10 {
			break
		}
	}
	e.same(want, got)
	page, err := e.devices.ListDevices(e.ctx, e.pool("a"), "d100", 1) // no device of that name
	e.ok(err)
	e.same("d11", page[0].ID.Name.String())
	e.ok(e.devices.DeleteDevice(e.ctx, by(), e.id("a", "d05"))) // a page goes on behind a device that is gone
	page, err = e.devices.ListDevices(e.ctx, e.pool("a"), "d05", 1)
	e.ok(err)
	e.same("d06", page[0].ID.Name.String())
	page, err = e.devices.ListDevices(e.ctx, e.pool("a"), strings.Repeat("z", 128), 10)
	e.ok(err)
	e.same(0, len(page))
	for _, limit := range []int{-1, 0, 1001} {
		_, err := e.devices.ListDevices(e.ctx, e.pool("a"), "", limit)
		e.wants(broker.ErrInvalid, err)
	}
}

// deviceRaceTests: of many that write at once, one gets what only one may have, and
// none undoes what another did.
func deviceRaceTests() []test {
	return []test{
		{"one key, 50 devices", func(e *env) {
			e.addPool("a")
			var devices []broker.Device
			for i := range 50 {
				d := e.device("a", fmt.Sprint("d", i))
				d.Authenticators[0] = publicKey("the one key", start())
				devices = append(devices, d)
			}
			e.same(1, e.tally(e.together(50, func(i int, h *handle) error { return h.devices.CreateDevice(e.ctx, by(), devices[i]) }), broker.ErrKeyBound))
		}},
		{"one name, 50 devices", func(e *env) {
			e.addPool("a")
			var devices []broker.Device
			for i := range 50 {
				d := e.device("a", "one")
				d.Authenticators[0] = publicKey(fmt.Sprint("key ", i), start())
				devices = append(devices, d)
			}
			e.same(1, e.tally(e.together(50, func(i int, h *handle) error { return h.devices.CreateDevice(e.ctx, by(), devices[i]) }), broker.ErrExists))
		}},
		{"no update is lost", func(e *env) {
			e.addPool("a")
			d := e.addDevice("a", "one")
			e.tally(e.together(100, func(i int, h *handle) error {
				_, err := h.devices.UpdateDevice(e.ctx, by(), d.ID, func(d *broker.Device) error { d.Attributes["seen"] += "x"; return nil })
				return err
			}), nil)
			got := e.stored(d.ID)
			e.same(strings.Repeat("x", 100), got.Attributes["seen"])
			e.same(d.Rev+100, got.Rev)
		}},
		{"one failure spoils no other", oneFailure},
	}
}

func oneFailure(e *env) {
	e.addPool("a")
	for i := range 20 {
		e.addDevice("a", fmt.Sprint("d", i))
	}
	errs := e.together(200, func(i int, h *handle) error {
		_, err := h.devices.UpdateDevice(e.ctx, by(), e.id("a", fmt.Sprint("d", i%20)), func(d *broker.Device) error {
			d.Groups = append(d.Groups, fmt.Sprint(i))
			if i%3 == 0 {
				return errStop
			}
			return nil
		})
		return err
	})
	for i, err := range errs {
		if want := i%3 == 0; want != errors.Is(err, errStop) {
			e.t.Fatalf("call %d: %v", i, err)
		}
	}
	groups := 0
	for i := range 20 {
		groups += len(e.stored(e.id("a", fmt.Sprint("d", i))).Groups) - 2
	}
	e.same(133, groups)
}

func counted(e *env) {
	has := func(want int) {
		e.t.Helper()
		n, err := e.other.devices.CountDevices(e.ctx, e.pool("a"))
		e.ok(err)
		e.same(want, n)
	}
	_, err := e.devices.CountDevices(e.ctx, e.pool("a"))
	e.wants(broker.ErrNotFound, err)
	e.addPool("a")
	e.addPool("b")
	e.addDevice("b", "one")
	has(0)
	d := e.addDevice("a", "one")
	has(1)
	e.wants(broker.ErrExists, e.devices.CreateDevice(e.ctx, by(), d))
	e.devices.CreateDevices(e.ctx, by(), []broker.Device{d, e.device("a", "two"), e.device("a", "three"), e.device("none", "four")})
	has(3)
	e.setStatus(d.ID, broker.StatusDisabled)
	_, err = e.devices.UpdateDevice(e.ctx, by(), d.ID, func(*broker.Device) error { return errStop })
	e.wants(errStop, err)
	has(3)
	e.ok(e.devices.DeleteDevice(e.ctx, by(), d.ID))
	e.wants(broker.ErrNotFound, e.devices.DeleteDevice(e.ctx, by(), d.ID))
	has(2)
	e.ok(e.pools.DeletePool(e.ctx, by(), e.pool("a")))
	e.addPool("a")
	has(0)
}
