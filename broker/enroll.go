package broker

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/signetd/signet/protocol/ident"
)

// An EnrollToken admits devices; its secret is never here.
type EnrollToken struct {
	Pool       ident.Pool        `json:"-"`
	ID         string            `json:"-"`                // hex of the token's public id
	Key        []byte            `json:"key"`              // Ed25519 public key that proves possession of the token
	Uses       int               `json:"uses"`             // how many enrollments it admits
	Used       int               `json:"-"`                // counted beside it: Document.Used
	Expires    time.Time         `json:"expires,omitzero"` // zero: never
	Groups     []string          `json:"groups,omitempty"`
	Attributes map[string]string `json:"attributes,omitempty"`
	Replace    bool              `json:"replace,omitempty"` // may replace the key of a device that has one
	// Name is the only device that it admits, zero: any. NamePattern are all: in it * stands
	// for any characters and ? for any one. At most one of them is set, and one must be if
	// Replace is: else whoever finds the token takes over whichever device he likes.
	Name        ident.Name     `json:"name,omitzero"`
	NamePattern string         `json:"namePattern,omitempty"`
	Networks    []netip.Prefix `json:"networks,omitempty"` // that devices must come from; none: from anywhere
	Approve     bool           `json:"approve,omitempty"`  // devices come in pending, for an operator's approval
	Created     time.Time      `json:"-"`
	Rev         uint64         `json:"-"` // the store's
}

// Defaults and bounds of enrollment tokens.
const (
	DefaultEnrollLife = 24 * time.Hour
	MinEnrollLife     = time.Minute
	MaxEnrollLife     = 365 * 24 * time.Hour
	MaxEnrollUses     = 1_000_000
	MaxEnrollNetworks = 16
)

// CheckNetworks checks the networks that an enrollment token is for.
func CheckNetworks(networks []netip.Prefix) error {
	if len(networks) > MaxEnrollNetworks {
		return Invalid("networks", "%d networks, at most %d", len(networks), MaxEnrollNetworks)
	}
	for _, n := range networks {
		if err := CheckNetwork(n); err != nil {
			return Invalid("networks", "%v", err)
		}
	}
	return nil
}

// CheckNetwork refuses a network that is not written as the one that it is: as IPv4 in IPv6,
// which no address is in, or with bits of a host, where one machine may be meant.
func CheckNetwork(n netip.Prefix) error {
	switch {
	case !n.IsValid():
		return errors.New("a network is written as 192.0.2.0/24 or 2001:db8::/32")
	case n.Addr().Is4In6():
		return fmt.Errorf("network %s: write it as IPv4, such as 192.0.2.0/24", n)
	case n != n.Masked():
		return fmt.Errorf("network %s has bits of a host set: %s is meant, or %s/%d", n, n.Masked(), n.Addr(), n.Addr().BitLen())
	}
	return nil
}

// checkNames checks which devices t is for.
func (t *EnrollToken) checkNames() error {
	switch {
	case !t.Name.IsZero() && t.NamePattern != "":
		return Invalid("namePattern", "an enrollment token is for one name or for a pattern of names, not for both")
	case t.Replace && t.Name.IsZero() && t.NamePattern == "":
		return Invalid("replace", "an enrollment token that may replace keys must say whose: with --name one device, with --name-pattern all whose names fit; without, whoever finds it could take over any device")
	case t.NamePattern == "":
		return nil
	case len(t.NamePattern) > ident.MaxNameLen:
		return Invalid("namePattern", "a pattern of names has at most %d characters, not %d", ident.MaxNameLen, len(t.NamePattern))
	case strings.Trim(t.NamePattern, "*?") == "":
		return Invalid("namePattern", "pattern %q fits any name; begin it as your names begin, such as lamp-*", t.NamePattern)
	}
	if _, err := ident.ParseName(strings.NewReplacer("*", "x", "?", "x").Replace(t.NamePattern)); err != nil {
		return Invalid("namePattern", "pattern %q: names have A-Z, a-z, 0-9, _, : and -, and besides these it may have * and ?", t.NamePattern)
	}
	return nil
}

