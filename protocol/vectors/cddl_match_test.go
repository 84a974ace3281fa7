package vectors_test

import (
	"errors"
	"fmt"
	"maps"
	"regexp"

	"github.com/fxamacker/cbor/v2"
)

// A matcher holds values against rules. Where maps are open, unknown keys that are
// not negative are passed over, as the protocol does; elsewhere they are a fault.
type matcher struct {
	rules map[string]*rule
	open  bool
}

// A scope gives a generic rule's parameters their types.
type scope map[string]bound

type bound struct {
	typ *cddlType
	in  scope
}

// match holds one CBOR item against the rule called name.
func (m matcher) match(name string, raw []byte) error {
	return m.named(&cddlTerm{name: name}, nil, raw, nil)
}

// value decodes, with tags, integers as int64.
func value(raw []byte) (any, error) {
	var v any
	if err := cbor.Unmarshal(raw, &v); err != nil {
		return nil, err
	}
	return plainInts(v), nil
}

func plainInts(v any) any {
	switch v := v.(type) {
	case uint64:
		return int64(v)
	case []any:
		for i := range v {
			v[i] = plainInts(v[i])
		}
	case map[any]any:
		out := make(map[any]any, len(v))
		for k, x := range v {
			out[plainInts(k)] = plainInts(x)
		}
		return out
	case cbor.Tag:
		return cbor.Tag{Number: v.Number, Content: plainInts(v.Content)}
	}
	return v
}

// named resolves a name: a parameter, one of CDDL's own types, or a rule. raw is
// given in place of v at the start and for .cbor.
func (m matcher) named(t *cddlTerm, in scope, raw []byte, v any) error {
	if raw != nil {
		var err error
		if v, err = value(raw); err != nil {
			return err
		}
	}
	if b, ok := in[t.name]; ok {
		return m.typ(b.typ, b.in, v)
	}
	if ok, known := prelude(t.name, v); known {
		return fault(ok, "%v is no %s", v, t.name)
	}
	r := m.rules[t.name]
	if r == nil || r.typ == nil {
		return fmt.Errorf("no rule for the type %q", t.name)
	}
	return m.typ(r.typ, bind(r, t, in), v)
}

func bind(r *rule, t *cddlTerm, in scope) scope {
	out := make(scope)
	for i, p := range r.params {
		out[p] = bound{t.args[i], in}
	}
	return out
}

func prelude(name string, v any) (ok, known bool) {
	switch name {
	case "tstr":
		_, ok = v.(string)
	case "bstr":
		_, ok = v.([]byte)
	case "bool":
		_, ok = v.(bool)
	case "uint":
		n, isInt := v.(int64)
		ok = isInt && n >= 0
	default:
		return false, false
	}
	return ok, true
}

func fault(ok bool, format string, args ...any) error {
	if ok {
		return nil
	}
	return fmt.Errorf(format, args...)
}

func (m matcher) typ(t *cddlType, in scope, v any) error {
	var all []error
	for i := range *t {
		err := m.term(&(*t)[i], in, v)
		if err == nil {
			return nil
		}
		all = append(all, err)
	}
	return errors.Join(all...)
}

func (m matcher) term(t *cddlTerm, in scope, v any) error {
	if err := m.plain(t, in, v); err != nil {
		return err
	}
	switch t.operator {
	case "size":
		return m.size(t.operand, in, v)
	case "regexp":
		s, _ := v.(string)
		pattern, _ := t.operand.literal.(string)
		return fault(regexp.MustCompile("^(?:"+pattern+")$").MatchString(s), "%q is not %s", s, pattern)
	case "cbor":
		b, _ := v.([]byte)
		inner, err := value(b)
		if err != nil {
			return err
		}
		return m.term(t.operand, in, inner)
	}
	return nil
}

func (m matcher) size(of *cddlTerm, in scope, v any) error {
	n := int64(-1)
	switch v := v.(type) {
	case []byte:
		n = int64(len(v))
	case string:
		n = int64(len(v))
	}
	if err := m.term(of, in, n); err != nil {
		return fmt.Errorf("size: %w", err)
	}
	return nil
}

