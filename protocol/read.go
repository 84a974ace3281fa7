package protocol

import (
	"math"

	"github.com/signetd/signet/protocol/detcbor"
	"github.com/signetd/signet/protocol/ident"
)

// The messages of a login are read by hand: by reflection, reading them took an eighth of
// what the broker does for one beside the signatures. When they are read, their
// shapes have been checked, so that each known member is of its kind, and no key is
// anything but an unsigned integer. Byte strings are the received message's own.

type reader interface {
	read(r detcbor.Reader) error
}

func (m *Start) read(r detcbor.Reader) error {
	in := detcbor.Items{Reader: r}
	in.Each(func(key int64) {
		if key < firstOfBody {
			m.readHead(key, &in)
		} else if !m.readRequest(key, &in) {
			in.Skip()
		}
	})
	return in.Err()
}

func (m *Answer) read(r detcbor.Reader) error {
	in := detcbor.Items{Reader: r}
	in.Each(func(key int64) {
		switch key {
		case 3:
			m.Session = in.Bytes()
		case 4:
			m.Proof = in.Bytes()
		case 5:
			m.Secret = in.Bytes()
		case 6:
			m.TokenProof = in.Bytes()
		case 7:
			m.Opening = in.Bytes()
		default:
			if key < firstOfBody {
				m.readHead(key, &in)
			} else {
				in.Skip()
			}
		}
	})
	return in.Err()
}

// firstOfBody is the first key behind a message's Head.
const firstOfBody = 3

func (h *Head) readHead(key int64, r *detcbor.Items) {
	switch key {
	case 0:
		h.Version = r.Uint()
	case 1:
		h.Kind = Type(r.Uint())
	case 2:
		r.Fixed(h.ID[:])
	}
}

// readRequest reads the value of a key, if it is one of a Request.
func (w *Request) readRequest(key int64, r *detcbor.Items) (known bool) {
	switch key {
	case 3:
		w.Pool = detcbor.Parsed(r, ident.ParsePool)
	case 4:
		w.Name = detcbor.Parsed(r, ident.ParseName)
	case 5:
		w.Client = r.Text()
	case 6:
		w.Nonce = r.Bytes()
	case 7:
		w.SealTo = r.Bytes()
	case 8:
		w.Format = Format(r.UpTo(math.MaxUint8))
	case 9:
		w.Audience = r.Text()
	case 10:
		w.Scope = r.Text()
	case 11:
		w.Metadata = r.TextMap()
	case 12:
		w.Statement = r.Bytes()
	case 16:
		w.Channel = r.Bytes()
	case 17:
		w.Want = Want(r.UpTo(math.MaxUint8))
	case 18:
		w.Newer = r.Bytes()
	case 19:
		w.Last = r.Bytes()
	default:
		return false
	}
	return true
}
