package storetest

import (
	"github.com/signetd/signet/broker"
)

func acrossTests() []test {
	return []test{
		{"deleting a pool takes all that is in it", deletedPool},
		{"nothing in a missing pool", missingPool},
		{"an enrollment token's uses are counted beside it", usesBesideTheToken},
	}
}

func deletedPool(e *env) {
	e.addPool("a")
	e.addPool("b")
	d := e.addDevice("a", "one")
	e.addDevice("b", "one")
	l := e.login(d)
	e.record(l)
	tok := e.addToken("a", 1, nil)
	app := document(e, "a", "client", "app")
	e.ok(e.put(app))
	e.ok(e.pools.DeletePool(e.ctx, by(), e.pool("a")))
	e.stored(e.id("b", "one"))

	e.addPool("a") // the name may be used again, and inherits nothing
	_, err := e.devices.Device(e.ctx, d.ID)
	e.wants(broker.ErrNotFound, err)
	_, err = e.nouns.EnrollToken(e.ctx, tok.Pool, tok.ID)
	e.wants(broker.ErrNotFound, err)
	e.gone(app)
	_, err = e.sessions.Session(e.ctx, l.Session.ID)
	e.wants(broker.ErrNotFound, err)
	e.addDevice("a", "one") // its key is free, too
	_, err = e.sessions.Session(e.ctx, l.Session.ID)
	e.wants(broker.ErrNotFound, err)
	all, err := e.sessions.ListSessions(e.ctx, d.ID)
	e.ok(err)
	e.same(0, len(all))
}

func missingPool(e *env) {
	d := e.device("a", "one")
	e.wants(broker.ErrNotFound, e.devices.CreateDevice(e.ctx, by(), d))
	_, err := e.sessions.RecordLogin(e.ctx, by(), e.login(d))
	e.wants(broker.ErrNotFound, err)
	_, err = e.sessions.RecordLogin(e.ctx, by(), e.enrollment(d, "00"))
	e.wants(broker.ErrNotFound, err)
	e.wants(broker.ErrNotFound, e.put(document(e, "a", "client", "app")))
	e.wants(broker.ErrNotFound, e.keys.ChangeSigningKeys(e.ctx, by(), e.pool("a"), func(k []broker.SigningKey) ([]broker.SigningKey, error) { return k, nil }))
	_, err = e.devices.ListDevices(e.ctx, e.pool("a"), "", 10)
	e.wants(broker.ErrNotFound, err)
}

func usesBesideTheToken(e *env) {
	e.addPool("a")
	tok := e.addToken("a", 5, nil)
	e.record(e.enrollment(e.device("a", "one"), tok.ID))
	got, err := e.nouns.EnrollToken(e.ctx, tok.Pool, tok.ID)
	e.ok(err)
	e.same(1, got.Used)
	e.same(tok.Rev, got.Rev)
	got.Uses = 9
	save(e, broker.EnrollTokenKind(), got)
	e.same(1, e.used(tok))
	e.record(e.enrollment(e.device("a", "two"), tok.ID))
	e.same(2, e.used(tok))
	e.ok(e.change(func(tx broker.SettingsTx) error { return broker.EnrollTokenKind().Delete(tx, tok.Pool, tok.ID) }))
	tok.Rev = 0
	save(e, broker.EnrollTokenKind(), &tok)
	e.same(0, e.used(tok))
}
