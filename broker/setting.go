package broker

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/signetd/signet/protocol/ident"
)

// A Document is one thing that operators set in a pool, as a store keeps it. What is
// in the body is its Kind's to know.
type Document struct {
	Pool ident.Pool
	Kind string // a Kind's name: "client"
	Name string // 1 to MaxSubject bytes, unique in pool and kind
	// Rev is the store's: another number at each write, never one that a document of
	// the same name had before, even if that was deleted.
	Rev     uint64
	Created time.Time
	Updated time.Time
	Body    []byte // at most MaxDocument bytes
	Refs    []Ref  // the documents of the pool without which this one makes no sense
	// Used counts what devices did with it. It is kept beside the document: counting
	// is no write of it and gives no Rev, and PutSetting leaves it as it is.
	Used int
}

// A Ref names a document of the same pool.
type Ref struct{ Kind, Name string }

// MaxDocument is how many bytes a document's body has at most, chosen arbitrarily.
const MaxDocument = 64 << 10

// RefPool stands in a Ref for the pool itself, which refers to its default flow.
const RefPool = "pool"

// Check says whether a store may keep d.
func (d *Document) Check() error {
	switch {
	case d.Pool.IsZero():
		return fmt.Errorf("%w: no pool named", ErrInvalid)
	case checkLabel("", "kind", d.Kind) != nil:
		return fmt.Errorf("%w: a document of kind %q", ErrInvalid, d.Kind)
	case d.Name == "" || len(d.Name) > MaxSubject || strings.IndexByte(d.Name, 0) >= 0:
		return fmt.Errorf("%w: a %s's name has 1 to %d bytes and no NUL", ErrInvalid, d.Kind, MaxSubject)
	case len(d.Body) > MaxDocument:
		return fmt.Errorf("%w: %s %s has %d bytes, at most %d", ErrInvalid, d.Kind, d.Name, len(d.Body), MaxDocument)
	}
	return nil
}

// Settings is the store of what operators set for a pool: clients, flows, hooks and so on,
// each one a Document.
type Settings interface {
	// Setting gives one document by its kind and name.
	Setting(ctx context.Context, pool ident.Pool, kind, name string) (Document, error)
	// ListSettings gives the documents of a kind with names after the one given, in order.
	ListSettings(ctx context.Context, pool ident.Pool, kind, after string, limit int) ([]Document, error)
	// ChangeSettings runs edit in one transaction, which may be about several pools: all
	// that it writes becomes durable, or nothing if it fails. It may run more than
	// once, and must not call the store. At its end every Ref of what it wrote leads
	// somewhere, and nothing refers to what it deleted: Violations otherwise.
	ChangeSettings(ctx context.Context, by By, edit func(SettingsTx) error) error
}

// SettingsTx is the transaction that an edit reads and writes with. Its reads see what it
// wrote before.
type SettingsTx interface {
	// Pool is as in Pools.
	Pool(name ident.Pool) (Pool, error)
	// CreatePool adds a pool with its first signing keys: ErrExists if there is one of that name.
	CreatePool(p Pool, keys []SigningKey) error
	// UpdatePool writes p over the pool of that name, whose Rev it must still have:
	// ErrStale. What Pool.Becomes refuses is ErrInvalid. It gives the new Rev.
	UpdatePool(p Pool) (rev uint64, err error)

	// Setting and ListSettings are as in Settings.
	Setting(pool ident.Pool, kind, name string) (Document, error)
	ListSettings(pool ident.Pool, kind, after string, limit int) ([]Document, error)
	// PutSetting writes d over the revision d.Rev: ErrStale if that is not the one
	// stored, ErrNotFound if there is none. Rev 0 makes a new one: ErrExists. It gives
	// the new Rev.
	PutSetting(d Document) (rev uint64, err error)
	// DeleteSetting deletes a document: ErrNotFound if there is none.
	DeleteSetting(pool ident.Pool, kind, name string) error
	// Referrers gives some of the documents that have a Ref to this one.
	Referrers(pool ident.Pool, to Ref) ([]Ref, error)
}

