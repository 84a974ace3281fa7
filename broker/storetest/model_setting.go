package storetest

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/protocol/ident"
)

// A documentKey names a document of the model.
type documentKey struct {
	pool ident.Pool
	broker.Ref
}

// settings are what operators set, as the model has it.
type settings struct {
	pools     map[ident.Pool]broker.Pool
	documents map[documentKey]broker.Document
	revs      map[documentKey]map[uint64]bool // all that a document of that name ever had
	keys      map[ident.Pool][]broker.SigningKey
	operators map[string]broker.Operator
}

func newSettings() settings {
	return settings{map[ident.Pool]broker.Pool{}, map[documentKey]broker.Document{}, map[documentKey]map[uint64]bool{},
		map[ident.Pool][]broker.SigningKey{}, map[string]broker.Operator{}}
}

func (m *model) createPool() (want, got error) {
	p := broker.Pool{Name: m.e.pool(m.poolName()), Issuer: "https://signet.example/" + m.now.String(), Created: m.now, Anchor: []byte{1}}
	k := broker.SigningKey{Pool: p.Name, ID: "first", Alg: "ES256", State: broker.KeyActive, Public: []byte{1}, Sealed: []byte{2}, Created: m.now}
	if _, exists := m.set.pools[p.Name]; exists {
		want = broker.ErrExists
	} else {
		m.set.pools[p.Name], m.set.keys[p.Name] = p, []broker.SigningKey{k}
	}
	return want, m.e.createPool(p, k)
}

// deletePool takes all that is in it.
func (m *model) deletePool() (want, got error) {
	name := m.e.pool(m.poolName())
	if _, exists := m.set.pools[name]; !exists {
		want = broker.ErrNotFound
	}
	delete(m.set.pools, name)
	delete(m.set.keys, name)
	maps.DeleteFunc(m.set.documents, func(k documentKey, _ broker.Document) bool { return k.pool == name })
	maps.DeleteFunc(m.tokens, func(_ string, t broker.EnrollToken) bool { return t.Pool == name })
	maps.DeleteFunc(m.devices, func(id ident.Device, _ broker.Device) bool { return id.Pool == name })
	return want, m.e.pools.DeletePool(m.e.ctx, by(), name)
}

// changeSettings does one or two things to documents in one transaction.
func (m *model) changeSettings() (want, got error) {
	after := maps.Clone(m.set.documents)
	type write struct {
		d    broker.Document
		drop bool
	}
	var writes []write
	for i := range 1 + m.rand.IntN(2) {
		k := m.document()
		d := broker.Document{Pool: k.pool, Kind: k.Kind, Name: k.Name, Body: []byte(m.now.String()), Created: m.now, Updated: m.now}
		if old, exists := after[k]; exists && m.rand.IntN(5) > 0 {
			d.Rev = old.Rev
			if i == 0 && m.rand.IntN(8) == 0 {
				d.Rev++ // of a document that somebody else wrote meanwhile
			}
		}
		if m.rand.IntN(2) == 0 {
			d.Refs = []broker.Ref{m.document().Ref}
		}
		w := write{d, m.rand.IntN(3) == 0}
		writes = append(writes, w)
		if want == nil {
			want = m.apply(after, w.d, w.drop)
		}
	}
	if want == nil {
		for _, w := range writes {
			want = cmp.Or(want, m.dangles(after, documentKey{w.d.Pool, broker.Ref{Kind: w.d.Kind, Name: w.d.Name}}))
		}
	}
	var revs []uint64
	got = m.e.change(func(tx broker.SettingsTx) error {
		revs = make([]uint64, len(writes))
		for i, w := range writes {
			var err error
			if w.drop {
				err = tx.DeleteSetting(w.d.Pool, w.d.Kind, w.d.Name)
			} else {
				// The second write of one document goes by what the first gave.
				if i > 0 && w.d.Rev != 0 && !writes[0].drop && writes[0].d.Pool == w.d.Pool && writes[0].d.Kind == w.d.Kind && writes[0].d.Name == w.d.Name {
					w.d.Rev = revs[0]
				}
				revs[i], err = tx.PutSetting(w.d)
			}
			if err != nil {
				return err
			}
		}
		return nil
	})
	if want != nil || got != nil {
		return want, got
	}
	for i, w := range writes {
		k := documentKey{w.d.Pool, broker.Ref{Kind: w.d.Kind, Name: w.d.Name}}
		if w.drop {
			continue
		}
		if revs[i] == 0 || m.set.revs[k][revs[i]] {
			m.e.t.Fatalf("%+v was written with revision %d, which it had before", k, revs[i])
		}
		if m.set.revs[k] == nil {
			m.set.revs[k] = map[uint64]bool{}
		}
		m.set.revs[k][revs[i]] = true
		if d, there := after[k]; there {
			d.Rev = revs[i]
			after[k] = d
		}
	}
	m.set.documents = after
	return nil, nil
}

