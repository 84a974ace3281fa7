package storetest

import (
	"github.com/signetd/signet/broker"
)

func acrossTests() []test {
	return []test{
		{"deleting a pool takes all that is in it", deletedPool},
		{"nothing in a missing pool", missingPool},
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
	e.ok(e.clients.PutClient(e.ctx, by(), client(e, "a", "app")))
	e.ok(e.pools.DeletePool(e.ctx, by(), e.pool("a")))
	e.stored(e.id("b", "one"))

	e.addPool("a") // the name may be used again, and inherits nothing
	_, err := e.devices.Device(e.ctx, d.ID)
	e.wants(broker.ErrNotFound, err)
	_, err = e.tokens.EnrolToken(e.ctx, tok.Pool, tok.ID)
	e.wants(broker.ErrNotFound, err)
	_, err = e.clients.Client(e.ctx, e.pool("a"), "app")
	e.wants(broker.ErrNotFound, err)
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
	_, err = e.sessions.RecordLogin(e.ctx, by(), e.enrolment(d, "00"))
	e.wants(broker.ErrNotFound, err)
	e.wants(broker.ErrNotFound, e.clients.PutClient(e.ctx, by(), client(e, "a", "app")))
	e.wants(broker.ErrNotFound, e.flows.PutFlow(e.ctx, by(), flow(e, "a", "main")))
	e.wants(broker.ErrNotFound, e.hooks.PutHook(e.ctx, by(), hook(e, "a", "hook")))
	e.wants(broker.ErrNotFound, e.tokens.CreateEnrolToken(e.ctx, by(), broker.EnrolToken{Pool: e.pool("a"), ID: "00", Uses: 1}))
	e.wants(broker.ErrNotFound, e.keys.ChangeSigningKeys(e.ctx, by(), e.pool("a"), func(k []broker.SigningKey) ([]broker.SigningKey, error) { return k, nil }))
	_, err = e.devices.ListDevices(e.ctx, e.pool("a"), "", 10)
	e.wants(broker.ErrNotFound, err)
}
