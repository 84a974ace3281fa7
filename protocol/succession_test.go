package protocol_test

import (
	"slices"
	"testing"
	"time"

	"github.com/signetd/signet/protocol"
	"github.com/signetd/signet/protocol/detcbor"
	"github.com/signetd/signet/protocol/token"
)

// succeed lets each of the anchors take the place of the one before it.
func succeed(t testing.TB, anchors ...*token.Signer) (all []protocol.Succession) {
	t.Helper()
	for i, to := range anchors[1:] {
		s, err := protocol.Succeed(anchors[i], to.Key(), time.Unix(1_780_000_000, 0))
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, s)
	}
	return all
}

func pinOf(s *token.Signer) []byte {
	thumb := s.Key().Thumbprint()
	return thumb[:protocol.PinLen]
}

// TestFollow: wherever a device stood when the anchors changed, it comes to the last one,
// and by nothing but the word of the anchor that it believed.
func TestFollow(t *testing.T) {
	anchors := []*token.Signer{edSigner(t, 1), edSigner(t, 2), edSigner(t, 3), edSigner(t, 4)}
	evil := edSigner(t, 9)
	all := succeed(t, anchors...)
	last := anchors[len(anchors)-1].Key()
	for i, from := range anchors[:len(anchors)-1] {
		got, err := protocol.Follow(pinOf(from), all)
		if err != nil || !got.Equal(last) {
			t.Errorf("from anchor %d: %v, %v", i, got, err)
		}
	}
	for name, pin := range map[string][]byte{"the last one": pinOf(anchors[3]), "a stranger": pinOf(evil)} {
		if got, err := protocol.Follow(pin, all); got != nil || err != nil {
			t.Errorf("from %s: %v, %v, want nobody's word to follow", name, got, err)
		}
	}
	broken := slices.Clone(all)
	broken[0].Signed = []byte("broken")
	if got, err := protocol.Follow(pinOf(anchors[1]), broken); err != nil || !got.Equal(last) {
		t.Errorf("what was before the device's anchor: %v, %v", got, err)
	}
	if got, err := protocol.Follow(pinOf(anchors[0]), broken); err == nil {
		t.Errorf("a word that does not verify leads to %v", got)
	}
	// The owner of an old anchor says that it has another successor. Whoever has left it
	// does not listen; who has it still believes the first word, which is the thief's to be.
	forged := append(succeed(t, anchors[0], evil), all...)
	if got, err := protocol.Follow(pinOf(anchors[1]), forged); err != nil || !got.Equal(last) {
		t.Errorf("an old anchor's owner led a device that had left it to %v, %v", got, err)
	}
	stolen := slices.Clone(all)
	stolen[1] = protocol.Succession{From: anchors[1].Key().MarshalCOSE(), Signed: succeed(t, anchors[0], evil)[0].Signed}
	if got, err := protocol.Follow(pinOf(anchors[0]), stolen); err == nil {
		t.Errorf("an anchor spoke for its successor and led to %v", got)
	}
}

// TestSuccessionRefuses: what an old anchor signed must be whole, and say what it is.
func TestSuccessionRefuses(t *testing.T) {
	anchor, next := edSigner(t, 1), edSigner(t, 2)
	good := func() map[int64]any {
		return map[int64]any{1: detcbor.RawMessage(next.Key().MarshalCOSE()), 2: 1_780_000_000}
	}
	read := func(class token.Class, m any) error {
		payload, err := detcbor.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		raw, err := token.Sign1(class, payload, nil, anchor)
		if err != nil {
			t.Fatal(err)
		}
		_, err = protocol.Succession{From: anchor.Key().MarshalCOSE(), Signed: raw}.To(anchor.Key())
		return err
	}
	for name, bend := range map[string]func(m map[int64]any){
		"no anchor":        func(m map[int64]any) { delete(m, 1) },
		"a byte string":    func(m map[int64]any) { m[1] = []byte("key") },
		"a key of no kind": func(m map[int64]any) { m[1] = map[int64]any{1: 4} },
		"no time":          func(m map[int64]any) { delete(m, 2) },
		"time zero":        func(m map[int64]any) { m[2] = 0 },
	} {
		m := good()
		bend(m)
		if read(token.AnchorSuccession, m) == nil {
			t.Errorf("%s: it passes", name)
		}
	}
	m := good()
	m[9] = "of a later version"
	if err := read(token.AnchorSuccession, m); err != nil {
		t.Errorf("with a member more: %v", err)
	}
	if read(token.KeyStatement, good()) == nil {
		t.Error("a key statement passes for a succession")
	}
	if _, err := protocol.Succeed(anchor, next.Key(), time.Time{}); err == nil {
		t.Error("a succession was signed that does not say when")
	}
}

// TestSuccessionsFitAGrant: with all of them the longest grant still fits a message.
func TestSuccessionsFitAGrant(t *testing.T) {
	anchors := make([]*token.Signer, protocol.MaxSuccessions+1)
	for i := range anchors {
		anchors[i] = edSigner(t, byte(i))
	}
	raw, err := detcbor.Marshal(succeed(t, anchors...))
	if err != nil {
		t.Fatal(err)
	}
	if len(raw) > 3<<10 {
		t.Errorf("%d successions have %d bytes", protocol.MaxSuccessions, len(raw))
	}
	t.Logf("%d successions: %d bytes", protocol.MaxSuccessions, len(raw))
}

// FuzzFollow: whatever a grant brings, a device never comes to an anchor that the pinned
// one's word does not lead to.
func FuzzFollow(f *testing.F) {
	anchor, next, evil := edSigner(f, 1), edSigner(f, 2), edSigner(f, 3)
	good := succeed(f, anchor, next)[0]
	bad := succeed(f, evil, evil)[0]
	f.Add(good.From, good.Signed, bad.From, bad.Signed)
	f.Add(bad.From, bad.Signed, good.From, good.Signed)
	f.Add(good.From, bad.Signed, []byte(nil), []byte(nil))
	f.Fuzz(func(t *testing.T, from1, signed1, from2, signed2 []byte) {
		got, err := protocol.Follow(pinOf(anchor), []protocol.Succession{{From: from1, Signed: signed1}, {From: from2, Signed: signed2}})
		if err == nil && got != nil && !got.Equal(next.Key()) {
			t.Fatalf("it leads to %v", got)
		}
	})
}
