package control_test

import (
	"bytes"
	"testing"
	"time"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/broker/control"
	"github.com/signetd/signet/protocol"
)

// followed is the anchor that a device comes to that knows the pinned one only.
func followed(t *testing.T, p broker.Pool, pin []byte) []byte {
	t.Helper()
	var all []protocol.Succession
	for _, s := range p.Successions {
		all = append(all, protocol.Succession{From: s.From, Signed: s.Signed})
	}
	k, err := protocol.Follow(pin, all)
	want(t, err, nil)
	if k == nil {
		return nil
	}
	return k.MarshalCOSE()
}

func pinOf(t *testing.T, p broker.Pool) []byte {
	t.Helper()
	k, err := control.Anchor(p)
	want(t, err, nil)
	thumb := k.Thumbprint()
	return thumb[:protocol.PinLen]
}

// TestRotateAnchor: from as many anchors as a pool remembers the way leads to the newest,
// from an older one nowhere; the time of the change never goes back.
func TestRotateAnchor(t *testing.T) {
	w, demo := world(t), pool(t, "demo")
	p, err := w.Pool(t.Context(), demo)
	want(t, err, nil)
	pins := [][]byte{pinOf(t, p)}
	for i := range protocol.MaxSuccessions + 2 {
		if i == 3 {
			w.Clock.Advance(-240 * time.Hour) // the clock was set back
		}
		next, err := w.RotateAnchor(t.Context(), by(), demo, nil)
		want(t, err, nil)
		if bytes.Equal(next.Anchor, p.Anchor) || bytes.Equal(next.AnchorSealed, p.AnchorSealed) || next.AnchorSince.Before(p.AnchorSince) || next.Rev == p.Rev {
			t.Fatalf("rotation %d: %+v, before it %+v", i, next, p)
		}
		p = next
		pins = append(pins, pinOf(t, p))
		w.Clock.Advance(time.Hour)
	}
	if n := len(p.Successions); n != protocol.MaxSuccessions {
		t.Fatalf("it remembers %d anchors, want %d", n, protocol.MaxSuccessions)
	}
	for i, pin := range pins[:len(pins)-1] {
		got, old := followed(t, p, pin), len(pins)-1-protocol.MaxSuccessions
		if (i < old) != (got == nil) || got != nil && !bytes.Equal(got, p.Anchor) {
			t.Errorf("from anchor %d of %d a device comes to %x", i, len(pins), got)
		}
	}
	_, err = w.RotateAnchor(t.Context(), by(), demo, &control.Match{Revs: []uint64{p.Rev - 1}})
	want(t, err, broker.ErrStale)
	_, err = w.RotateAnchor(t.Context(), by(), pool(t, "none"), nil)
	want(t, err, broker.ErrNotFound)
}

// TestRevokeAnchor: nothing leads from the stolen anchor to the new one, and no enrollment
// token is left, of however many, that a device would be admitted with in vain.
func TestRevokeAnchor(t *testing.T) {
	w, demo := world(t), pool(t, "demo")
	first, err := w.Pool(t.Context(), demo)
	want(t, err, nil)
	for range 3 {
		_, _, err := w.CreateEnrollToken(t.Context(), by(), control.NewEnrollToken{Pool: demo})
		want(t, err, nil)
	}
	second, err := w.RotateAnchor(t.Context(), by(), demo, nil)
	want(t, err, nil)
	p, err := w.RevokeAnchor(t.Context(), by(), demo, nil, true)
	want(t, err, nil)
	for _, old := range []broker.Pool{first, second} {
		if got := followed(t, p, pinOf(t, old)); got != nil {
			t.Errorf("a device comes to %x", got)
		}
	}
	left, err := w.EnrollTokens().List(t.Context(), demo, "", 10)
	if err != nil || len(left) > 0 {
		t.Errorf("%d enrollment tokens are left (%v)", len(left), err)
	}
	_, _, err = w.CreateEnrollToken(t.Context(), by(), control.NewEnrollToken{Pool: demo})
	want(t, err, nil)
}
