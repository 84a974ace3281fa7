package token

import (
	"fmt"

	"github.com/signetd/signet/protocol/detcbor"
)

// Tags and header labels (RFC 9052, 2 and 3.1; RFC 9360; RFC 9596).
const (
	tagMac0  = 17
	tagSign1 = 18

	headerAlg     = 1
	headerCrit    = 2
	headerKID     = 4
	headerX5Bag   = 32
	headerX5Chain = 33
	headerX5T     = 34
	headerX5U     = 35
	headerType    = 16
)

// A Message is a COSE_Sign1 or COSE_Mac0 (RFC 9052, 4.2 and 6.2) as it was read; the signature
// or tag is checked before a caller sees one.
type Message struct {
	Payload  []byte
	KID      []byte // nil if there is none
	Type     uint64 // typ as a number; 0 if absent or text
	TypeText string // typ as text

	alg       Alg
	protected []byte
	proof     []byte // signature or tag
	others    bool   // has header parameters beside alg, typ and kid
}

// Sign1 signs payload as a tagged COSE_Sign1 of the given class. The signature
// also covers external, which does not travel; nil means none.
func Sign1(class Class, payload, external []byte, s *Signer) ([]byte, error) {
	protected, err := protectedHeader(class, s.key.alg)
	if err != nil {
		return nil, err
	}
	proof, err := s.Sign(toBeProved("Signature1", protected, external, payload))
	if err != nil {
		return nil, err
	}
	return appendMessage(tagSign1, protected, s.key.thumb[:coseKIDLen], payload, proof)
}

// VerifySign1 reads a tagged COSE_Sign1 of any type and checks it with key. It is
// for objects that are not tokens and for vector collections: the caller looks
// at Type. To read one of a class, use OpenSign1.
func VerifySign1(raw []byte, key *Key, external []byte) (*Message, error) {
	m, err := parseCOSE(raw, tagSign1)
	if err != nil {
		return nil, err
	}
	if err := m.verify(key, external); err != nil {
		return nil, err
	}
	return m, nil
}

// OpenSign1 reads what Sign1 made for the same class and the same external bytes.
func OpenSign1(raw []byte, class Class, key *Key, external []byte) ([]byte, error) {
	m, err := parseCOSE(raw, tagSign1)
	if err != nil {
		return nil, err
	}
	if err := m.strict(class); err != nil {
		return nil, err
	}
	if err := m.verify(key, external); err != nil {
		return nil, err
	}
	return m.Payload, nil
}

func (m *Message) verify(key *Key, external []byte) error {
	if key == nil || key.alg == 0 {
		return fmt.Errorf("%w: none given", ErrKey)
	}
	if m.alg != key.alg {
		return fmt.Errorf("%w: header says %s, the key is for %s", ErrAlgorithm, m.alg, key.alg)
	}
	return key.Verify(toBeProved("Signature1", m.protected, external, m.Payload), m.proof)
}

// strict holds the message against Signet's profile: the class's typ and nothing
// but alg, typ and kid.
func (m *Message) strict(class Class) error {
	if err := class.checkCOSE(m.Type, m.TypeText); err != nil {
		return err
	}
	if m.others {
		return fmt.Errorf("%w: only alg, typ and kid may be in the headers", ErrHeader)
	}
	if len(m.KID) == 0 {
		return fmt.Errorf("%w: no kid", ErrHeader)
	}
	return nil
}

func protectedHeader(class Class, alg Alg) ([]byte, error) {
	number := class.row().coseType
	if number == 0 {
		return nil, fmt.Errorf("%w: no such class", ErrType)
	}
	b := detcbor.AppendHead(make([]byte, 0, 16), detcbor.Map, 2)
	b = detcbor.AppendInt(detcbor.AppendInt(b, headerAlg), int64(alg))
	return detcbor.AppendInt(detcbor.AppendInt(b, headerType), int64(number)), nil
}

