package control

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/protocol/ident"
)

// A Match names the revisions that a change is meant for: it is refused if another one is
// stored. A nil Match allows any.
type Match struct{ Revs []uint64 }

// check refuses a stored revision that is none of m's, with broker.ErrStale.
func (m *Match) check(what string, rev uint64) error {
	if m == nil || slices.Contains(m.Revs, rev) {
		return nil
	}
	return &broker.Violation{Kind: broker.ErrStale, Text: what + " was changed meanwhile; read it again, and change what is there now"}
}

// Settings are the use cases of one kind of setting, such as flows; N is its type. Each call
// is one transaction.
type Settings[N any] struct {
	p    *Plane
	kind broker.Kind[N]
	// admit checks rules beyond those of the value itself (broker.Kind.Check); old is nil
	// for a new one. May be nil.
	admit func(old, n *N, now time.Time) error
	// complete fills in what a new one needs, and gives the secret that it made, if any.
	// May be nil.
	complete func(n *N) (secret string, err error)
	// inUse says what breaks for devices when the one of that name goes, as unlessForced
	// wants it. May be nil.
	inUse func(ctx context.Context, pool ident.Pool, name string) (breaks string, err error)
}

// Of gives the use cases of a kind whose own rules (broker.Kind.Check) are all there are.
func Of[N any](p *Plane, kind broker.Kind[N]) Settings[N] { return Settings[N]{p: p, kind: kind} }

// Kind is what the domain knows of this kind of setting.
func (s Settings[N]) Kind() broker.Kind[N] { return s.kind }

// Get gives one by its name.
func (s Settings[N]) Get(ctx context.Context, pool ident.Pool, name string) (n N, err error) {
	if _, err := s.p.Pool(ctx, pool); err != nil {
		return n, err
	}
	d, err := s.p.Store.Setting(ctx, pool, s.kind.Name, name)
	if err != nil {
		return n, about(err, "%s", s.kind.About(name))
	}
	return s.kind.Noun(d)
}

// List gives up to limit (1 to 1000) with names after the one given.
func (s Settings[N]) List(ctx context.Context, pool ident.Pool, after string, limit int) ([]N, error) {
	if _, err := s.p.Pool(ctx, pool); err != nil {
		return nil, err
	}
	all, err := s.p.Store.ListSettings(ctx, pool, s.kind.Name, after, limit)
	if err != nil {
		return nil, err
	}
	return s.kind.Nouns(all)
}

// Create writes a new one: broker.ErrExists if there is one of that name. It gives what was
// written, and the secret that this made, if any.
func (s Settings[N]) Create(ctx context.Context, by broker.By, n N) (made N, secret string, err error) {
	h := s.kind.Head(&n)
	*h.Rev = 0
	err = s.p.edit(ctx, by, s.kind.About(*h.Name), *h.Pool, func(tx broker.SettingsTx, now time.Time) (err error) {
		made = n
		secret, err = s.create(tx, &made, now)
		return err
	})
	return made, secret, err
}

// create writes a new one in the transaction tx.
func (s Settings[N]) create(tx broker.SettingsTx, n *N, now time.Time) (secret string, err error) {
	if err := s.checkAll(nil, n, now); err != nil {
		return "", err
	}
	if s.complete != nil {
		if secret, err = s.complete(n); err != nil {
			return "", err
		}
	}
	_, err = s.kind.Put(tx, n, now)
	return secret, err
}

// Replace writes n over the stored one of its name, which must exist and match.
func (s Settings[N]) Replace(ctx context.Context, by broker.By, n N, m *Match) (N, error) {
	h := s.kind.Head(&n)
	return s.Change(ctx, by, *h.Pool, *h.Name, m, func(old *N) error {
		fresh := n
		s.kind.CarryOver(old, &fresh)
		*old = fresh
		return nil
	})
}

// checkAll checks n by all rules, and gives every refusal at once.
func (s Settings[N]) checkAll(old, n *N, now time.Time) error {
	err := s.kind.Check(n)
	if s.admit == nil {
		return err
	}
	broken := broker.ViolationsOf(err)
	if err := s.admit(old, n, now); err != nil {
		more := broker.ViolationsOf(err)
		if more == nil {
			return err
		}
		broken = append(broken, more...)
	}
	if broken == nil {
		return nil
	}
	return broken
}

