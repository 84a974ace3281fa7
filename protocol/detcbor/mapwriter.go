package detcbor

import (
	"cmp"
	"slices"
)

// A MapWriter appends a map of integer keys to a buffer, member by member, and counts them:
// fewer than 24. Their order is the caller's: 0, 1, 2 and so on, then -1, -2.
// What is named Some leaves an empty value out, as a field's omitempty does.
type MapWriter struct {
	b     []byte
	start int // where the map's head is
}

// BeginMap begins a map behind b.
func BeginMap(b []byte) MapWriter {
	return MapWriter{append(b, byte(Map)<<5), len(b)}
}

const (
	simpleFalse = byte(Simple)<<5 | 20
	simpleTrue  = byte(Simple)<<5 | 21
)

// Done gives the buffer, with the map at its end.
func (w *MapWriter) Done() []byte { return w.b }

// key begins a member.
func (w *MapWriter) key(key int64) {
	w.b[w.start]++ // the head of a map so small has the number in it
	w.b = AppendInt(w.b, key)
}

// Map begins a member, a map: what it gives goes on in the same buffer, until End takes it back.
func (w *MapWriter) Map(key int64) MapWriter {
	w.key(key)
	return BeginMap(w.b)
}

// End takes in what Map gave, complete.
func (w *MapWriter) End(inner MapWriter) { w.b = inner.b }

// Bytes appends a member, a byte string.
func (w *MapWriter) Bytes(key int64, s []byte) {
	w.key(key)
	w.b = AppendBytes(w.b, s)
}

// SomeBytes is Bytes, unless s is empty.
func (w *MapWriter) SomeBytes(key int64, s []byte) {
	if len(s) > 0 {
		w.Bytes(key, s)
	}
}

// Text appends a member, a text string.
func (w *MapWriter) Text(key int64, s string) {
	w.key(key)
	w.b = AppendText(w.b, s)
}

// SomeText is Text, unless s is empty.
func (w *MapWriter) SomeText(key int64, s string) {
	if s != "" {
		w.Text(key, s)
	}
}

// SomeInt appends a member, an integer, unless it is 0.
func (w *MapWriter) SomeInt(key, n int64) {
	if n != 0 {
		w.key(key)
		w.b = AppendInt(w.b, n)
	}
}

// Uint appends a member, an unsigned integer.
func (w *MapWriter) Uint(key int64, n uint64) {
	w.key(key)
	w.b = AppendHead(w.b, Uint, n)
}

// SomeUint is Uint, unless n is 0.
func (w *MapWriter) SomeUint(key int64, n uint64) {
	if n != 0 {
		w.Uint(key, n)
	}
}

// Bool appends a member, false or true.
func (w *MapWriter) Bool(key int64, v bool) {
	w.key(key)
	if v {
		w.b = append(w.b, simpleTrue)
	} else {
		w.b = append(w.b, simpleFalse)
	}
}

// SomeTrue is Bool, unless v is false.
func (w *MapWriter) SomeTrue(key int64, v bool) {
	if v {
		w.Bool(key, true)
	}
}

// SomeMaps appends a member, an array of n maps, each as write writes it, unless n is 0.
func (w *MapWriter) SomeMaps(key int64, n int, write func(i int, w *MapWriter)) {
	if n == 0 {
		return
	}
	w.key(key)
	w.b = AppendHead(w.b, Array, uint64(n))
	for i := range n {
		inner := BeginMap(w.b)
		write(i, &inner)
		w.End(inner)
	}
}

// SomeTexts is Texts, unless it is empty.
func (w *MapWriter) SomeTexts(key int64, all []string) {
	if len(all) > 0 {
		w.Texts(key, all)
	}
}

// Texts appends a member, an array of text strings.
func (w *MapWriter) Texts(key int64, all []string) {
	w.key(key)
	w.b = AppendHead(w.b, Array, uint64(len(all)))
	for _, s := range all {
		w.b = AppendText(w.b, s)
	}
}

// SomeTextMap appends a member, a map from text strings to text strings, unless it is empty.
func (w *MapWriter) SomeTextMap(key int64, all map[string]string) {
	if len(all) == 0 {
		return
	}
	names := make([]string, 0, len(all))
	for name := range all {
		names = append(names, name)
	}
	// The length comes before the text (RFC 8949, section 4.2.1).
	slices.SortFunc(names, func(a, b string) int { return cmp.Or(cmp.Compare(len(a), len(b)), cmp.Compare(a, b)) })
	w.key(key)
	w.b = AppendHead(w.b, Map, uint64(len(names)))
	for _, name := range names {
		w.b = AppendText(AppendText(w.b, name), all[name])
	}
}