// toBeProved gives the Sig_structure (RFC 9052, 4.4) or MAC_structure (6.3).
func toBeProved(context string, protected, external, payload []byte) []byte {
	b := make([]byte, 0, 32+len(protected)+len(external)+len(payload))
	b = detcbor.AppendText(detcbor.AppendHead(b, detcbor.Array, 4), context)
	return detcbor.AppendBytes(detcbor.AppendBytes(detcbor.AppendBytes(b, protected), external), payload)
}

func appendMessage(tag byte, protected, kid, payload, proof []byte) ([]byte, error) {
	b := make([]byte, 0, 24+len(protected)+len(kid)+len(payload)+len(proof))
	b = detcbor.AppendHead(append(b, 6<<5|tag), detcbor.Array, 4)
	b = detcbor.AppendBytes(b, protected)
	if len(kid) == 0 {
		b = detcbor.AppendHead(b, detcbor.Map, 0)
	} else {
		b = detcbor.AppendBytes(detcbor.AppendInt(detcbor.AppendHead(b, detcbor.Map, 1), headerKID), kid)
	}
	b = detcbor.AppendBytes(detcbor.AppendBytes(b, payload), proof)
	if len(b) > MaxSize {
		return nil, fmt.Errorf("%w: %d bytes, at most %d", ErrMalformed, len(b), MaxSize)
	}
	return b, nil
}

// parseCOSE reads the structure under the tag, and checks all but type and proof.
func parseCOSE(raw []byte, tag byte) (*Message, error) {
	if len(raw) > MaxSize {
		return nil, fmt.Errorf("%w: %d bytes, at most %d", ErrMalformed, len(raw), MaxSize)
	}
	if len(raw) == 0 || raw[0] != 6<<5|tag {
		return nil, fmt.Errorf("%w: want COSE under tag %d", ErrMalformed, tag)
	}
	r, err := detcbor.NewItems(raw[1:])
	if err != nil {
		return nil, whatIs("COSE", err)
	}
	if r.Want(detcbor.Array) != 4 {
		return nil, fmt.Errorf("%w: want a COSE array of 4 elements", ErrMalformed)
	}
	m := new(Message)
	if m.protected = r.Bytes(); r.Err() != nil {
		return nil, whatIs("protected header", r.Err())
	}
	if err := m.readProtected(); err != nil {
		return nil, err
	}
	if r.Each(func(label int64) { m.unprotectedMember(label, &r) }); r.Err() != nil {
		return nil, whatIs("unprotected header", r.Err())
	}
	m.Payload, m.proof = r.Bytes(), r.Bytes()
	return m, whatIs("payload, and signature or tag", r.Err())
}

func (m *Message) readProtected() error {
	r, err := detcbor.NewItems(m.protected)
	if err != nil {
		return whatIs("protected header", err)
	}
	if r.Each(func(label int64) { m.protectedMember(label, &r) }); r.Err() != nil {
		return whatIs("protected header", r.Err())
	}
	if m.alg == 0 {
		return fmt.Errorf("%w: no alg in the protected header", ErrHeader)
	}
	return nil
}

func (m *Message) protectedMember(label int64, r *detcbor.Items) {
	switch label {
	case headerAlg:
		m.alg = Alg(r.Int())
		return
	case headerType:
		if r.Next() == detcbor.Text {
			m.TypeText = r.Text()
		} else {
			m.Type = r.Uint()
		}
		return
	case headerCrit, headerX5Bag, headerX5Chain, headerX5T, headerX5U:
		r.Fail(ErrHeader)
		return
	}
	if label < 0 || label == headerKID {
		r.Fail(fmt.Errorf("%w: not one for the protected header", ErrHeader))
		return
	}
	m.others = true
	r.Skip()
}

func (m *Message) unprotectedMember(label int64, r *detcbor.Items) {
	if label != headerKID {
		r.Fail(fmt.Errorf("%w: only kid may be in the unprotected header", ErrHeader))
		return
	}
	if m.KID = r.Bytes(); len(m.KID) > MaxKID {
		r.Fail(fmt.Errorf("%w: kid has %d bytes, at most %d", ErrHeader, len(m.KID), MaxKID))
	}
}