// For reports whether t is for a device of that name which comes from that address; the
// zero address is none that is known. Otherwise the error wraps ErrNotFor.
func (t *EnrollToken) For(name ident.Name, from netip.Addr) error {
	switch {
	case !t.Name.IsZero() && t.Name != name:
		return fmt.Errorf("enrollment token %s is for device %s: %w", t.ID, t.Name, ErrNotFor)
	case t.NamePattern != "" && !fits(t.NamePattern, name.String()):
		return fmt.Errorf("enrollment token %s is for devices %s: %w", t.ID, t.NamePattern, ErrNotFor)
	case len(t.Networks) > 0 && !slices.ContainsFunc(t.Networks, func(n netip.Prefix) bool { return n.Contains(from.Unmap().WithZone("")) }):
		return fmt.Errorf("enrollment token %s is for networks %v: %w", t.ID, t.Networks, ErrNotFor)
	}
	return nil
}

// fits reports whether a name fits a pattern. It takes time by the product of their lengths
// at most.
func fits(pattern, name string) bool {
	star, back := -1, 0
	for p, i := 0, 0; ; {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, back = p, i
			p++
		case i == len(name):
			return p == len(pattern)
		case p < len(pattern) && (pattern[p] == '?' || pattern[p] == name[i]):
			p, i = p+1, i+1
		case star >= 0: // let the last * stand for one more
			back++
			p, i = star+1, back
		default:
			return false
		}
	}
}

// Validate gives the bounds that an enrollment token breaks. When it may end depends
// on the time at which that is said: CheckEnd.
func (t *EnrollToken) Validate() error {
	var broken Violations
	broken.add(checkLabel("id", "enrollment token", t.ID))
	if t.Uses < 1 || t.Uses > MaxEnrollUses {
		broken.add(Invalid("uses", "an enrollment token has 1 to %d uses, not %d", MaxEnrollUses, t.Uses))
	}
	broken.add(CheckLabels(t.Groups, t.Attributes))
	broken.add(t.checkNames())
	broken.add(CheckNetworks(t.Networks))
	return broken.or()
}

// CheckEnrollLife checks how long from now an operator wants an enrollment token to live.
func CheckEnrollLife(life time.Duration) error {
	if life < MinEnrollLife || life > MaxEnrollLife {
		return Invalid("", "an enrollment token lives %s to %s, not %s", Span(MinEnrollLife), Span(MaxEnrollLife), Span(life))
	}
	return nil
}

// CheckEnd checks the end that t is given at now.
func (t *EnrollToken) CheckEnd(now time.Time) error {
	if t.Expires.Before(now) || t.Expires.After(now.Add(MaxEnrollLife)) {
		return Invalid("expires", "enrollment token %q: it ends within %s from now, not at %s", t.ID, Span(MaxEnrollLife), t.Expires.UTC().Format(time.RFC3339))
	}
	return nil
}

// Becomes refuses a change of what never changes: an enrollment token's pool, id and key.
func (t *EnrollToken) Becomes(next *EnrollToken) error {
	if next.Pool != t.Pool || next.ID != t.ID || !bytes.Equal(next.Key, t.Key) {
		return Invalid("", "an enrollment token's pool, id and key never change")
	}
	return nil
}

// EnrollTokenKind is the kind of a pool's enrollment tokens, by id. A replacement keeps the key.
func EnrollTokenKind() Kind[EnrollToken] {
	return Kind[EnrollToken]{
		Name: "enrollment", Plural: "enrollments", Word: "enrollment token", Check: (*EnrollToken).Validate, Counted: true,
		New: func(pool ident.Pool, id string) EnrollToken { return EnrollToken{Pool: pool, ID: id, Uses: 1} },
		Head: func(t *EnrollToken) Head {
			return Head{Pool: &t.Pool, Name: &t.ID, Rev: &t.Rev, Created: &t.Created, Used: &t.Used}
		},
		Becomes: (*EnrollToken).Becomes,
		Keep: func(old, t *EnrollToken) {
			if t.Key == nil {
				t.Key = old.Key
			}
		},
	}
}

// EnrollToken finds an enrollment token by its public id.
func (c *Catalog) EnrollToken(ctx context.Context, pool ident.Pool, id string) (*EnrollToken, error) {
	return EnrollTokenKind().Find(ctx, c, pool, id)
}

// An Enrollment is the part of a Login that brings a device into its pool.
type Enrollment struct {
	Device  Device // as it is to be created; with Subject set
	TokenID string // empty: the key was registered before
	Now     time.Time
	From    netip.Addr // where the device is, as far as the transport tells; zero: unknown
}

// An Admission is what an enrollment comes to.
type Admission struct {
	Device      Device // as the enrollment leaves it
	Changed     bool   // Device is new or has other keys now: it is to be written, in the place of the one that was there
	CostsUse    bool   // it takes one use of the token
	KeyReplaced bool   // there were keys before, and what they began is over
}