// document names one of a few.
func (m *model) document() documentKey {
	return documentKey{m.e.pool(m.poolName()), broker.Ref{Kind: pick(m.rand, []string{"thing", "thong"}), Name: fmt.Sprintf("n%d", m.rand.IntN(3))}}
}

// apply does one write to the documents that an edit sees.
func (m *model) apply(to map[documentKey]broker.Document, d broker.Document, drop bool) error {
	k := documentKey{d.Pool, broker.Ref{Kind: d.Kind, Name: d.Name}}
	old, exists := to[k]
	_, pool := m.set.pools[d.Pool]
	switch {
	case !pool, !exists && (drop || d.Rev != 0):
		return broker.ErrNotFound
	case drop:
		delete(to, k)
		return nil
	case exists && d.Rev == 0:
		return broker.ErrExists
	case exists && d.Rev != old.Rev:
		return broker.ErrStale
	}
	to[k] = d
	return nil
}

// dangles: a document that was touched refers to none, or is gone and referred to.
func (m *model) dangles(in map[documentKey]broker.Document, k documentKey) error {
	d, there := in[k]
	if there {
		for _, to := range d.Refs {
			if _, leads := in[documentKey{k.pool, to}]; !leads {
				return broker.ErrInvalid
			}
		}
		return nil
	}
	for from, d := range in {
		if from.pool == k.pool && slices.Contains(d.Refs, k.Ref) {
			return broker.ErrConflict
		}
	}
	return nil
}

// changeKeys replaces a pool's signing keys.
func (m *model) changeKeys() (want, got error) {
	name := m.e.pool(m.poolName())
	var next []broker.SigningKey
	for i := range m.rand.IntN(4) {
		next = append(next, broker.SigningKey{Pool: name, ID: fmt.Sprintf("k%d", i+m.rand.IntN(2)), Alg: "EdDSA", State: broker.KeyNext, Public: []byte{1}, Sealed: []byte{byte(i)}, Created: m.now})
	}
	ids := map[string]bool{}
	for _, k := range next {
		ids[k.ID] = true
	}
	stop := m.rand.IntN(5) == 0
	_, exists := m.set.pools[name]
	switch {
	case !exists:
		want = broker.ErrNotFound
	case stop:
		want = errStop
	case len(ids) < len(next):
		want = broker.ErrInvalid
	}
	seen := m.set.keys[name]
	got = m.e.keys.ChangeSigningKeys(m.e.ctx, by(), name, func(old []broker.SigningKey) ([]broker.SigningKey, error) {
		m.e.sees(seen, old)
		if stop {
			return nil, errStop
		}
		return slices.Clone(next), nil
	})
	if want == nil {
		m.set.keys[name] = next // in the order of their ids
	}
	return want, got
}

