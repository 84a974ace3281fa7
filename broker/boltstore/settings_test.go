package boltstore

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/broker/storetest"
	"github.com/signetd/signet/protocol/challenge"
	"github.com/signetd/signet/protocol/ident"
	"github.com/signetd/signet/protocol/ident/identtest"
)

func settingsStore(t *testing.T) (*Store, ident.Pool, broker.Client, broker.Flow) {
	t.Helper()
	s, err := Open(t.Context(), t.TempDir()+"/store.db", Options{SweepEvery: -1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	name := identtest.Pool(t, "demo")
	c := broker.Client{Pool: name, ID: "default", Audiences: []string{"a", "b"}, AccessLife: time.Hour, RefreshLife: time.Hour}
	f := broker.Flow{Pool: name, Name: "plain", Steps: []string{"key"}}
	p := broker.Pool{Name: name, Issuer: "https://example/pools/demo", Flow: "plain", Anchor: []byte{1, 2}}
	err = s.ChangeSettings(t.Context(), by(), func(tx broker.SettingsTx) error {
		if err := tx.CreatePool(p, nil); err != nil {
			return err
		}
		_, errC := broker.ClientKind().Put(tx, &c, time.Now())
		_, errF := broker.FlowKind().Put(tx, &f, time.Now())
		return errors.Join(errC, errF)
	})
	if err != nil {
		t.Fatal(err)
	}
	return s, name, c, f
}

// What is remembered is never what was before the last acknowledged write.
func TestSettingsFollowWrites(t *testing.T) {
	s, pool, c, f := settingsStore(t)
	read := func() (*broker.Client, *broker.Flow) {
		t.Helper()
		gotC, errC := s.Client(t.Context(), pool, c.ID)
		gotF, errF := s.Flow(t.Context(), pool, f.Name)
		if errC != nil || errF != nil {
			t.Fatal(errC, errF)
		}
		return gotC, gotF
	}
	read()
	for n := range 3 {
		c.AccessLife += time.Minute
		f.Steps = append(f.Steps, challenge.Key)
		if err := errors.Join(save(t, s, broker.ClientKind(), c), save(t, s, broker.FlowKind(), f)); err != nil {
			t.Fatal(err)
		}
		gotC, gotF := read()
		if gotC.AccessLife != c.AccessLife || len(gotF.Steps) != n+2 {
			t.Fatalf("after write %d: %+v, %+v", n, gotC, gotF)
		}
	}
	if _, err := s.Pool(t.Context(), pool); err != nil {
		t.Fatal(err)
	}
	err := s.ChangeSettings(t.Context(), by(), func(tx broker.SettingsTx) error {
		p, err := tx.Pool(pool)
		if err != nil {
			return err
		}
		other := broker.Flow{Pool: pool, Name: "other", Steps: []string{challenge.Key}}
		if _, err := broker.FlowKind().Put(tx, &other, time.Now()); err != nil {
			return err
		}
		p.Flow = "other"
		if _, err := tx.UpdatePool(p); err != nil {
			return err
		}
		return broker.FlowKind().Delete(tx, pool, f.Name)
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := s.Flow(t.Context(), pool, f.Name); !errors.Is(err, broker.ErrNotFound) {
		t.Errorf("deleted flow: %v", err)
	}
	if p, err := s.Pool(t.Context(), pool); err != nil || p.Flow != "other" {
		t.Errorf("updated pool: %+v, %v", p, err)
	}
	if err := s.DeletePool(t.Context(), by(), pool); err != nil {
		t.Fatal(err)
	}
	_, errP := s.Pool(t.Context(), pool)
	_, errC := s.Client(t.Context(), pool, c.ID)
	if !errors.Is(errP, broker.ErrNotFound) || !errors.Is(errC, broker.ErrNotFound) {
		t.Errorf("deleted pool: %v, its client: %v", errP, errC)
	}
}

// What is remembered is shared, and who writes into it is found out, wherever he does; a
// later revision and what was deleted are taken for no such writing.
func TestSettingsAreNobodysToChange(t *testing.T) {
	s, pool, c, f := settingsStore(t)
	for _, change := range []func(*broker.Pool, *broker.Client, *broker.Flow){
		func(p *broker.Pool, _ *broker.Client, _ *broker.Flow) { p.Anchor[0] = 9 },
		func(p *broker.Pool, _ *broker.Client, _ *broker.Flow) { p.Rev++ },
		func(_ *broker.Pool, c *broker.Client, _ *broker.Flow) { c.Audiences[0] = "mine" },
		func(_ *broker.Pool, _ *broker.Client, f *broker.Flow) { f.Steps = nil },
	} {
		s.ForgetAll()
		var before *broker.Pool
		for range 2 {
			p, errP := s.Pool(t.Context(), pool)
			gotC, errC := s.Client(t.Context(), pool, c.ID)
			gotF, errF := s.Flow(t.Context(), pool, f.Name)
			if err := errors.Join(errP, errC, errF, s.CheckShared(t.Context())); err != nil {
				t.Fatal(err)
			}
			if before != nil {
				if p != before {
					t.Error("what is remembered is not shared")
				}
				change(p, gotC, gotF)
			}
			before = p
		}
		if s.CheckShared(t.Context()) == nil {
			t.Error("written into and not found out")
		}
	}
	s.ForgetAll()
	h, err := s.Handle(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	s.Catalog = broker.NewCatalog(rows{s}) // that nobody tells of writes
	_, errC := s.Client(t.Context(), pool, c.ID)
	_, errF := s.Flow(t.Context(), pool, f.Name)
	c.AccessLife += time.Minute
	if err := errors.Join(errC, errF, save(t, h, broker.ClientKind(), c), h.DeletePool(t.Context(), by(), pool), s.CheckShared(t.Context())); err != nil {
		t.Error(err)
	}
}

// Readers beside a writer see each write once it was acknowledged.
func TestSettingsBesideAWriter(t *testing.T) {
	s, pool, c, _ := settingsStore(t)
	var acknowledged struct {
		sync.Mutex
		life time.Duration
	}
	acknowledged.life = c.AccessLife
	done := make(chan struct{})
	var readers sync.WaitGroup
	for range 4 {
		readers.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				acknowledged.Lock()
				least := acknowledged.life
				acknowledged.Unlock()
				got, err := s.Client(t.Context(), pool, c.ID)
				if err != nil || got.AccessLife < least {
					t.Errorf("read %v, %v after %v was acknowledged", got.AccessLife, err, least)
					return
				}
			}
		})
	}
	for range 100 {
		c.AccessLife += time.Second
		if err := save(t, s, broker.ClientKind(), c); err != nil {
			t.Fatal(err)
		}
		acknowledged.Lock()
		acknowledged.life = c.AccessLife
		acknowledged.Unlock()
	}
	close(done)
	readers.Wait()
}

func save[N any](t testing.TB, s *Store, k broker.Kind[N], n N) error {
	t.Helper()
	return storetest.Save(t.Context(), s, by(), k, &n, time.Now())
}

func addPool(ctx context.Context, s *Store, p broker.Pool) error {
	return s.ChangeSettings(ctx, by(), func(tx broker.SettingsTx) error { return tx.CreatePool(p, nil) })
}

// counting counts what a Catalog reads.
type counting struct {
	rows
	reads int
}

func (c *counting) Pool(ctx context.Context, name ident.Pool) (broker.Pool, error) {
	c.reads++
	return c.rows.Pool(ctx, name)
}

func (c *counting) Setting(ctx context.Context, pool ident.Pool, kind, name string) (broker.Document, error) {
	c.reads++
	return c.rows.Setting(ctx, pool, kind, name)
}

// What nobody set anew is remembered, whatever else is written: logins, devices,
// enrollments that count a use, operators, other settings.
func TestOnlyRowsAreForgotten(t *testing.T) {
	s, pool, c, f := settingsStore(t)
	count := &counting{rows: rows{s}}
	s.Catalog = broker.NewCatalog(count)
	reads := func(after string, want int) {
		t.Helper()
		count.reads = 0
		_, errP := s.Pool(t.Context(), pool)
		_, errC := s.Client(t.Context(), pool, c.ID)
		_, errF := s.Flow(t.Context(), pool, f.Name)
		if err := errors.Join(errP, errC, errF); err != nil || count.reads != want {
			t.Errorf("after %s: %d reads, want %d, %v", after, count.reads, want, err)
		}
	}
	reads("nothing", 3)
	reads("reading", 0)
	token := broker.EnrollToken{Pool: pool, ID: "0a", Key: []byte{1}, Uses: 9}
	if err := save(t, s, broker.EnrollTokenKind(), token); err != nil {
		t.Fatal(err)
	}
	reads("another setting", 0)
	id := identtest.Device(t, "demo:lamp-1")
	d := broker.Device{ID: id, Subject: newUUID(), Status: broker.StatusActive,
		Authenticators: []broker.Authenticator{{ID: broker.KeyID{1}, Kind: challenge.Key, Key: []byte{1}}}}
	l := testLogin(d)
	l.Enroll = &broker.Enrollment{Device: d, TokenID: token.ID, Now: time.Now()}
	if _, err := s.RecordLogin(t.Context(), by(), l); err != nil {
		t.Fatal(err)
	}
	_, update := s.UpdateDevice(t.Context(), by(), d.ID, func(d *broker.Device) error { d.Groups = []string{"lab"}; return nil })
	if err := errors.Join(update, s.CreateOperator(t.Context(), by(), broker.Operator{Name: "ada", Hash: make([]byte, 32), Expires: time.Unix(0, 0).Add(time.Hour), Created: time.Unix(0, 0), Scope: broker.OperatorAdmin})); err != nil {
		t.Fatal(err)
	}
	if got, err := s.EnrollToken(t.Context(), pool, token.ID); err != nil || got.Used != 1 {
		t.Errorf("used %d times, %v", got.Used, err)
	}
	reads("traffic", 0)
	c.AccessLife += time.Minute
	if err := save(t, s, broker.ClientKind(), c); err != nil {
		t.Fatal(err)
	}
	reads("the client", 1)
}
