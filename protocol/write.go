package protocol

import "github.com/signetd/signet/protocol/detcbor"

// What a broker writes for each login is written by hand, as read.go reads by hand: members
// in the order of their keys, those that are empty left out if their tags say omitempty.
// A required member that is nil is written as empty, which whoever reads it refuses.

// A writer is a message that is written by hand. What is in one has no methods of these
// names: an agent would carry them, though it writes neither.
type writer interface {
	room() int // at least how many bytes write appends
	write(b []byte) []byte
}

func written(w writer) []byte { return w.write(make([]byte, 0, w.room())) }

const (
	headRoom   = 1 + 2 + 2 + 2 + IDLen // a map's head, and a message's
	memberRoom = 1 + 5                 // a key, and an integer or the head of anything else
)

func (m *Challenge) room() int { return headRoom + 2*memberRoom + len(m.Session) + len(m.Body) }

func (m *Challenge) write(b []byte) []byte {
	w := m.writeHead(b)
	w.Bytes(3, m.Session)
	w.Bytes(4, m.Body)
	return w.Done()
}

func (m *Grant) room() int { return headRoom + 2*memberRoom + len(m.Sealed) + len(m.Open) }

func (m *Grant) write(b []byte) []byte {
	w := m.writeHead(b)
	w.SomeBytes(3, m.Sealed)
	w.SomeBytes(4, m.Open)
	return w.Done()
}

// writeHead begins a message.
func (h *Head) writeHead(b []byte) detcbor.MapWriter {
	w := detcbor.BeginMap(b)
	w.Uint(0, h.Version)
	w.Uint(1, uint64(h.Kind))
	w.Bytes(2, h.ID[:])
	return w
}

// Encode gives the body as a Challenge carries it.
func (c *ChallengeBody) Encode() []byte { return c.writeBody(make([]byte, 0, c.bodyRoom())) }

func (c *ChallengeBody) bodyRoom() int {
	n := 1 + 5*memberRoom + len(c.Kind) + len(c.Nonce) + len(c.Issuer) + len(c.SealTo) + c.PoolKeys.room()
	for k, v := range c.Params {
		n += 2*memberRoom + len(k) + len(v)
	}
	return n
}

func (c *ChallengeBody) writeBody(b []byte) []byte {
	w := detcbor.BeginMap(b)
	w.Text(1, c.Kind)
	w.Bytes(2, c.Nonce)
	w.Text(3, c.Issuer)
	w.SomeTextMap(4, c.Params)
	w.SomeBytes(5, c.SealTo)
	c.writeStatement(&w)
	c.writeSuccessions(&w)
	return w.Done()
}

// Encode gives the body as a Grant carries it, sealed or open.
func (g *GrantBody) Encode() []byte { return g.writeBody(make([]byte, 0, g.bodyRoom())) }

func (g *GrantBody) bodyRoom() int {
	n := 1 + 12*memberRoom + len(g.Access) + len(g.ID) + len(g.Refresh) + len(g.Session) + len(g.Subject) + len(g.Issuer) + len(g.IDJWT) + g.PoolKeys.room()
	for _, filters := range [][]string{g.Publish, g.Subscribe} {
		for _, f := range filters {
			n += memberRoom + len(f)
		}
	}
	return n
}

func (g *GrantBody) writeBody(b []byte) []byte {
	w := detcbor.BeginMap(b)
	w.Bytes(1, g.Access)
	w.Bytes(2, g.ID)
	w.SomeBytes(3, g.Refresh)
	w.Bytes(4, g.Session[:])
	w.Uint(5, uint64(g.Life))
	w.SomeUint(6, uint64(g.Refreshes))
	w.Bytes(7, g.Subject[:])
	w.Text(8, g.Issuer)
	w.Texts(9, g.Publish)
	w.Texts(10, g.Subscribe)
	g.writeStatement(&w)
	w.SomeBytes(13, g.IDJWT)
	g.writeSuccessions(&w)
	w.SomeTrue(15, g.Direct)
	return w.Done()
}

func (k *PoolKeys) room() int {
	n := 3*memberRoom + len(k.Statement) + len(k.Anchor)
	for i := range k.Successions {
		n += 1 + 2*memberRoom + len(k.Successions[i].From) + len(k.Successions[i].Signed)
	}
	return n
}

// writeStatement appends Statement and Anchor; writeSuccessions, what comes behind a
// body's own members that lie in between.
func (k *PoolKeys) writeStatement(w *detcbor.MapWriter) {
	w.SomeBytes(11, k.Statement)
	w.SomeBytes(12, k.Anchor)
}

func (k *PoolKeys) writeSuccessions(w *detcbor.MapWriter) {
	w.SomeMaps(14, len(k.Successions), func(i int, w *detcbor.MapWriter) {
		w.Bytes(1, k.Successions[i].From)
		w.Bytes(2, k.Successions[i].Signed)
	})
}
