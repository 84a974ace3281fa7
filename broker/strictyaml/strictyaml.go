// Package strictyaml reads the YAML that people write for Signet: mappings, lists and
// plain values, as JSON has them, each with its line and column. It refuses what
// multiplies or hides (anchors, aliases, tags, merge keys), keys that come twice,
// several documents in one file, and what nests too deep. It knows no schema.
package strictyaml

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"

	"github.com/signetd/signet/protocol/textfile"
)

// A Place is where something is in a file, counted from 1.
type Place struct{ Line, Column int }

func (p Place) String() string { return fmt.Sprintf("line %d, column %d", p.Line, p.Column) }

// An Error says what is wrong where.
type Error struct {
	Place
	Text string
}

func (e *Error) Error() string { return e.Place.String() + ": " + e.Text }

// Errors are all that is wrong with a file, at least one.
type Errors []*Error

func (all Errors) Error() string {
	texts := make([]string, 0, len(all))
	for _, e := range all {
		texts = append(texts, e.Error())
	}
	return strings.Join(texts, "\n")
}

// A Value is what a file says in one place: a mapping has Members, a list Items, and
// all others Scalar: a string, bool, nil or json.Number.
type Value struct {
	Place
	Mapping, List bool
	Members       []Member
	Items         []Value
	Scalar        any
}

// A Member is one key of a mapping.
type Member struct {
	Place // of the key
	Name  string
	Value Value
}

// Read reads a file. An empty one is an empty mapping. The error is an Errors; if it was
// YAML all the same, the value is what was understood.
func Read(raw []byte) (v Value, err error) {
	raw, err = textfile.Plain(raw)
	if err != nil {
		return Value{Place: Place{1, 1}}, Errors{{Place{1, 1}, err.Error()}}
	}
	if err := CheckShape(raw); err != nil {
		return Value{Place: Place{1, 1}}, Errors{err.(*Error)}
	}
	defer func() {
		if r := recover(); r != nil { // the parser's, on text that it did not foresee
			v, err = Value{Place: Place{1, 1}}, Errors{{Place{1, 1}, "not understood as YAML"}}
		}
	}()
	file, err := parser.ParseBytes(raw, 0, parser.AllowDuplicateMapKey())
	if err != nil {
		return Value{Place: Place{1, 1}}, Errors{syntax(err)}
	}
	r := &reader{}
	empty := Value{Place: Place{1, 1}, Mapping: true}
	var docs []ast.Node
	for _, d := range file.Docs {
		if d.Body == nil || d.Body.Type() == ast.CommentType || d.Body.Type() == ast.CommentGroupType {
			continue
		}
		docs = append(docs, d.Body)
	}
	switch {
	case len(docs) == 0:
		return empty, nil
	case len(docs) > 1:
		v = empty
		r.refuse(docs[1], "a second YAML document; want one")
	default:
		v = r.value(docs[0], 0)
	}
	if r.errs != nil {
		return v, r.errs
	}
	return v, nil
}

func syntax(err error) *Error {
	if e, ok := err.(yaml.Error); ok && e.GetToken() != nil {
		at := e.GetToken().Position
		return &Error{Place{at.Line, at.Column}, fmt.Sprintf("%.200s", oneLine(e.GetMessage()))}
	}
	return &Error{Place{1, 1}, fmt.Sprintf("not understood: %.200s", oneLine(err.Error()))}
}

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }

// A reader gathers what is wrong.
type reader struct{ errs Errors }

func (r *reader) refuse(n ast.Node, text string) { r.errs = append(r.errs, &Error{placeOf(n), text}) }

func placeOf(n ast.Node) Place {
	if v, ok := n.(*ast.MappingValueNode); ok {
		return placeOf(v.Key)
	}
	if m, ok := n.(*ast.MappingNode); ok && len(m.Values) > 0 && !m.IsFlowStyle {
		return placeOf(m.Values[0])
	}
	if t := n.GetToken(); t != nil && t.Position != nil {
		return Place{t.Position.Line, t.Position.Column}
	}
	return Place{1, 1}
}

// decimal reports whether text is a number as JSON writes it, without an exponent.
func decimal(text string) bool {
	digits := strings.TrimPrefix(text, "-")
	whole, fraction, point := strings.Cut(digits, ".")
	none := func(s string) bool { return s == "" || strings.Trim(s, "0123456789") != "" }
	return !none(whole) && (whole == "0" || whole[0] != '0') && (!point || !none(fraction))
}