func (m *model) putOperator() (want, got error) {
	hash := sha256.Sum256([]byte{byte(m.rand.IntN(4))})
	o := broker.Operator{Name: fmt.Sprintf("o%d", m.rand.IntN(3)), Hash: hash[:], Expires: m.now.Add(time.Hour), Created: m.now, Scope: broker.OperatorAdmin}
	for _, other := range m.set.operators {
		if other.Name != o.Name && bytes.Equal(other.Hash, o.Hash) {
			want = broker.ErrExists
		}
	}
	_, known := m.set.operators[o.Name]
	if want == nil {
		m.set.operators[o.Name] = o
	}
	if !known {
		return want, m.e.operators.CreateOperator(m.e.ctx, by(), o)
	}
	_, got = m.e.operators.UpdateOperator(m.e.ctx, by(), o.Name, func(was *broker.Operator, _ []broker.Operator) error { *was = o; return nil })
	return want, got
}

func (m *model) deleteOperator() (want, got error) {
	name := fmt.Sprintf("o%d", m.rand.IntN(3))
	if _, exists := m.set.operators[name]; !exists {
		want = broker.ErrNotFound
	}
	delete(m.set.operators, name)
	return want, m.e.operators.DeleteOperator(m.e.ctx, by(), name, nil)
}

// createDevices creates a few at once: what one alone would come to, in the order of names.
func (m *model) createDevices() (want, got error) {
	all := make([]broker.Device, 1+m.rand.IntN(5))
	order := make([]int, len(all))
	for i := range all {
		all[i], order[i] = m.newDevice(), i
	}
	slices.SortStableFunc(order, func(i, j int) int { return cmp.Compare(all[i].ID.String(), all[j].ID.String()) })
	wants := make([]error, len(all))
	for _, i := range order {
		wants[i] = m.comes(all[i])
	}
	for i, err := range m.e.devices.CreateDevices(m.e.ctx, by(), all) {
		if !sameError(wants[i], err) {
			return wants[i], fmt.Errorf("device %d: %w", i, cmp.Or(err, errors.New("none")))
		}
	}
	return nil, nil
}

// compareSettings reads all that operators set, as another broker reads it.
func (m *model) compareSettings() {
	m.e.t.Helper()
	pools, err := m.e.other.pools.ListPools(m.e.ctx)
	m.e.ok(err)
	for i := range pools {
		pools[i].Rev = 0
	}
	m.e.same(sorted(m.set.pools, func(broker.Pool) bool { return true }, func(a, b broker.Pool) int { return cmp.Compare(a.Name.String(), b.Name.String()) }), pools)
	operators, err := m.e.other.operators.ListOperators(m.e.ctx)
	m.e.ok(err)
	m.e.same(sorted(m.set.operators, func(broker.Operator) bool { return true }, func(a, b broker.Operator) int { return cmp.Compare(a.Name, b.Name) }), operators)
	for n := range byte(4) {
		hash := sha256.Sum256([]byte{n})
		o, err := m.e.other.operators.OperatorByHash(m.e.ctx, hash[:])
		if err == nil && m.set.operators[o.Name].Name == "" || err != nil && !errors.Is(err, broker.ErrNotFound) {
			m.e.t.Fatalf("operator by hash %d: %+v, %v", n, o, err)
		}
		owned := slices.ContainsFunc(operators, func(o broker.Operator) bool { return bytes.Equal(o.Hash, hash[:]) })
		m.e.same(owned, err == nil)
	}
	for p := range m.set.pools {
		keys, err := m.e.other.keys.ListSigningKeys(m.e.ctx, p)
		m.e.ok(err)
		m.e.same(append([]broker.SigningKey(nil), m.set.keys[p]...), append([]broker.SigningKey(nil), keys...))
		for _, kind := range []string{"thing", "thong"} {
			got, err := m.e.other.settings.ListSettings(m.e.ctx, p, kind, "", 1000)
			m.e.ok(err)
			m.e.same(sorted(m.set.documents, func(d broker.Document) bool { return d.Pool == p && d.Kind == kind }, func(a, b broker.Document) int {
				return cmp.Compare(a.Name, b.Name)
			}), got)
		}
	}
}
