package strictjson

import (
	"bytes"
	"encoding"
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
)

// Unmarshal checks a document of at most max bytes, an object, and reads it into what v
// points to as encoding/json does, whose tags count. It refuses what that forgives: a member
// that v does not have, spelt exactly, at any depth, besides all that Object refuses.
// encoding/json takes "Token" for "token", the last of several, and so may see another
// document than whoever checked it before. Types that read JSON or text themselves, and maps'
// names, are left to themselves. An error wraps ErrMalformed or is encoding/json's.
func Unmarshal(data []byte, max int, v any) error {
	if _, err := ObjectWithin(data, max, MaxMembers); err != nil {
		return err
	}
	if err := fits(bytes.TrimSpace(data), reflect.TypeOf(v), ""); err != nil {
		return err
	}
	return json.Unmarshal(data, v)
}

// fits refuses members that t does not have; at says where v is.
func fits(v Value, t reflect.Type, at string) error {
	for t != nil && t.Kind() == reflect.Pointer && !readsItself(t) {
		t = t.Elem()
	}
	if t == nil || len(v) == 0 || readsItself(t) || readsItself(reflect.PointerTo(t)) {
		return nil
	}
	switch {
	case v[0] == '{' && (t.Kind() == reflect.Struct || t.Kind() == reflect.Map):
		return membersFit(v, t, at)
	case v[0] == '[' && (t.Kind() == reflect.Slice || t.Kind() == reflect.Array):
		elements, err := v.Array()
		if err != nil {
			return err
		}
		for i, e := range elements {
			if err := fits(e, t.Elem(), fmt.Sprintf("%s[%d]", at, i)); err != nil {
				return err
			}
		}
	}
	return nil // the wrong type is for encoding/json to refuse
}

func membersFit(v Value, t reflect.Type, at string) error {
	members, err := v.Object()
	if err != nil {
		return err
	}
	var known map[string]reflect.Type
	if t.Kind() == reflect.Struct {
		known = map[string]reflect.Type{}
		addMembers(t, known)
	}
	if at != "" {
		at += "."
	}
	for _, m := range members {
		inner, ok := known[m.Name]
		if t.Kind() == reflect.Map {
			inner, ok = t.Elem(), true
		}
		if !ok {
			return unknown(at, m.Name, known)
		}
		if err := fits(m.Value, inner, at+m.Name); err != nil {
			return err
		}
	}
	return nil
}

func unknown(at, name string, known map[string]reflect.Type) error {
	for k := range known {
		if strings.EqualFold(k, name) {
			return fmt.Errorf("%w: member %q is spelt %q", ErrMalformed, at+name, k)
		}
	}
	return fmt.Errorf("%w: unknown member %q", ErrMalformed, at+name)
}

// addMembers adds the members that encoding/json sees in a struct.
func addMembers(t reflect.Type, to map[string]reflect.Type) {
	for i := range t.NumField() {
		f := t.Field(i)
		tag := f.Tag.Get("json")
		name, _, _ := strings.Cut(tag, ",")
		inner := f.Type
		if inner.Kind() == reflect.Pointer {
			inner = inner.Elem()
		}
		switch {
		case tag == "-":
		case f.Anonymous && name == "" && inner.Kind() == reflect.Struct:
			addMembers(inner, to)
		case !f.IsExported():
		case name == "":
			to[f.Name] = f.Type
		default:
			to[name] = f.Type
		}
	}
}

// readsItself reports whether encoding/json leaves the reading to t.
func readsItself(t reflect.Type) bool {
	return t.Implements(reflect.TypeFor[json.Unmarshaler]()) || t.Implements(reflect.TypeFor[encoding.TextUnmarshaler]())
}
