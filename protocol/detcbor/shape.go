package detcbor

import (
	"fmt"
	"reflect"
	"strconv"
	"strings"

	"github.com/fxamacker/cbor/v2"
)

// A Shape is what a struct's encoding looks like: which keys its map has, which of
// them are required, and what each holds. The library's decoder is generous where a
// protocol may not be: it takes an array of integers for a byte string, null for
// anything, fewer bytes than an array has, and says nothing of what is missing. An
// optional key with an empty value, which no encoder of ours writes, is refused too.
type Shape struct {
	fields map[int64]field
	need   int
}

type field struct {
	required bool
	item     item
}

// item is what one value must be.
type item struct {
	major  Major // anyMajor: everything but null
	length int64 // of a byte string, if fixed; else -1
	values *item // of an array's elements and a map's values
	fields *Shape
}

const anyMajor Major = 0xff

// ShapeOf derives the shape of a struct whose fields have "keyasint" tags: a field
// without omitempty is required. It is for types known when a program is written,
// and panics on others.
func ShapeOf(v any) *Shape {
	s := &Shape{fields: make(map[int64]field)}
	s.add(reflect.TypeOf(v))
	for _, f := range s.fields {
		if f.required {
			s.need++
		}
	}
	return s
}

func (s *Shape) add(t reflect.Type) {
	for i := range t.NumField() {
		f := t.Field(i)
		tag := f.Tag.Get("cbor")
		if f.Anonymous && tag == "" {
			s.add(f.Type)
			continue
		}
		key, options, _ := strings.Cut(tag, ",")
		if !f.IsExported() || key == "-" {
			continue
		}
		n, err := strconv.ParseInt(key, 10, 64)
		if err != nil || !strings.Contains(options, "keyasint") {
			panic(fmt.Sprintf("detcbor: field %s of %s has no integer key", f.Name, t))
		}
		s.fields[n] = field{required: !strings.Contains(options, "omitempty"), item: itemOf(f.Type)}
	}
}

func itemOf(t reflect.Type) item {
	// By name, it would keep the linker from dropping reflect.StructOf and more: 49 kB.
	custom := reflect.PointerTo(t).Implements(reflect.TypeFor[cbor.Unmarshaler]())
	switch {
	case custom:
		return item{major: anyMajor, length: -1}
	case t.Kind() == reflect.Pointer:
		return itemOf(t.Elem())
	case (t.Kind() == reflect.Slice || t.Kind() == reflect.Array) && t.Elem().Kind() == reflect.Uint8:
		if t.Kind() == reflect.Array {
			return item{major: Bytes, length: int64(t.Len())}
		}
		return item{major: Bytes, length: -1}
	}
	switch t.Kind() {
	case reflect.String:
		return item{major: Text, length: -1}
	case reflect.Bool:
		return item{major: Simple, length: -1}
	case reflect.Struct:
		return item{major: Map, length: -1, fields: ShapeOf(reflect.Zero(t).Interface())}
	case reflect.Slice:
		v := itemOf(t.Elem())
		return item{major: Array, length: -1, values: &v}
	case reflect.Map:
		v := itemOf(t.Elem())
		return item{major: Map, length: -1, values: &v}
	case reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Uint:
		return item{major: Uint, length: -1}
	}
	return item{major: anyMajor, length: -1}
}

// Check reports whether the item that r is at the start of has the shape. Keys that
// the shape does not know are passed over. Errors wrap ErrMalformed.
func (s *Shape) Check(r Reader) error {
	w := walker{r}
	return w.fields(s)
}

type walker struct{ Reader }

func (w *walker) fields(s *Shape) error {
	start := w.pos
	major, n := w.Head()
	if major != Map {
		return fmt.Errorf("%w: want a map at offset %d", ErrMalformed, start)
	}
	found := 0
	for range n {
		major, arg := w.Head()
		key := int64(arg)
		switch major {
		case Nint:
			key = -1 - key
		case Bytes, Text:
			w.Take(arg)
		}
		f, ok := s.fields[key]
		if !ok || major > Nint {
			w.Skip()
			continue
		}
		if f.required {
			found++
		}
		if b := w.data[w.pos]; !f.required && emptyHead(b) {
			return fmt.Errorf("key %d: %w: empty at offset %d; leave the key out instead", key, ErrMalformed, w.pos)
		}
		if err := w.item(&f.item); err != nil {
			return fmt.Errorf("key %d: %w", key, err)
		}
	}
	if found < s.need {
		return fmt.Errorf("%w: %d required keys are missing from the map at offset %d", ErrMalformed, s.need-found, start)
	}
	return nil
}

// emptyHead reports whether b begins a string, an array or a map of nothing.
func emptyHead(b byte) bool { return b>>5 >= 2 && b>>5 <= 5 && b&31 == 0 }

func (w *walker) item(want *item) error {
	start := w.pos
	if want.fields != nil {
		return w.fields(want.fields)
	}
	if w.data[start] == 0xf6 {
		return fmt.Errorf("%w: null at offset %d; leave the key out instead", ErrMalformed, start)
	}
	if want.major == anyMajor {
		w.Skip()
		return nil
	}
	major, arg := w.Head()
	if major != want.major {
		return fmt.Errorf("%w: major type %d at offset %d, want %d", ErrMalformed, major, start, want.major)
	}
	switch major {
	case Bytes, Text:
		if want.length >= 0 && arg != uint64(want.length) {
			return fmt.Errorf("%w: %d bytes at offset %d, want %d", ErrMalformed, arg, start, want.length)
		}
		w.Take(arg)
	case Array, Map:
		return w.members(major, arg, want.values)
	}
	return nil
}

func (w *walker) members(major Major, n uint64, want *item) error {
	for range n {
		if major == Map {
			w.Skip()
		}
		if err := w.item(want); err != nil {
			return err
		}
	}
	return nil
}
