package storetest

import (
	"errors"
	"time"

	"github.com/signetd/signet/broker"
)

func acrossTests() []test {
	return []test{
		{"deleting a pool takes all that is in it", deletedPool},
		{"nothing in a missing pool", missingPool},
		{"an enrollment token's uses are counted beside it", usesBesideTheToken},
		{"who is told of a record reads what it tells of", readAsTold},
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

// readAsTold: what a handle remembers is never older than what its journal has given, whoever
// wrote it.
func readAsTold(e *env) {
	e.addPool("a")
	c := broker.NewClient(e.pool("a"), "app")
	save(e, broker.ClientKind(), &c)
	var from time.Duration
	for _, reader := range []*handle{&e.handle, &e.other} {
		for _, writer := range []*handle{&e.handle, &e.other} {
			from = e.readWhileWritten(reader, writer, from)
		}
	}
}

// readWhileWritten makes lives of a pool and of a client of it longer, in seconds from the
// one named, by writer while reader is told of it. It gives how long they are then.
func (e *env) readWhileWritten(reader, writer *handle, from time.Duration) time.Duration {
	e.t.Helper()
	const times = 20
	p := e.pool("a")
	after, err := e.journal.Last(e.ctx)
	e.ok(err)
	written := make(chan error, 1)
	go func() {
		var err error
		for longer := from; longer < from+times; longer++ {
			err = errors.Join(err, writer.settings.ChangeSettings(e.ctx, by(), func(tx broker.SettingsTx) error {
				p, err := tx.Pool(p)
				if err != nil {
					return err
				}
				p.MQTTPasswordLife = broker.MinMQTTPasswordLife + longer*time.Second
				_, err = tx.UpdatePool(p)
				return err
			}))
			c := broker.NewClient(p, "app")
			c.AccessLife = broker.MinAccessLife + longer*time.Second
			err = errors.Join(err, Save(e.ctx, writer.settings, by(), broker.ClientKind(), &c, start()))
		}
		written <- err
	}()
	read := func() map[broker.RecordKind]time.Duration {
		e.t.Helper()
		got, err := reader.pools.Pool(e.ctx, p)
		e.ok(err)
		c, err := reader.nouns.Client(e.ctx, p, "app")
		e.ok(err)
		return map[broker.RecordKind]time.Duration{
			broker.RecordPool: got.MQTTPasswordLife - broker.MinMQTTPasswordLife, broker.RecordKind(broker.ClientKind().Name): c.AccessLife - broker.MinAccessLife,
		}
	}
	told := map[broker.RecordKind]time.Duration{}
	for n := 0; n < 2*times; {
		read() // and remembered
		records, err := reader.journal.Since(e.ctx, after, 100)
		e.ok(err)
		lives := read()
		for _, r := range records {
			if want := (from + told[r.Kind]) * time.Second; lives[r.Kind] < want {
				e.t.Fatalf("told of %s made %v longer, read %v", r.Kind, want, lives[r.Kind])
			}
			after = r.Seq
			told[r.Kind]++
			n++
		}
	}
	e.ok(<-written)
	return from + times
}
