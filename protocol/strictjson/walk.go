package strictjson

import (
	"bytes"
	"fmt"
	"strings"
)

// A walker reads one document (RFC 8259) from left to right. With keep set it
// keeps the members or elements of the outermost value.
type walker struct {
	data        []byte
	pos         int
	elementsMax int // of one array
	keep        bool
	members     []Member
	elements    []Value
}

// peek gives the next byte, or 0, which starts nothing in JSON, at the end.
func (w *walker) peek() byte {
	if w.pos < len(w.data) {
		return w.data[w.pos]
	}
	return 0
}

func (w *walker) space() {
	for w.pos < len(w.data) {
		switch w.data[w.pos] {
		case ' ', '\t', '\n', '\r':
			w.pos++
		default:
			return
		}
	}
}

func (w *walker) unexpected(want string) error {
	return fmt.Errorf("%w: offset %d: want %s", ErrMalformed, w.pos, want)
}

// value walks over any value; depth is that of an object or array found here.
func (w *walker) value(depth int) error {
	switch c := w.peek(); {
	case c == '"':
		return w.text()
	case c == '{':
		return w.object(depth)
	case c == '[':
		return w.array(depth)
	case c == '-' || c >= '0' && c <= '9':
		return w.number()
	}
	for _, word := range []string{"true", "false", "null"} {
		if rest := w.data[w.pos:]; len(rest) >= len(word) && string(rest[:len(word)]) == word {
			w.pos += len(word)
			return nil
		}
	}
	return w.unexpected("a value")
}

func (w *walker) object(depth int) error {
	if depth > MaxDepth {
		return w.unexpected(fmt.Sprintf("at most %d levels", MaxDepth))
	}
	var space [24]pair
	members := space[:0]
	w.pos++
	w.space()
	for first := true; w.peek() != '}'; first = false {
		if err := w.separator(first, len(members), MaxMembers); err != nil {
			return err
		}
		m, err := w.member(depth)
		if err != nil {
			return err
		}
		for i := range members {
			if bytes.Equal(members[i].name, m.name) {
				return fmt.Errorf("%w: %q occurs twice", ErrMalformed, m.name)
			}
		}
		members = append(members, m)
		w.space()
	}
	w.pos++
	if w.keep && depth == 1 {
		w.members = named(members)
	}
	return nil
}

// named gives the members with names of their own, which share one allocation.
func named(members []pair) []Member {
	length := 0
	for _, m := range members {
		length += len(m.name)
	}
	var all strings.Builder
	all.Grow(length)
	for _, m := range members {
		all.Write(m.name)
	}
	out, rest := make([]Member, len(members)), all.String()
	for i, m := range members {
		out[i] = Member{rest[:len(m.name)], m.value}
		rest = rest[len(m.name):]
	}
	return out
}

// A pair is a Member whose name still shares the document's memory.
type pair struct {
	name  []byte
	value Value
}

// member walks over name, colon and value.
func (w *walker) member(depth int) (pair, error) {
	start := w.pos
	if w.peek() != '"' {
		return pair{}, w.unexpected("a name")
	}
	if err := w.text(); err != nil {
		return pair{}, err
	}
	name, err := unquote(w.data[start:w.pos])
	if err != nil {
		return pair{}, err
	}
	w.space()
	if w.peek() != ':' {
		return pair{}, w.unexpected("a colon")
	}
	w.pos++
	w.space()
	start = w.pos
	if err := w.value(depth + 1); err != nil {
		return pair{}, err
	}
	return pair{name, Value(w.data[start:w.pos])}, nil
}

func (w *walker) array(depth int) error {
	if depth > MaxDepth {
		return w.unexpected(fmt.Sprintf("at most %d levels", MaxDepth))
	}
	w.pos++
	w.space()
	for count := 0; w.peek() != ']'; count++ {
		if err := w.separator(count == 0, count, w.elementsMax); err != nil {
			return err
		}
		start := w.pos
		if err := w.value(depth + 1); err != nil {
			return err
		}
		if w.keep && depth == 1 {
			w.elements = append(w.elements, Value(w.data[start:w.pos]))
		}
		w.space()
	}
	w.pos++
	return nil
}

// separator walks over the comma before every member but the first.
func (w *walker) separator(first bool, count, most int) error {
	if count >= most {
		return w.unexpected(fmt.Sprintf("at most %d members", most))
	}
	if first {
		return nil
	}
	if w.peek() != ',' {
		return w.unexpected("a comma or the end")
	}
	w.pos++
	w.space()
	return nil
}

// text walks over a string, whose escapes have to be among those of RFC 8259, 7.
func (w *walker) text() error {
	for w.pos++; w.pos < len(w.data); w.pos++ {
		switch c := w.data[w.pos]; {
		case c == '"':
			w.pos++
			return nil
		case c == '\\':
			if err := w.escape(); err != nil {
				return err
			}
		case c < 0x20:
			return w.unexpected("no control character")
		}
	}
	return w.unexpected("the end of a string")
}

// escape walks to the last byte of an escape.
func (w *walker) escape() error {
	w.pos++
	switch w.peek() {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		return nil
	case 'u':
		for range 4 {
			w.pos++
			if c := w.peek(); !(c >= '0' && c <= '9' || c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F') {
				return w.unexpected("a hexadecimal digit")
			}
		}
		return nil
	}
	return w.unexpected("an escape")
}

func (w *walker) number() error {
	if w.peek() == '-' {
		w.pos++
	}
	if w.peek() == '0' {
		w.pos++
	} else if err := w.digits(); err != nil {
		return err
	}
	if w.peek() == '.' {
		w.pos++
		if err := w.digits(); err != nil {
			return err
		}
	}
	if w.peek()|0x20 == 'e' {
		w.pos++
		if c := w.peek(); c == '+' || c == '-' {
			w.pos++
		}
		return w.digits()
	}
	return nil
}

func (w *walker) digits() error {
	start := w.pos
	for c := w.peek(); c >= '0' && c <= '9'; c = w.peek() {
		w.pos++
	}
	if w.pos == start {
		return w.unexpected("a digit")
	}
	return nil
}
