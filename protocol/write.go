package protocol

import (
	"cmp"
	"slices"

	"github.com/signetd/signet/protocol/detcbor"
)

// What a broker writes for each login is written by hand, as read.go reads by hand: members
// in the order of their keys, those that are empty left out if their tags say omitempty.
// A required member that is nil is written as empty, which whoever reads it refuses.

// A writer is written by hand.
type writer interface {
	room() int // at least how many bytes write appends
	write(b []byte) []byte
}

func written(w writer) []byte { return w.write(make([]byte, 0, w.room())) }

const (
	headRoom   = 1 + 2 + 2 + 2 + IDLen // a map of up to 23 members, and its Head
	memberRoom = 1 + 5                 // a key up to 23, and the head of a string
)

func (m *Challenge) room() int { return headRoom + 2*memberRoom + len(m.Session) + len(m.Body) }

func (m *Challenge) write(b []byte) []byte {
	b = m.writeHead(detcbor.AppendHead(b, detcbor.Map, 5))
	b = appendBytes(b, 3, m.Session)
	return appendBytes(b, 4, m.Body)
}

func (m *Grant) room() int { return headRoom + 2*memberRoom + len(m.Sealed) + len(m.Open) }

func (m *Grant) write(b []byte) []byte {
	b = m.writeHead(detcbor.AppendHead(b, detcbor.Map, 3+count(len(m.Sealed) > 0, len(m.Open) > 0)))
	b = appendSome(b, 3, m.Sealed)
	return appendSome(b, 4, m.Open)
}

// writeHead appends the members of a Head.
func (h *Head) writeHead(b []byte) []byte {
	b = detcbor.AppendHead(append(b, 0), detcbor.Uint, h.Version)
	b = detcbor.AppendHead(append(b, 1), detcbor.Uint, uint64(h.Kind))
	return appendBytes(b, 2, h.ID[:])
}

// Encode gives the body as a Challenge carries it.
func (c *ChallengeBody) Encode() []byte { return c.write(make([]byte, 0, c.room())) }

func (c *ChallengeBody) room() int {
	return 1 + 5*memberRoom + len(c.Kind) + len(c.Nonce) + len(c.Issuer) + textsRoom(c.Params) + len(c.SealTo) + c.PoolKeys.room()
}

func (c *ChallengeBody) write(b []byte) []byte {
	b = detcbor.AppendHead(b, detcbor.Map, 3+count(len(c.Params) > 0, len(c.SealTo) > 0)+c.PoolKeys.count())
	b = detcbor.AppendText(append(b, 1), c.Kind)
	b = appendBytes(b, 2, c.Nonce)
	b = detcbor.AppendText(append(b, 3), c.Issuer)
	if len(c.Params) > 0 {
		b = appendTexts(append(b, 4), c.Params)
	}
	b = appendSome(b, 5, c.SealTo)
	return c.writeSuccessions(c.writeStatement(b))
}

// Encode gives the body as a Grant carries it, sealed or open.
func (g *GrantBody) Encode() []byte { return g.write(make([]byte, 0, g.room())) }

func (g *GrantBody) room() int {
	n := 1 + 12*memberRoom + len(g.Access) + len(g.ID) + len(g.Refresh) + len(g.Session) + len(g.Subject) + len(g.Issuer) + len(g.IDJWT) + g.PoolKeys.room()
	for _, filters := range [][]string{g.Publish, g.Subscribe} {
		for _, f := range filters {
			n += memberRoom + len(f)
		}
	}
	return n
}

func (g *GrantBody) write(b []byte) []byte {
	b = detcbor.AppendHead(b, detcbor.Map, 8+count(len(g.Refresh) > 0, g.Refreshes > 0, len(g.IDJWT) > 0, g.Direct)+g.PoolKeys.count())
	b = appendBytes(b, 1, g.Access)
	b = appendBytes(b, 2, g.ID)
	b = appendSome(b, 3, g.Refresh)
	b = appendBytes(b, 4, g.Session[:])
	b = detcbor.AppendHead(append(b, 5), detcbor.Uint, uint64(g.Life))
	if g.Refreshes > 0 {
		b = detcbor.AppendHead(append(b, 6), detcbor.Uint, uint64(g.Refreshes))
	}
	b = appendBytes(b, 7, g.Subject[:])
	b = detcbor.AppendText(append(b, 8), g.Issuer)
	b = appendArray(append(b, 9), g.Publish)
	b = appendArray(append(b, 10), g.Subscribe)
	b = g.writeStatement(b)
	b = appendSome(b, 13, g.IDJWT)
	b = g.writeSuccessions(b)
	if g.Direct {
		b = detcbor.AppendBool(append(b, 15), true)
	}
	return b
}

func (k *PoolKeys) room() int {
	n := 3*memberRoom + len(k.Statement) + len(k.Anchor)
	for i := range k.Successions {
		n += 1 + 2*memberRoom + len(k.Successions[i].From) + len(k.Successions[i].Signed)
	}
	return n
}

func (k *PoolKeys) count() uint64 {
	return count(len(k.Statement) > 0, len(k.Anchor) > 0, len(k.Successions) > 0)
}

// writeStatement appends Statement and Anchor; writeSuccessions, what comes behind a
// body's own members that lie in between.
func (k *PoolKeys) writeStatement(b []byte) []byte {
	return appendSome(appendSome(b, 11, k.Statement), 12, k.Anchor)
}

func (k *PoolKeys) writeSuccessions(b []byte) []byte {
	if len(k.Successions) == 0 {
		return b
	}
	b = detcbor.AppendHead(append(b, 14), detcbor.Array, uint64(len(k.Successions)))
	for i := range k.Successions {
		b = detcbor.AppendHead(b, detcbor.Map, 2)
		b = appendBytes(appendBytes(b, 1, k.Successions[i].From), 2, k.Successions[i].Signed)
	}
	return b
}

// count is how many of the optional members are there.
func count(there ...bool) (n uint64) {
	for _, is := range there {
		if is {
			n++
		}
	}
	return n
}

// appendBytes appends a member, of a key up to 23.
func appendBytes(b []byte, key byte, s []byte) []byte { return detcbor.AppendBytes(append(b, key), s) }

// appendSome is appendBytes of an optional member.
func appendSome(b []byte, key byte, s []byte) []byte {
	if len(s) == 0 {
		return b
	}
	return appendBytes(b, key, s)
}

func appendArray(b []byte, texts []string) []byte {
	b = detcbor.AppendHead(b, detcbor.Array, uint64(len(texts)))
	for _, s := range texts {
		b = detcbor.AppendText(b, s)
	}
	return b
}

func textsRoom(m map[string]string) (n int) {
	for k, v := range m {
		n += 2*memberRoom + len(k) + len(v)
	}
	return n
}

// appendTexts appends a map of texts, the shorter names first (RFC 8949, section 4.2.1).
func appendTexts(b []byte, m map[string]string) []byte {
	names := make([]string, 0, len(m))
	for k := range m {
		names = append(names, k)
	}
	slices.SortFunc(names, func(a, b string) int { return cmp.Or(cmp.Compare(len(a), len(b)), cmp.Compare(a, b)) })
	b = detcbor.AppendHead(b, detcbor.Map, uint64(len(m)))
	for _, k := range names {
		b = detcbor.AppendText(detcbor.AppendText(b, k), m[k])
	}
	return b
}
