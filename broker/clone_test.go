package broker_test

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/protocol/ident"
)

// A history is what a store has of a device's logins with one client.
type history struct {
	n        uint64
	sessions []broker.Session // newest first
}

// login is one of whoever had last.
func (h *history) login(last ident.UUID) (ident.UUID, broker.Lineage) {
	h.n++
	l := broker.Login{Session: broker.Session{ID: ident.UUID{8: 0x80, 14: byte(h.n >> 8), 15: byte(h.n)}, Last: last}, MaxSessions: 1, Seen: h.n}
	found := l.Lineage(h.sessions)
	for i := range h.sessions {
		if slices.Contains(found.Lost, h.sessions[i].ID) {
			h.sessions[i].Lost = true
		}
	}
	l.Session.Cloned = found.Cloned
	h.sessions = append([]broker.Session{l.Session}, h.sessions...)
	return l.Session.ID, found
}

// TestOneDeviceIsNeverTwo: whatever answers a device loses, wherever its power fails, and
// when it forgets what it had, or its folder is put back to an older state once: it is one.
func TestOneDeviceIsNeverTwo(t *testing.T) {
	for seed := range uint64(2000) {
		dice := rand.New(rand.NewPCG(seed, 1))
		var h history
		var now ident.UUID // what the device has
		folders := []ident.UUID{{}}
		putBack := dice.IntN(30) // when its folder is
		for i := range 30 {
			switch {
			case i == putBack:
				now = folders[dice.IntN(len(folders))]
			case dice.IntN(8) == 0:
				now = ident.UUID{} // all is lost
			}
			next, found := h.login(now)
			if found.Cloned {
				t.Fatalf("seed %d: login %d was taken for another copy's", seed, i)
			}
			if dice.IntN(3) > 0 { // the answer is saved
				now = next
				folders = append(folders, now)
			}
		}
	}
}

// TestFrozenFolder: a device whose folder is as it was in the factory at each boot is one.
func TestFrozenFolder(t *testing.T) {
	var h history
	frozen, _ := h.login(ident.UUID{})
	for range 20 {
		last := frozen
		for range 3 {
			var found broker.Lineage
			if last, found = h.login(last); found.Cloned {
				t.Fatal("taken for another copy's")
			}
		}
	}
}

// TestTwoAreFound: of two that share a key, each login that either notices is in turn; the
// third at the latest shows that they are two, whichever copy has what of the other.
func TestTwoAreFound(t *testing.T) {
	for name, copied := range map[string]bool{"the folder was copied": true, "the key alone was copied": false} {
		var h history
		had, _ := h.login(ident.UUID{})
		parties := []ident.UUID{{}, had} // the thief first
		if copied {
			parties[0] = had
		}
		for i := range 4 {
			var found broker.Lineage
			parties[i%2], found = h.login(parties[i%2])
			if want := i >= 2; found.Cloned != want {
				t.Errorf("%s: login %d: cloned %v", name, i, found.Cloned)
			}
		}
	}
}

// TestAThiefWhoNamesNothing forgets each session, as if he were a device that keeps nothing.
// The device comes back from each of them, which is found at the second time.
func TestAThiefWhoNamesNothing(t *testing.T) {
	var h history
	had, _ := h.login(ident.UUID{})
	for i := range 4 {
		if _, found := h.login(ident.UUID{}); found.Cloned {
			t.Fatal("his own login tells nothing")
		}
		var found broker.Lineage
		if had, found = h.login(had); found.Cloned != (i >= 1) {
			t.Errorf("return %d: cloned %v", i, found.Cloned)
		}
	}
}