// Settle is the frame of every store's ChangeSettings: it runs edit with tx, then
// holds what edit wrote against the rule about Refs.
func Settle(tx SettingsTx, edit func(SettingsTx) error) error {
	l := &ledger{SettingsTx: tx}
	if err := edit(l); err != nil {
		return err
	}
	return l.check()
}

// A ledger notes which pools and documents an edit wrote.
type ledger struct {
	SettingsTx
	pools   []ident.Pool
	touched []touch
}

type touch struct {
	pool ident.Pool
	ref  Ref
}

func (l *ledger) CreatePool(p Pool, keys []SigningKey) error {
	err := l.SettingsTx.CreatePool(p, keys)
	if err == nil {
		l.pools = append(l.pools, p.Name)
	}
	return err
}

func (l *ledger) UpdatePool(p Pool) (uint64, error) {
	rev, err := l.SettingsTx.UpdatePool(p)
	if err == nil {
		l.pools = append(l.pools, p.Name)
	}
	return rev, err
}

func (l *ledger) PutSetting(d Document) (uint64, error) {
	rev, err := l.SettingsTx.PutSetting(d)
	if err == nil {
		l.touched = append(l.touched, touch{d.Pool, Ref{d.Kind, d.Name}})
	}
	return rev, err
}

func (l *ledger) DeleteSetting(pool ident.Pool, kind, name string) error {
	err := l.SettingsTx.DeleteSetting(pool, kind, name)
	if err == nil {
		l.touched = append(l.touched, touch{pool, Ref{kind, name}})
	}
	return err
}

// check looks at everything touched as it is at the end, whatever came between.
func (l *ledger) check() error {
	var broken Violations
	for _, name := range l.pools {
		p, err := l.SettingsTx.Pool(name)
		if err != nil {
			return err
		}
		for _, to := range p.refs() {
			if err := l.leads(&broken, name, Ref{RefPool, name.String()}, to); err != nil {
				return err
			}
		}
	}
	seen := map[touch]bool{}
	for _, t := range l.touched {
		if seen[t] {
			continue
		}
		seen[t] = true
		d, err := l.SettingsTx.Setting(t.pool, t.ref.Kind, t.ref.Name)
		switch {
		case errors.Is(err, ErrNotFound):
			err = l.unused(&broken, t)
		case err == nil:
			for _, to := range d.Refs {
				if err = l.leads(&broken, t.pool, t.ref, to); err != nil {
					break
				}
			}
		}
		if err != nil {
			return err
		}
	}
	return broken.or()
}

// leads notes a Ref to what is not there.
func (l *ledger) leads(broken *Violations, pool ident.Pool, from, to Ref) error {
	_, err := l.SettingsTx.Setting(pool, to.Kind, to.Name)
	if !errors.Is(err, ErrNotFound) {
		return err
	}
	*broken = append(*broken, &Violation{Kind: ErrInvalid, Of: from, Needs: to,
		Text: fmt.Sprintf("%s %s: %s %q does not exist; create it first", from.Kind, from.Name, to.Kind, to.Name)})
	return nil
}

// unused notes that something refers to what was deleted.
func (l *ledger) unused(broken *Violations, t touch) error {
	p, err := l.SettingsTx.Pool(t.pool)
	if err != nil {
		return err
	}
	for _, to := range p.refs() {
		if to == t.ref {
			*broken = append(*broken, &Violation{Kind: ErrConflict, Of: t.ref,
				Text: fmt.Sprintf("%s %s is the pool's default; update it instead", to.Kind, to.Name)})
			return nil
		}
	}
	users, err := l.SettingsTx.Referrers(t.pool, t.ref)
	if err != nil || len(users) == 0 {
		return err
	}
	*broken = append(*broken, &Violation{Kind: ErrConflict, Of: t.ref,
		Text: fmt.Sprintf("%s %s is used by %s %s; change that first", t.ref.Kind, t.ref.Name, users[0].Kind, users[0].Name)})
	return nil
}
