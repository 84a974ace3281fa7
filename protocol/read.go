package protocol

import (
	"fmt"
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
	_, n := r.Head()
	for range n {
		_, key := r.Head()
		if key < firstOfBody {
			m.readHead(key, &r)
			continue
		}
		known, err := m.readRequest(key, &r)
		if err != nil {
			return fmt.Errorf("key %d: %w", key, err)
		}
		if !known {
			r.Skip()
		}
	}
	return nil
}

func (m *Answer) read(r detcbor.Reader) error {
	_, n := r.Head()
	for range n {
		switch _, key := r.Head(); key {
		case 3:
			m.Session = readBytes(&r)
		case 4:
			m.Proof = readBytes(&r)
		case 5:
			m.Secret = readBytes(&r)
		case 6:
			m.TokenProof = readBytes(&r)
		case 7:
			m.Opening = readBytes(&r)
		default:
			if key < firstOfBody {
				m.readHead(key, &r)
				continue
			}
			r.Skip()
		}
	}
	return nil
}

// firstOfBody is the first key behind a message's Head.
const firstOfBody = 3

func (h *Head) readHead(key uint64, r *detcbor.Reader) {
	switch _, n := r.Head(); key {
	case 0:
		h.Version = n
	case 1:
		h.Kind = Type(n)
	case 2:
		copy(h.ID[:], r.Take(n))
	}
}

// readRequest reads the value of a key, if it is one of a Request.
func (w *Request) readRequest(key uint64, r *detcbor.Reader) (known bool, err error) {
	switch key {
	case 3:
		w.Pool, err = readIdent(r, ident.ParsePool)
	case 4:
		w.Name, err = readIdent(r, ident.ParseName)
	case 5:
		w.Client = readText(r)
	case 6:
		w.Nonce = readBytes(r)
	case 7:
		w.SealTo = readBytes(r)
	case 8:
		var n uint8
		n, err = readUint8(r)
		w.Format = Format(n)
	case 9:
		w.Audience = readText(r)
	case 10:
		w.Scope = readText(r)
	case 11:
		w.Metadata, err = readTexts(r)
	case 12:
		w.Statement = readBytes(r)
	case 16:
		w.Channel = readBytes(r)
	case 17:
		var n uint8
		n, err = readUint8(r)
		w.Want = Want(n)
	case 18:
		w.Newer = readBytes(r)
	case 19:
		w.Last = readBytes(r)
	default:
		return false, nil
	}
	return true, err
}

func readBytes(r *detcbor.Reader) []byte {
	_, n := r.Head()
	return r.Take(n)
}

func readText(r *detcbor.Reader) string { return string(readBytes(r)) }

func readUint8(r *detcbor.Reader) (uint8, error) {
	_, n := r.Head()
	if n > math.MaxUint8 {
		return 0, fmt.Errorf("%w: %d is more than %d", detcbor.ErrMalformed, n, math.MaxUint8)
	}
	return uint8(n), nil
}

// readIdent reads a name, of whose kind its shape says nothing.
func readIdent[T any](r *detcbor.Reader, parse func(string) (T, error)) (v T, err error) {
	if r.Next() != detcbor.Text {
		return v, fmt.Errorf("%w: want a text string", detcbor.ErrMalformed)
	}
	if v, err = parse(readText(r)); err != nil {
		return v, fmt.Errorf("%w: %w", detcbor.ErrMalformed, err)
	}
	return v, nil
}

// readTexts reads a map of texts, of whose keys its shape says nothing.
func readTexts(r *detcbor.Reader) (map[string]string, error) {
	_, n := r.Head()
	all := make(map[string]string, n)
	for range n {
		if r.Next() != detcbor.Text {
			return nil, fmt.Errorf("%w: a map's key is no text string", detcbor.ErrMalformed)
		}
		name := readText(r)
		all[name] = readText(r)
	}
	return all, nil
}