// Change applies f to the stored one, which must match, and writes it.
func (s Settings[N]) Change(ctx context.Context, by broker.By, pool ident.Pool, name string, m *Match, f func(*N) error) (n N, err error) {
	what := s.kind.About(name)
	err = s.p.edit(ctx, by, what, pool, func(tx broker.SettingsTx, now time.Time) error {
		old, err := s.kind.Get(tx, pool, name)
		if err != nil {
			return err
		}
		if err := m.check(what, *s.kind.Head(&old).Rev); err != nil {
			return err
		}
		if n, err = s.kind.Get(tx, pool, name); err != nil { // a copy of its own, so that f cannot change old
			return err
		}
		if err := f(&n); err != nil {
			return err
		}
		if err := s.checkAll(&old, &n, now); err != nil {
			return err
		}
		_, err = s.kind.Put(tx, &n, now)
		return err
	})
	return n, err
}

// InUse says what breaks for devices when the one of that name is deleted: a sentence, empty
// if nothing does. What other settings need of it is the store's to refuse.
func (s Settings[N]) InUse(ctx context.Context, pool ident.Pool, name string) (string, error) {
	if s.inUse == nil || s.kind.Undeletable != nil && s.kind.Undeletable(name) != nil {
		return "", nil
	}
	breaks, err := s.inUse(ctx, pool, name)
	return breaks, about(err, "%s", s.kind.About(name))
}

// Delete deletes one, which must match; with force also one that is InUse.
func (s Settings[N]) Delete(ctx context.Context, by broker.By, pool ident.Pool, name string, m *Match, force bool) error {
	what := s.kind.About(name)
	breaks, err := s.InUse(ctx, pool, name) // outside of the transaction, which holds up all writing
	if err == nil {
		err = unlessForced(force, breaks)
	}
	if err != nil {
		return err
	}
	return s.p.edit(ctx, by, "delete "+what, pool, func(tx broker.SettingsTx, _ time.Time) error {
		n, err := s.kind.Get(tx, pool, name)
		if err != nil {
			return err
		}
		if err := m.check(what, *s.kind.Head(&n).Rev); err != nil {
			return err
		}
		return s.kind.Delete(tx, pool, name)
	})
}

// Set writes n in the transaction tx, whether there is one of its name or not. It gives the
// one that was stored (nil: n is new), whether n differs from it, and the secret that a new
// one made, if any.
func (s Settings[N]) Set(tx broker.SettingsTx, n *N, now time.Time) (old *N, changed bool, secret string, err error) {
	h := s.kind.Head(n)
	was, found, err := s.find(tx, *h.Pool, *h.Name)
	if err != nil {
		return nil, false, "", err
	}
	if !found {
		*h.Rev = 0
		secret, err = s.create(tx, n, now)
		return nil, true, secret, err
	}
	s.kind.CarryOver(&was, n)
	if err := s.checkAll(&was, n, now); err != nil {
		return nil, false, "", err
	}
	changed, err = s.kind.Put(tx, n, now)
	return &was, changed, "", err
}

// find is kind.Get that reports with found, not with an error, that there is none.
func (s Settings[N]) find(tx broker.SettingsTx, pool ident.Pool, name string) (n N, found bool, err error) {
	n, err = s.kind.Get(tx, pool, name)
	if errors.Is(err, broker.ErrNotFound) {
		return n, false, nil
	}
	return n, err == nil, err
}

// edit runs f in a transaction about one pool, which must exist. Errors say what was being
// done in an operator's words.
func (p *Plane) edit(ctx context.Context, by broker.By, what string, pool ident.Pool, f func(broker.SettingsTx, time.Time) error) error {
	now := p.Now()
	if _, err := p.Pool(ctx, pool); err != nil {
		return err
	}
	return sentence(p.Store.ChangeSettings(ctx, by, func(tx broker.SettingsTx) error { return f(tx, now) }), what)
}

// sentence turns the error of a transaction into what an operator wants to know: the
// refusals alone if there are any.
func sentence(err error, what string) error {
	if broken := broker.ViolationsOf(err); broken != nil {
		return broken
	}
	return about(err, "%s", what)
}

// Edit runs f in one transaction, which may be about several pools.
func (p *Plane) Edit(ctx context.Context, by broker.By, f func(broker.SettingsTx, time.Time) error) error {
	now := p.Now()
	return p.Store.ChangeSettings(ctx, by, func(tx broker.SettingsTx) error { return f(tx, now) })
}

// Clients are the use cases of clients.
func (p *Plane) Clients() Settings[broker.Client] {
	s := Of(p, broker.ClientKind())
	s.inUse = p.clientInUse
	return s
}

// Flows are the use cases of flows.
func (p *Plane) Flows() Settings[broker.Flow] { return Of(p, broker.FlowKind()) }