func (m matcher) plain(t *cddlTerm, in scope, v any) error {
	switch {
	case t.literal != nil:
		return fault(v == t.literal, "%v is not %v", v, t.literal)
	case t.low != nil:
		n, ok := v.(int64)
		return fault(ok && n >= *t.low && n <= t.high, "%v is not from %d to %d", v, *t.low, t.high)
	case t.enum != nil:
		for _, e := range (*t.enum)[0] {
			if m.typ(e.value, in, v) == nil {
				return nil
			}
		}
		return fmt.Errorf("%v is not in the list", v)
	case t.tag != nil:
		tag, ok := v.(cbor.Tag)
		if !ok || tag.Number != *t.tag {
			return fmt.Errorf("no tag %d", *t.tag)
		}
		return m.typ(t.inner, in, tag.Content)
	case t.inner != nil:
		return m.typ(t.inner, in, v)
	case t.array:
		list, ok := v.([]any)
		if !ok {
			return errors.New("no array")
		}
		return m.array((*t.members)[0], in, list)
	case t.members != nil:
		return m.mapping(t.members, in, v)
	}
	return m.named(t, in, nil, v)
}

func (m matcher) array(entries []cddlEntry, in scope, list []any) error {
	for _, e := range entries {
		n := 0
		for n < e.most && len(list) > 0 && m.typ(e.value, in, list[0]) == nil {
			list, n = list[1:], n+1
		}
		if n < e.least {
			if len(list) == 0 {
				return errors.New("too few elements")
			}
			return m.typ(e.value, in, list[0])
		}
	}
	return fault(len(list) == 0, "%d elements too many", len(list))
}

func (m matcher) mapping(g *cddlGroup, in scope, v any) error {
	pairs, ok := v.(map[any]any)
	if !ok {
		return fmt.Errorf("%v is no map", v)
	}
	left := maps.Clone(pairs)
	if err := m.group(g, in, left); err != nil {
		return err
	}
	known := m.keys(g, in)
	for k := range left {
		n, isInt := k.(int64)
		if _, other := known[n]; !m.open || !isInt || n < 0 || other {
			return fmt.Errorf("key %v is unknown, or one of another choice", k)
		}
	}
	return nil
}

// keys gives the keys that are numbers, with those of groups put in, and whether
// each may be absent.
func (m matcher) keys(g *cddlGroup, in scope) map[int64]bool {
	out := make(map[int64]bool)
	for _, entries := range *g {
		for _, e := range entries {
			inner := e.group
			if inner == nil && e.key == nil {
				inner = m.rules[(*e.value)[0].name].group
			}
			if inner != nil {
				maps.Copy(out, m.keys(inner, in))
			} else if n, ok := m.number(e.key); ok {
				out[n] = e.least == 0 || len(*g) > 1
			}
		}
	}
	return out
}

// number gives the one number that a key is, written out or by its name.
func (m matcher) number(t *cddlType) (int64, bool) {
	if r := m.rules[(*t)[0].name]; r != nil && r.typ != nil {
		t = r.typ
	}
	n, ok := (*t)[0].literal.(int64)
	return n, ok
}

// group takes out of left what the first fitting choice accounts for.
func (m matcher) group(g *cddlGroup, in scope, left map[any]any) error {
	var all []error
	for _, entries := range *g {
		rest := maps.Clone(left)
		err := m.entries(entries, in, rest)
		if err == nil {
			maps.DeleteFunc(left, func(k, _ any) bool { _, still := rest[k]; return !still })
			return nil
		}
		all = append(all, err)
	}
	return errors.Join(all...)
}

func (m matcher) entries(entries []cddlEntry, in scope, left map[any]any) error {
	for _, e := range entries {
		var err error
		switch {
		case e.group != nil:
			err = m.group(e.group, in, left)
		case e.key == nil:
			t := &(*e.value)[0]
			r := m.rules[t.name]
			if r == nil || r.group == nil {
				return fmt.Errorf("no rule for the group %q", t.name)
			}
			err = m.group(r.group, bind(r, t, in), left)
		default:
			err = m.member(e, in, left)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (m matcher) member(e cddlEntry, in scope, left map[any]any) error {
	n := 0
	for k, v := range left {
		if m.typ(e.key, in, k) != nil {
			continue
		}
		if err := m.typ(e.value, in, v); err != nil {
			return fmt.Errorf("key %v: %w", k, err)
		}
		delete(left, k)
		n++
	}
	return fault(n >= e.least && n <= e.most, "%d members with a key that occurs %d times at least", n, e.least)
}