func (r *reader) value(n ast.Node, depth int) Value {
	v := Value{Place: placeOf(n)}
	if depth > maxNesting {
		r.refuse(n, "nested too deep")
		return v
	}
	if text, ok := unspaced(n); ok {
		v.Scalar = text
		return v
	}
	switch n := n.(type) {
	case *ast.MappingNode:
		v.Mapping, v.Members = true, r.members(n.Values, depth)
	case *ast.MappingValueNode:
		v.Mapping, v.Members = true, r.members([]*ast.MappingValueNode{n}, depth)
	case *ast.SequenceNode:
		v.List = true
		for _, item := range n.Values {
			v.Items = append(v.Items, r.value(item, depth+1))
		}
	case *ast.StringNode:
		v.Scalar = n.Value
	case *ast.LiteralNode:
		v.Scalar = n.Value.Value
	case *ast.BoolNode:
		v.Scalar = n.Value
	case *ast.NullNode:
	case *ast.IntegerNode, *ast.FloatNode, *ast.InfinityNode, *ast.NanNode:
		text := n.GetToken().Value
		if !decimal(text) { // 010 is eight, to YAML
			r.refuse(n, "write numbers in decimal, such as 10 or 0.5; what is meant as text, in quotes")
			v.Scalar = text
			return v
		}
		v.Scalar = json.Number(text)
	case *ast.AnchorNode, *ast.AliasNode:
		r.refuse(n, "anchors and aliases are not understood here; put such a value in quotes")
	case *ast.TagNode:
		r.refuse(n, "tags are not understood here; put such a value in quotes")
	default:
		r.refuse(n, "not a mapping, a list or a plain value")
	}
	return v
}

// unspaced gives the text of a:b in brackets, which the parser takes for a mapping
// although no space follows the colon (YAML 1.2.2, 7.3.3).
func unspaced(n ast.Node) (string, bool) {
	if m, ok := n.(*ast.MappingNode); ok && len(m.Values) == 1 && !strings.HasPrefix(m.GetToken().Value, "{") {
		n = m.Values[0]
	}
	m, ok := n.(*ast.MappingValueNode)
	if !ok {
		return "", false
	}
	key, isText := m.Key.(*ast.StringNode)
	value, valueIsText := m.Value.(*ast.StringNode)
	if !isText || !valueIsText {
		return "", false
	}
	at, next := placeOf(key), placeOf(value)
	if at.Line != next.Line || next.Column != at.Column+len(key.Value)+1 {
		return "", false
	}
	return key.Value + ":" + value.Value, true
}

func (r *reader) members(all []*ast.MappingValueNode, depth int) []Member {
	out := make([]Member, 0, len(all))
	seen := map[string]Place{}
	for _, m := range all {
		key, ok := m.Key.(*ast.StringNode)
		if !ok {
			r.refuse(m.Key, "a key is plain text here")
			continue
		}
		if first, twice := seen[key.Value]; twice {
			r.refuse(key, fmt.Sprintf("key %q comes twice; it is on line %d already", key.Value, first.Line))
			continue
		}
		at := placeOf(key)
		seen[key.Value] = at
		var v Value
		if m.Value == nil {
			v = Value{Place: at}
		} else {
			v = r.value(m.Value, depth+1)
		}
		out = append(out, Member{at, key.Value, v})
	}
	return out
}

// JSON gives v as JSON.
func (v *Value) JSON() json.RawMessage {
	var b bytes.Buffer
	v.write(&b)
	return b.Bytes()
}

func (v *Value) write(b *bytes.Buffer) {
	switch {
	case v.Mapping:
		b.WriteByte('{')
		for i := range v.Members {
			if i > 0 {
				b.WriteByte(',')
			}
			writeScalar(b, v.Members[i].Name)
			b.WriteByte(':')
			v.Members[i].Value.write(b)
		}
		b.WriteByte('}')
	case v.List:
		b.WriteByte('[')
		for i := range v.Items {
			if i > 0 {
				b.WriteByte(',')
			}
			v.Items[i].write(b)
		}
		b.WriteByte(']')
	default:
		writeScalar(b, v.Scalar)
	}
}

func writeScalar(b *bytes.Buffer, v any) {
	raw, err := json.Marshal(v)
	if err != nil { // a number that JSON has not, such as 0x10 kept as text
		raw, _ = json.Marshal(fmt.Sprint(v))
	}
	b.Write(raw)
}

// At gives the place of a path such as "clients[2].accessLife": of its key, or of the
// item; of the nearest part above it that is there, if it is not.
func (v *Value) At(path string) Place {
	at, _ := v.Find(path)
	return at
}

// Find is At that also gives the value, nil if it is not there.
func (v *Value) Find(path string) (Place, *Value) {
	at := v.Place
	for path != "" {
		part := path
		if i := strings.IndexAny(path[1:], ".["); i >= 0 {
			part = path[:i+1]
		}
		path = path[len(part):]
		if n, ok := strings.CutPrefix(part, "["); ok {
			i, err := strconv.Atoi(strings.TrimSuffix(n, "]"))
			if err != nil || i < 0 || i >= len(v.Items) {
				return at, nil
			}
			v = &v.Items[i]
			at = v.Place
			continue
		}
		name := strings.TrimPrefix(part, ".")
		i := slices.IndexFunc(v.Members, func(m Member) bool { return m.Name == name })
		if i < 0 {
			return at, nil
		}
		at, v = v.Members[i].Place, &v.Members[i].Value
	}
	return at, v
}
