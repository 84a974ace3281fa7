package retained

import (
	"iter"
	"slices"
	"sort"
	"strings"

	"github.com/signetd/signet/protocol/topic"
)

// ordered are messages in the order of their topics, level by level: what is below a topic
// follows it at once. They lie in chunks, none of them empty, so that one more moves few.
type ordered struct{ chunks [][]*Kept }

// chunk is the most messages that one has.
const chunk = 256

// A position is one of a message, or behind the last.
type position struct{ chunk, index int }

// compare orders topics: '/' before all else that a level may have, none of which is NUL.
func compare(a, b string) int {
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			switch {
			case a[i] == '/':
				return -1
			case b[i] == '/':
				return 1
			}
			return int(a[i]) - int(b[i])
		}
	}
	return len(a) - len(b)
}

// beyond comes, behind a topic, after all that is below that topic and before what else
// begins with it.
const beyond = "\x00"

// seek finds the first message whose topic is not before this.
func (o *ordered) seek(bound string) position {
	c := sort.Search(len(o.chunks), func(i int) bool {
		last := o.chunks[i][len(o.chunks[i])-1]
		return compare(last.Topic.String(), bound) >= 0
	})
	if c == len(o.chunks) {
		return position{c, 0}
	}
	return position{c, sort.Search(len(o.chunks[c]), func(i int) bool {
		return compare(o.chunks[c][i].Topic.String(), bound) >= 0
	})}
}

// at gives the message at p, nil behind the last.
func (o *ordered) at(p position) *Kept {
	if p.chunk == len(o.chunks) {
		return nil
	}
	return o.chunks[p.chunk][p.index]
}

func (o *ordered) next(p position) position {
	if p.index++; p.index == len(o.chunks[p.chunk]) {
		return position{p.chunk + 1, 0}
	}
	return p
}

// from gives all from p on.
func (o *ordered) from(p position) iter.Seq[*Kept] {
	return func(yield func(*Kept) bool) {
		for k := o.at(p); k != nil; k = o.at(p) {
			if !yield(k) {
				return
			}
			p = o.next(p)
		}
	}
}

func (o *ordered) replace(p position, k *Kept) { o.chunks[p.chunk][p.index] = k }

// insert puts k before what is at p.
func (o *ordered) insert(p position, k *Kept) {
	if p.chunk == len(o.chunks) {
		o.push(k)
		return
	}
	c := slices.Insert(o.chunks[p.chunk], p.index, k)
	if o.chunks[p.chunk] = c; len(c) < chunk {
		return
	}
	half := slices.Clone(c[chunk/2:])
	clear(c[chunk/2:])
	o.chunks[p.chunk] = c[:chunk/2]
	o.chunks = slices.Insert(o.chunks, p.chunk+1, half)
}

// push puts k behind the last.
func (o *ordered) push(k *Kept) {
	last := len(o.chunks) - 1
	if last < 0 || len(o.chunks[last]) >= chunk-1 {
		o.chunks = append(o.chunks, []*Kept{k})
		return
	}
	o.chunks[last] = append(o.chunks[last], k)
}

// remove takes out what is at p. A chunk that has become small enough goes into the one
// before it.
func (o *ordered) remove(p position) {
	c := slices.Delete(o.chunks[p.chunk], p.index, p.index+1)
	o.chunks[p.chunk] = c
	switch {
	case len(c) == 0:
		o.chunks = slices.Delete(o.chunks, p.chunk, p.chunk+1)
	case p.chunk > 0 && len(c)+len(o.chunks[p.chunk-1]) <= chunk/2:
		o.chunks[p.chunk-1] = append(o.chunks[p.chunk-1], c...)
		o.chunks = slices.Delete(o.chunks, p.chunk, p.chunk+1)
	}
}

// match gives the messages whose topics f matches. What lies below a topic that does not
// match is passed over by one look, whatever there is of it.
func (o *ordered) match(f topic.Filter) iter.Seq[*Kept] {
	return func(yield func(*Kept) bool) {
		var p position
		for k := o.at(p); k != nil; k = o.at(p) {
			bound, matches, more := skip(f, k.Topic)
			switch {
			case matches && !yield(k), !more:
				return
			case bound != "":
				p = o.seek(bound)
			default:
				p = o.next(p)
			}
		}
	}
}

// skip compares a topic with a filter. If the next one that may match is known not to be
// the next there is, it gives the bound before which there is none; more is false if there
// is none at all.
func skip(f topic.Filter, n topic.Name) (bound string, matches, more bool) {
	if f.IsZero() {
		return "", false, false
	}
	if f.Matches(n) {
		return "", true, true
	}
	filter, name := f.String(), n.String()
	if name[0] == '$' && (filter[0] == '+' || filter[0] == '#') {
		return string(rune('$' + 1)), false, true
	}
	start := 0 // of the level
	for {
		want, rest, deeper := strings.Cut(filter, "/")
		level, _, _ := strings.Cut(name[start:], "/")
		end := start + len(level)
		if want != "+" && want != level {
			if compare(level, want) < 0 {
				return name[:start] + want, false, true
			}
			// Nothing more with what comes before this level.
			if start == 0 {
				return "", false, false
			}
			return name[:start-1] + beyond, false, true
		}
		switch {
		case !deeper: // the topic goes on
			return name[:end] + beyond, false, true
		case end == len(name): // the filter goes on
			return "", false, true
		}
		filter, start = rest, end+1
	}
}
