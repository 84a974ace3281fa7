package boltstore

import (
	"context"
	"fmt"

	bolt "go.etcd.io/bbolt"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/protocol/ident"
)

// rows are what the store's Catalog reads.
type rows struct{ s *Store }

func (r rows) Pool(ctx context.Context, name ident.Pool) (p broker.Pool, err error) {
	err = r.s.view(ctx, "read pool", func(tx *bolt.Tx) (err error) {
		p, err = readPool(tx, name)
		return err
	})
	return p, err
}

func (r rows) Setting(ctx context.Context, pool ident.Pool, kind, name string) (broker.Document, error) {
	return r.s.Setting(ctx, pool, kind, name)
}

// forget drops from the Catalog the settings that records are about.
func (s *Store) forget(records []entry) {
	for i := range records {
		s.Catalog.Forget(&records[i].Record)
	}
}

// Setting gives one document; broker.ErrNotFound.
func (s *Store) Setting(ctx context.Context, pool ident.Pool, kind, name string) (d broker.Document, err error) {
	err = s.view(ctx, "read "+kind, func(tx *bolt.Tx) (err error) {
		d, err = readDocument(tx, pool, kind, name)
		return err
	})
	return d, err
}

// ListSettings gives documents of a kind by name, up to limit, after a name.
func (s *Store) ListSettings(ctx context.Context, pool ident.Pool, kind, after string, limit int) (all []broker.Document, err error) {
	err = s.view(ctx, "list "+kind+"s", func(tx *bolt.Tx) (err error) {
		all, err = listDocuments(tx, pool, kind, after, limit)
		return err
	})
	return all, err
}

// ChangeSettings runs edit in one transaction: see broker.Settings. The writer may run it
// a second time.
func (s *Store) ChangeSettings(ctx context.Context, by broker.By, edit func(broker.SettingsTx) error) error {
	return s.update(ctx, by, "change settings", func(c *change) error { return broker.Settle(&settingsTx{c}, edit) })
}

// A settingsTx is a broker.SettingsTx over one transaction of the writer.
type settingsTx struct{ c *change }

func (t *settingsTx) Pool(name ident.Pool) (broker.Pool, error) { return readPool(t.c.tx, name) }

func (t *settingsTx) CreatePool(p broker.Pool, keys []broker.SigningKey) error {
	return createPool(t.c, p, keys)
}

func (t *settingsTx) UpdatePool(p broker.Pool) (uint64, error) {
	old, err := t.Pool(p.Name)
	if err != nil {
		return 0, err
	}
	if old.Rev != p.Rev {
		return 0, fmt.Errorf("pool %s: %w", p.Name, broker.ErrStale)
	}
	if err := old.Becomes(&p); err != nil {
		return 0, err
	}
	if err := p.Validate(); err != nil {
		return 0, err
	}
	b, err := inPool(t.c.tx, p.Name)
	if err != nil {
		return 0, err
	}
	return putPool(t.c, b, &old, p)
}

func (t *settingsTx) Setting(pool ident.Pool, kind, name string) (broker.Document, error) {
	return readDocument(t.c.tx, pool, kind, name)
}

func (t *settingsTx) ListSettings(pool ident.Pool, kind, after string, limit int) ([]broker.Document, error) {
	return listDocuments(t.c.tx, pool, kind, after, limit)
}

func (t *settingsTx) PutSetting(d broker.Document) (uint64, error) {
	if err := d.Check(); err != nil {
		return 0, err
	}
	old, err := findDocument(t.c.tx, d.Pool, d.Kind, d.Name)
	switch {
	case err != nil:
		return 0, err
	case old == nil && d.Rev != 0:
		return 0, fmt.Errorf("%s %s: %w", d.Kind, d.Name, broker.ErrNotFound)
	case old != nil && d.Rev == 0:
		return 0, fmt.Errorf("%s %s: %w", d.Kind, d.Name, broker.ErrExists)
	case old != nil && d.Rev != old.Rev:
		return 0, fmt.Errorf("%s %s: %w", d.Kind, d.Name, broker.ErrStale)
	}
	return t.c.writeDocument(old, &d)
}

func (t *settingsTx) DeleteSetting(pool ident.Pool, kind, name string) error {
	old, err := findDocument(t.c.tx, pool, kind, name)
	if err != nil {
		return err
	}
	if old == nil {
		return fmt.Errorf("%s %s: %w", kind, name, broker.ErrNotFound)
	}
	_, err = t.c.writeDocument(old, nil)
	return err
}

func (t *settingsTx) Referrers(pool ident.Pool, to broker.Ref) ([]broker.Ref, error) {
	return readReferrers(t.c.tx, pool, to)
}
