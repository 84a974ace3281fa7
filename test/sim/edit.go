package sim

import (
	"bytes"
	"maps"
	"slices"

	"github.com/signetd/signet/protocol"
	"github.com/signetd/signet/protocol/detcbor"
)

// The edit's field numbers (protocol/signet.cddl).
const (
	fieldSealTo    = 7
	fieldBody      = 3 // of a refresh
	fieldChallenge = 4 // the body of a challenge
)

// edit gives p's bytes changed: a bit, or a field and then encoded as it should be.
// The caller holds mu.
func (n *network) edit(p parcel) []byte {
	if p.c.dice.roll(3) == 0 {
		n.w.facts.count("bit flipped")
		out := bytes.Clone(p.raw)
		out[p.c.dice.roll(len(out))] ^= 1 << p.c.dice.roll(8)
		return out
	}
	m, err := protocol.Decode(p.raw)
	if err != nil {
		return p.raw
	}
	other := n.history[p.c.dice.roll(len(n.history))].raw
	if !p.reply && m.Type() != protocol.TypeAnswer && p.c.dice.roll(2) == 0 {
		return n.sealToMe(p.raw, m.Type())
	}
	inner := map[protocol.Type]int64{protocol.TypeChallenge: fieldChallenge, protocol.TypeRefresh: fieldBody}[m.Type()]
	if inner == 0 || p.c.dice.roll(2) == 0 {
		return n.editFields(p.c.dice, p.raw, other)
	}
	return change(p.raw, func(f map[int64]detcbor.RawMessage) {
		changeInside(f, inner, func(body []byte) []byte { return n.editFields(p.c.dice, body, other) })
	})
}

// sealToMe puts the network's key into a start, an enrollment or a refresh.
func (n *network) sealToMe(raw []byte, t protocol.Type) []byte {
	mine, err := detcbor.Marshal(n.mine.PublicKey().Bytes())
	if err != nil {
		return raw
	}
	n.w.facts.count("key to seal to swapped")
	swap := func(raw []byte) []byte {
		return change(raw, func(f map[int64]detcbor.RawMessage) { f[fieldSealTo] = mine })
	}
	if t != protocol.TypeRefresh {
		return swap(raw)
	}
	return change(raw, func(f map[int64]detcbor.RawMessage) { changeInside(f, fieldBody, swap) })
}

// changeInside changes the message in a byte string of f.
func changeInside(f map[int64]detcbor.RawMessage, at int64, change func([]byte) []byte) {
	var inner []byte
	if detcbor.Unmarshal(f[at], &inner) != nil {
		return
	}
	if b, err := detcbor.Marshal(change(inner)); err == nil {
		f[at] = b
	}
}

// editFields drops, swaps with another message's or adds one field.
func (n *network) editFields(d *dice, raw, other []byte) []byte {
	var from map[int64]detcbor.RawMessage
	_ = detcbor.UnmarshalExtensible(other, &from) // nil will do
	return change(raw, func(f map[int64]detcbor.RawMessage) {
		keys := slices.Sorted(maps.Keys(f))
		k := keys[d.roll(len(keys))]
		switch d.roll(5) {
		case 0:
			n.w.facts.count("field dropped")
			delete(f, k)
		case 1, 2:
			if v, ok := from[k]; ok && !bytes.Equal(v, f[k]) {
				n.w.facts.count("field swapped")
				f[k] = v
			}
		case 3:
			n.w.facts.count("unknown optional field added")
			f[99] = detcbor.RawMessage{1}
		case 4:
			n.w.facts.count("unknown critical field added")
			f[-99] = detcbor.RawMessage{1}
		}
	})
}

// change decodes a map, lets edit at it and encodes what comes out.
func change(raw []byte, edit func(map[int64]detcbor.RawMessage)) []byte {
	var f map[int64]detcbor.RawMessage
	if detcbor.UnmarshalExtensible(raw, &f) != nil || len(f) == 0 {
		return raw
	}
	edit(f)
	out, err := detcbor.Marshal(f)
	if err != nil {
		return raw
	}
	return out
}
