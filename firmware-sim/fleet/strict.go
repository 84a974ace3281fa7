package fleet

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"strings"

	"github.com/signetd/signet/protocol/strictjson"
)

// readStrictly reads one JSON object into the struct that v points to. It refuses
// doubled members and such as the struct does not have, spelt exactly, and says in
// which line and which one may have been meant.
func readStrictly(raw []byte, v any) error {
	if _, err := strictjson.Object(raw); err != nil {
		var syntax *json.SyntaxError
		if len(raw) <= strictjson.MaxSize && errors.As(json.Unmarshal(raw, new(json.RawMessage)), &syntax) {
			return fmt.Errorf("line %d: %w", line(raw, syntax.Offset), syntax)
		}
		return err
	}
	r := memberReader{raw: raw, dec: json.NewDecoder(bytes.NewReader(raw))}
	if err := r.value(reflect.TypeOf(v).Elem()); err != nil {
		return err
	}
	err := json.Unmarshal(raw, v)
	var wrong *json.UnmarshalTypeError
	if errors.As(err, &wrong) {
		return fmt.Errorf("line %d: %s: want %s, got %s", line(raw, wrong.Offset), wrong.Field, wrong.Type, wrong.Value)
	}
	return err
}

func line(raw []byte, offset int64) int {
	return 1 + bytes.Count(raw[:min(max(offset-1, 0), int64(len(raw)))], []byte("\n"))
}

// A memberReader looks for members that a struct does not have. The document is
// JSON, of bounded depth: strictjson has seen it.
type memberReader struct {
	raw []byte
	dec *json.Decoder
}

// value reads one value that should fit t; nil if anything may be in it.
func (r *memberReader) value(t reflect.Type) error {
	tok, err := r.dec.Token()
	if err != nil {
		return err
	}
	for t != nil && t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	switch tok {
	case json.Delim('{'):
		return r.members(t)
	case json.Delim('['):
		for r.dec.More() {
			if err := r.value(element(t)); err != nil {
				return err
			}
		}
		_, err = r.dec.Token()
	}
	return err
}

func (r *memberReader) members(t reflect.Type) error {
	for r.dec.More() {
		tok, err := r.dec.Token()
		if err != nil {
			return err
		}
		name, ok := tok.(string)
		if !ok {
			return io.ErrUnexpectedEOF
		}
		inner := element(t)
		if t != nil && t.Kind() == reflect.Struct {
			known := fields(t)
			if inner, ok = known[name]; !ok {
				return r.unknown(name, known)
			}
		}
		if err := r.value(inner); err != nil {
			return err
		}
	}
	_, err := r.dec.Token()
	return err
}

func (r *memberReader) unknown(name string, known map[string]reflect.Type) error {
	msg := fmt.Sprintf("line %d: unknown key %q", line(r.raw, r.dec.InputOffset()), name)
	best, least := "", len(name)/2+2
	for k := range known {
		if d := distance(strings.ToLower(name), k); d < least || d == least && k < best {
			best, least = k, d
		}
	}
	if best != "" {
		msg += fmt.Sprintf(", did you mean %q?", best)
	}
	return errors.New(msg)
}

// element is what a slice or map has, nil for anything else.
func element(t reflect.Type) reflect.Type {
	if t != nil && (t.Kind() == reflect.Slice || t.Kind() == reflect.Map) {
		return t.Elem()
	}
	return nil
}

// fields gives a struct's JSON members.
func fields(t reflect.Type) map[string]reflect.Type {
	known := map[string]reflect.Type{}
	for i := range t.NumField() {
		if name, _, _ := strings.Cut(t.Field(i).Tag.Get("json"), ","); name != "" {
			known[name] = t.Field(i).Type
		}
	}
	return known
}

// distance is Levenshtein's, in bytes.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		diagonal := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := diagonal
			if a[i] != b[j] {
				cost++
			}
			diagonal, row[j+1] = row[j+1], min(cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
