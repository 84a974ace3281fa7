// Package strictjson reads JSON that decides something, such as tokens, keys and
// settings, without the freedoms of encoding/json: member names match exactly, no name occurs twice at any
// depth (RFC 7515, section 4; RFC 7519, section 4), text is UTF-8, numbers that
// should be integers are written as integers, and depth, members and size are bounded.
//
// It never fills in or corrects a value.
package strictjson

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"unicode/utf16"
	"unicode/utf8"
)

// Limits on one document, far above what Signet sends.
const (
	MaxSize    = 64 << 10 // bytes
	MaxDepth   = 8        // objects and arrays inside one another
	MaxMembers = 256      // members of one object, elements of one array
)

// ErrMalformed is wrapped by every error of this package.
var ErrMalformed = errors.New("malformed JSON")

// A Value is a value as it was written, already checked to its depths. Only this
// package makes one that is not empty.
type Value []byte

// A Member is one name and its value.
type Member struct {
	Name  string
	Value Value
}

// Object checks the whole document and gives its top-level members in order.
// Values share data's memory.
func Object(data []byte) ([]Member, error) { return ObjectWithin(data, MaxSize, MaxMembers) }

// ObjectWithin is Object for documents of up to size bytes whose arrays have up to
// elements each. Its objects have no more than MaxMembers all the same: each name is
// held against all others.
func ObjectWithin(data []byte, size, elements int) ([]Member, error) {
	if len(data) > size {
		return nil, fmt.Errorf("%w: %d bytes, at most %d", ErrMalformed, len(data), size)
	}
	if !utf8.Valid(data) {
		return nil, fmt.Errorf("%w: not UTF-8", ErrMalformed)
	}
	w := walker{data: data, elementsMax: elements, keep: true}
	w.space()
	if w.peek() != '{' {
		return nil, w.unexpected("an object")
	}
	if err := w.object(1); err != nil {
		return nil, err
	}
	if w.space(); w.pos != len(data) {
		return nil, w.unexpected("nothing more")
	}
	return w.members, nil
}

// Object gives an object's members in order.
func (v Value) Object() ([]Member, error) {
	if len(v) == 0 || v[0] != '{' {
		return nil, fmt.Errorf("%w: want an object", ErrMalformed)
	}
	w := walker{data: v, elementsMax: len(v), keep: true} // their number was checked
	if err := w.object(1); err != nil {
		return nil, err
	}
	return w.members, nil
}

// Array gives an array's elements in order.
func (v Value) Array() ([]Value, error) {
	if len(v) == 0 || v[0] != '[' {
		return nil, fmt.Errorf("%w: want an array", ErrMalformed)
	}
	w := walker{data: v, elementsMax: len(v), keep: true} // their number was checked
	if err := w.array(1); err != nil {
		return nil, err
	}
	return w.elements, nil
}

// TextMap reads an object whose members are all texts.
func (v Value) TextMap() (map[string]string, error) {
	members, err := v.Object()
	if err != nil {
		return nil, err
	}
	out := make(map[string]string, len(members))
	for _, m := range members {
		if out[m.Name], err = m.Value.Text(); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// Text reads a string.
func (v Value) Text() (string, error) {
	s, err := v.Chars()
	return string(s), err
}

// Chars is Text whose bytes may share the document's memory.
func (v Value) Chars() ([]byte, error) {
	if len(v) < 2 || v[0] != '"' {
		return nil, fmt.Errorf("%w: want a string", ErrMalformed)
	}
	return unquote(v)
}

// Texts reads an array of strings.
func (v Value) Texts() ([]string, error) {
	elements, err := v.Array()
	if err != nil {
		return nil, err
	}
	out := make([]string, len(elements))
	for i, e := range elements {
		if out[i], err = e.Text(); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// Integer reads a number written as an integer that fits 64 bits with sign: no
// fraction, no exponent, no negative zero.
func (v Value) Integer() (int64, error) {
	n, err := strconv.ParseInt(string(v), 10, 64)
	if err != nil || n == 0 && string(v) != "0" {
		return 0, fmt.Errorf("%w: want an integer", ErrMalformed)
	}
	return n, nil
}

// unquote gives what a string says, in the document's memory if it can.
func unquote(quoted []byte) ([]byte, error) {
	inner := quoted[1 : len(quoted)-1]
	if bytes.IndexByte(inner, '\\') < 0 {
		return inner, nil
	}
	out := make([]byte, 0, len(inner))
	for len(inner) > 0 {
		c := inner[0]
		if c != '\\' {
			out, inner = append(out, c), inner[1:]
			continue
		}
		if len(inner) < 2 {
			return nil, fmt.Errorf("%w: string ends in an escape", ErrMalformed)
		}
		if inner[1] != 'u' {
			out, inner = append(out, unescaped(inner[1])), inner[2:]
			continue
		}
		r, n := codePoint(inner)
		out, inner = utf8.AppendRune(out, r), inner[n:]
	}
	return out, nil
}

// unescaped gives what a backslash and c stand for. The walker lets no other c through.
func unescaped(c byte) byte {
	switch c {
	case 'b':
		return '\b'
	case 'f':
		return '\f'
	case 'n':
		return '\n'
	case 'r':
		return '\r'
	case 't':
		return '\t'
	}
	return c
}

// codePoint reads \uXXXX, or two that are a surrogate pair, and gives their length.
// Half a pair stands for U+FFFD, as in encoding/json.
func codePoint(b []byte) (rune, int) {
	r := codeUnit(b)
	if !utf16.IsSurrogate(r) {
		return r, min(len(b), 6)
	}
	if pair := utf16.DecodeRune(r, codeUnit(b[min(len(b), 6):])); pair != utf8.RuneError {
		return pair, 12
	}
	return utf8.RuneError, min(len(b), 6)
}

// codeUnit reads \uXXXX; -1 if there is none.
func codeUnit(b []byte) rune {
	if len(b) < 6 || b[0] != '\\' || b[1] != 'u' {
		return -1
	}
	n, err := strconv.ParseUint(string(b[2:6]), 16, 16)
	if err != nil {
		return -1
	}
	return rune(n)
}