// Pending reports whether the device is written to wait for an operator's approval:
// no session of it begins.
func (a *Admission) Pending() bool { return a.Changed && a.Device.Status != StatusActive }

// Admit decides what the enrollment of l may do, by the device that is there (nil:
// none), the token that it names (nil: there is none, or none of that id) and how
// often that was used. It changes nothing itself.
//
//   - A device that is in with the keys it brings may have lost the answer: it stays
//     as it is, and that costs no use, whatever became of the token.
//   - A token that is named must be there (ErrNotFound), be for that device and where it
//     comes from (ErrNotFor), not be past its end (ErrExpired) and have a use left
//     (ErrExhausted).
//   - Without a token nobody new comes in: ErrNotFound.
//   - A disabled or quarantined device stays out, whatever it brings: ErrInactive.
//   - Other keys than those that are there need a token that may replace: ErrKeyBound.
//     With one, what the old keys began is over. A device without any gets its first.
//   - Whoever is not active in the end gets no session: ErrInactive if there is nothing
//     to write; otherwise the admission is Pending.
//
// With ErrInactive the admission's Device is the one that is there.
func Admit(old *Device, l *Login, t *EnrollToken, used int) (Admission, error) {
	e := l.Enroll
	if old != nil && old.hasKeysOf(&e.Device) {
		return stays(old)
	}
	if e.TokenID != "" {
		if err := e.may(t, used); err != nil {
			return Admission{}, err
		}
	}
	switch {
	case old == nil && t == nil:
		return Admission{}, fmt.Errorf("device: %w", ErrNotFound)
	case old == nil:
		a := Admission{Device: e.Device, Changed: true, CostsUse: true}
		a.Device.Rev = 1
		return a, nil
	case old.Status == StatusDisabled || old.Status == StatusQuarantined:
		return stays(old)
	case t == nil || old.hasKeys() && !t.Replace:
		return Admission{}, fmt.Errorf("device %s: %w", old.ID, ErrKeyBound)
	}
	return Admission{Device: old.enrolled(l), Changed: true, CostsUse: true, KeyReplaced: old.hasKeys()}, nil
}

// stays admits a device as it is, if it is active.
func stays(d *Device) (Admission, error) {
	a := Admission{Device: *d}
	if d.Status != StatusActive {
		return a, fmt.Errorf("device is %s: %w", d.Status, ErrInactive)
	}
	return a, nil
}

// may reports why the token that e names, nil if there is none, admits nobody now.
func (e *Enrollment) may(t *EnrollToken, used int) error {
	switch {
	case t == nil:
		return fmt.Errorf("enrollment token %s: %w", e.TokenID, ErrNotFound)
	case t.For(e.Device.ID.Name, e.From) != nil:
		return t.For(e.Device.ID.Name, e.From)
	case !t.Expires.IsZero() && !e.Now.Before(t.Expires):
		return fmt.Errorf("enrollment token %s: %w", t.ID, ErrExpired)
	case used >= t.Uses:
		return fmt.Errorf("enrollment token %s: all %d uses: %w", t.ID, t.Uses, ErrExhausted)
	}
	return nil
}

// hasKeys reports whether d has any key of its own.
func (d *Device) hasKeys() bool {
	return slices.ContainsFunc(d.Authenticators, func(a Authenticator) bool { return a.Possession() })
}

// hasKeysOf reports whether d has every public key of come.
func (d *Device) hasKeysOf(come *Device) bool {
	for _, id := range come.PublicKeys() {
		if !d.Has(id) {
			return false
		}
	}
	return true
}

// enrolled is d with the keys that l brings in the place of its own. What else it is
// asked for stays: a new key is no way round a second factor.
func (d *Device) enrolled(l *Login) Device {
	out := *d
	out.Authenticators, out.Updated = slices.Clone(l.Enroll.Device.Authenticators), l.Enroll.Now
	for _, a := range d.Authenticators {
		if !a.Possession() {
			out.Authenticators = append(out.Authenticators, a)
		}
	}
	out.Rev++
	if l.Enroll.Device.Status == StatusPending {
		out.Status = StatusPending
	}
	if d.hasKeys() { // what the old keys began ends, and the new session, of this Rev, does not
		out.SessionsRev, out.SessionsAfter, out.ClonedSince = out.Rev, l.Session.Created.Add(-1), time.Time{}
	}
	return out
}
