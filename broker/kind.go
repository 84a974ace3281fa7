package broker

import (
	"encoding/json"
	"fmt"
	"time"

	"github.com/signetd/signet/protocol/ident"
)

// A Kind is one sort of setting: how N, a noun of the domain, is named, checked, and
// kept as a Document. Each noun's file has its own.
type Kind[N any] struct {
	Name   string // "client": in documents
	Plural string // "clients": in files
	Word   string // in sentences, if that is not Name
	// New gives one of that name with what holds when nothing else is said.
	New func(pool ident.Pool, name string) N
	// Head points to what a document has beside its body.
	Head func(*N) Head
	// Check gives the rules that one breaks.
	Check func(*N) error
	// Own copies what a caller could write through; nil if there is nothing.
	Own func(N) N
	// Refs gives the documents that one needs; nil: none.
	Refs func(*N) []Ref
	// Keep carries over what a replacement does not say, such as a secret; nil: nothing.
	Keep func(old, n *N)
	// Becomes refuses a change of what never changes; nil: all may.
	Becomes func(old, n *N) error
	// Undeletable gives why the one of that name stays; nil: none does.
	Undeletable func(name string) error
	// Counted says that devices use it up (Document.Used): its count is always read anew.
	Counted bool
}

// A Head points to those members of a noun that a document has beside its body.
type Head struct {
	Pool    *ident.Pool
	Name    *string
	Rev     *uint64
	Created *time.Time
	Used    *int // nil when its Kind is not Counted
}

// About names one in a sentence.
func (k Kind[N]) About(name string) string {
	if k.Word == "" {
		return k.Name + " " + name
	}
	return fmt.Sprintf("%s %q", k.Word, name)
}

// Copy gives n with nothing that a writer of one could change in the other.
func (k Kind[N]) Copy(n N) N {
	if k.Own == nil {
		return n
	}
	return k.Own(n)
}

// Document checks n and gives it as it is stored, at its revision. The body is JSON.
func (k Kind[N]) Document(n *N) (Document, error) {
	h := k.Head(n)
	if err := k.Check(n); err != nil {
		return Document{}, err
	}
	body, err := json.Marshal(n)
	if err != nil {
		return Document{}, fmt.Errorf("encode %s %s: %w", k.Name, *h.Name, err)
	}
	d := Document{Pool: *h.Pool, Kind: k.Name, Name: *h.Name, Rev: *h.Rev, Created: *h.Created, Body: body}
	if k.Refs != nil {
		d.Refs = k.Refs(n)
	}
	if h.Used != nil {
		d.Used = *h.Used
	}
	return d, d.Check()
}

// Noun reads a document of this kind.
func (k Kind[N]) Noun(d Document) (N, error) {
	var n N
	if d.Kind != k.Name {
		return n, fmt.Errorf("stored %s %s is no %s", d.Kind, d.Name, k.Name)
	}
	if err := json.Unmarshal(d.Body, &n); err != nil {
		return n, fmt.Errorf("stored %s %s: %w", k.Name, d.Name, err)
	}
	h := k.Head(&n)
	*h.Pool, *h.Name, *h.Rev, *h.Created = d.Pool, d.Name, d.Rev, d.Created
	if h.Used != nil {
		*h.Used = d.Used
	}
	return n, nil
}

// Nouns is Noun for many.
func (k Kind[N]) Nouns(all []Document) ([]N, error) {
	out := make([]N, 0, len(all))
	for _, d := range all {
		n, err := k.Noun(d)
		if err != nil {
			return nil, err
		}
		out = append(out, n)
	}
	return out, nil
}

// Get reads one in a transaction.
func (k Kind[N]) Get(tx SettingsTx, pool ident.Pool, name string) (N, error) {
	d, err := tx.Setting(pool, k.Name, name)
	if err != nil {
		var none N
		return none, err
	}
	return k.Noun(d)
}

// Put writes n in a transaction over the revision that it has, or as a new one at
// revision 0, and gives n its new revision. One that says what is stored already is
// not written, and changed is false.
func (k Kind[N]) Put(tx SettingsTx, n *N, now time.Time) (changed bool, err error) {
	h := k.Head(n)
	if *h.Rev == 0 {
		*h.Created = now
	}
	d, err := k.Document(n)
	if err != nil {
		return false, err
	}
	if d.Rev != 0 {
		old, err := tx.Setting(d.Pool, d.Kind, d.Name)
		if err != nil {
			return false, err
		}
		if err := k.becomes(old, n); err != nil {
			return false, err
		}
		if old.Rev == d.Rev && string(old.Body) == string(d.Body) {
			return false, nil
		}
	}
	d.Updated = now
	*h.Rev, err = tx.PutSetting(d)
	return err == nil, err
}

func (k Kind[N]) becomes(old Document, n *N) error {
	if k.Becomes == nil {
		return nil
	}
	was, err := k.Noun(old)
	if err != nil {
		return err
	}
	return k.Becomes(&was, n)
}

// CarryOver copies to n what its replacement of old cannot or does not say: revision, time
// of creation, uses, and what Keep keeps.
func (k Kind[N]) CarryOver(old, n *N) {
	from, to := k.Head(old), k.Head(n)
	*to.Rev, *to.Created = *from.Rev, *from.Created
	if to.Used != nil {
		*to.Used = *from.Used
	}
	if k.Keep != nil {
		k.Keep(old, n)
	}
}

// Delete deletes one in a transaction, unless it is one that stays.
func (k Kind[N]) Delete(tx SettingsTx, pool ident.Pool, name string) error {
	if k.Undeletable != nil {
		if err := k.Undeletable(name); err != nil {
			return err
		}
	}
	return tx.DeleteSetting(pool, k.Name, name)
}
