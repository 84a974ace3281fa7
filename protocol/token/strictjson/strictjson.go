// Package strictjson reads the JSON of tokens and key sets without the freedoms
// of encoding/json: member names match exactly, no name occurs twice at any
// depth (RFC 7515, section 4; RFC 7519, section 4), text is UTF-8, numbers that
// should be integers are written as integers, and depth, members and size are bounded.
//
// It imports the standard library only and never fills in or corrects a value.
package strictjson

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
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

// A Member is one name and its value, the value as it was written.
type Member struct {
	Name  string
	Value []byte
}

// Object checks the whole document and gives its top-level members in order.
// Values share data's memory.
func Object(data []byte) ([]Member, error) {
	start, err := check(data, '{')
	if err != nil {
		return nil, err
	}
	members, _, err := object(data, start, 1, true)
	return members, err
}

// Array checks the whole document and gives its top-level elements in order.
// Elements share data's memory.
func Array(data []byte) ([][]byte, error) {
	start, err := check(data, '[')
	if err != nil {
		return nil, err
	}
	elements, _, err := array(data, start, 1, true)
	return elements, err
}

// String reads a JSON string.
func String(value []byte) (string, error) {
	if len(value) < 2 || value[0] != '"' {
		return "", fmt.Errorf("%w: want a string", ErrMalformed)
	}
	return text(value)
}

// Strings reads an array of JSON strings.
func Strings(value []byte) ([]string, error) {
	elements, err := Array(value)
	if err != nil {
		return nil, err
	}
	out := make([]string, len(elements))
	for i, e := range elements {
		if out[i], err = String(e); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// Integer reads a JSON number written as an integer that fits 64 bits with
// sign: no fraction, no exponent, no negative zero.
func Integer(value []byte) (int64, error) {
	n, err := strconv.ParseInt(string(value), 10, 64)
	if err != nil || strconv.FormatInt(n, 10) != string(value) {
		return 0, fmt.Errorf("%w: want an integer", ErrMalformed)
	}
	return n, nil
}

// check makes sure of syntax, encoding and size, so that the walk below only
// meets well-formed JSON, and finds where the value starts.
func check(data []byte, open byte) (start int, err error) {
	if len(data) > MaxSize {
		return 0, fmt.Errorf("%w: %d bytes, at most %d", ErrMalformed, len(data), MaxSize)
	}
	if !utf8.Valid(data) {
		return 0, fmt.Errorf("%w: not UTF-8", ErrMalformed)
	}
	if !json.Valid(data) {
		return 0, fmt.Errorf("%w: syntax", ErrMalformed)
	}
	start = space(data, 0)
	if data[start] != open {
		return 0, fmt.Errorf("%w: want a value that starts with %q", ErrMalformed, open)
	}
	return start, nil
}

// object walks the object at data[i]. It gives members only if keep is set.
func object(data []byte, i, depth int, keep bool) (members []Member, end int, err error) {
	if depth > MaxDepth {
		return nil, 0, fmt.Errorf("%w: nested deeper than %d at offset %d", ErrMalformed, MaxDepth, i)
	}
	members = make([]Member, 0, 8)
	for i = space(data, i+1); data[i] != '}'; i = comma(data, i) {
		nameEnd := stringEnd(data, i)
		name, err := text(data[i:nameEnd])
		if err != nil {
			return nil, 0, err
		}
		for _, m := range members {
			if m.Name == name {
				return nil, 0, fmt.Errorf("%w: %q occurs twice", ErrMalformed, name)
			}
		}
		if len(members) == MaxMembers {
			return nil, 0, fmt.Errorf("%w: more than %d members", ErrMalformed, MaxMembers)
		}
		start := space(data, space(data, nameEnd)+1) // past the colon
		if i, err = value(data, start, depth); err != nil {
			return nil, 0, err
		}
		members = append(members, Member{name, data[start:i]})
	}
	if !keep {
		members = nil
	}
	return members, i + 1, nil
}

func array(data []byte, i, depth int, keep bool) (elements [][]byte, end int, err error) {
	if depth > MaxDepth {
		return nil, 0, fmt.Errorf("%w: nested deeper than %d at offset %d", ErrMalformed, MaxDepth, i)
	}
	count := 0
	for i = space(data, i+1); data[i] != ']'; i = comma(data, i) {
		if count++; count > MaxMembers {
			return nil, 0, fmt.Errorf("%w: more than %d elements", ErrMalformed, MaxMembers)
		}
		start := i
		if i, err = value(data, start, depth); err != nil {
			return nil, 0, err
		}
		if keep {
			elements = append(elements, data[start:i])
		}
	}
	return elements, i + 1, nil
}

// value gives the offset behind the value at data[i], having checked what is inside.
func value(data []byte, i, depth int) (end int, err error) {
	switch data[i] {
	case '{':
		_, end, err = object(data, i, depth+1, false)
	case '[':
		_, end, err = array(data, i, depth+1, false)
	case '"':
		end = stringEnd(data, i)
	default:
		for end = i; end < len(data) && !delimiter(data[end]); end++ {
		}
	}
	return end, err
}

func delimiter(c byte) bool {
	return c == ',' || c == ']' || c == '}' || c == ' ' || c == '\t' || c == '\n' || c == '\r'
}

func space(data []byte, i int) int {
	for i < len(data) && (data[i] == ' ' || data[i] == '\t' || data[i] == '\n' || data[i] == '\r') {
		i++
	}
	return i
}

// comma gives the offset of what follows a member: the next one or the closing bracket.
func comma(data []byte, i int) int {
	i = space(data, i)
	if data[i] == ',' {
		i = space(data, i+1)
	}
	return i
}

func stringEnd(data []byte, i int) int {
	for i++; data[i] != '"'; i++ {
		if data[i] == '\\' {
			i++
		}
	}
	return i + 1
}

func text(quoted []byte) (string, error) {
	inner := quoted[1 : len(quoted)-1]
	for _, c := range inner {
		if c == '\\' {
			var s string
			if err := json.Unmarshal(quoted, &s); err != nil {
				return "", fmt.Errorf("%w: string: %w", ErrMalformed, err)
			}
			return s, nil
		}
	}
	return string(inner), nil
}
