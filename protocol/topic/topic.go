// Package topic is Signet's one reader and matcher of MQTT topics: names,
// filters, subscriptions, client ids and the grants made of them. All are parsed
// once, at the edge, and carried parsed.
//
// It keeps no state, and never decides by prefix: permissions allow a filter when
// they cover every name that the filter can match.
package topic

import (
	"errors"
	"fmt"
	"math/bits"
	"strings"
	"unicode/utf8"
)

// Limits on topic names and filters. MQTT allows 65,535 bytes and as many
// levels; these are chosen so that a signet topic of the longest client id fits.
const (
	MaxLen      = 256 // bytes of a name or a filter, without a $share prefix
	MaxDepth    = 16  // levels
	MaxGroupLen = 64  // bytes of a shared subscription's group
)

// ErrInvalid is wrapped by every parse error of this package.
var ErrInvalid = errors.New("invalid topic")

// ErrLimit is wrapped, and ErrInvalid with it, where a limit of Signet's own is what was
// exceeded: too long, too deep, "$share" as a level. All other errors are about what is no
// topic name or filter in MQTT either, of which an MQTT server speaks otherwise.
var ErrLimit = fmt.Errorf("%w beyond Signet's limits", ErrInvalid)

const share = "$share"

// A Name is a topic that messages are published to: no wildcards. The zero
// value names nothing and no filter matches it.
type Name struct{ s string }

// A Filter is what one subscribes to: a name whose levels may be '+' (any one
// level) and whose last may be '#' (the parent and everything below; MQTT 5,
// section 4.7.1). The zero value matches nothing.
type Filter struct{ s string }

// ParseName accepts a topic name within the limits: UTF-8 without NUL, no '+'
// and no '#'. "$share" as the first level is refused: it is no topic.
func ParseName(s string) (Name, error) {
	if err := check("name", s); err != nil {
		return Name{}, err
	}
	if i := strings.IndexAny(s, "+#"); i >= 0 {
		return Name{}, fmt.Errorf("%w: name %q: a wildcard at byte %d", ErrInvalid, s, i)
	}
	return Name{s}, nil
}

// ParseFilter accepts a filter within the limits: a wildcard stands alone in
// its level, '#' in the last one only. It refuses "$share", for which there is
// ParseSubscription.
func ParseFilter(s string) (Filter, error) {
	if err := check("filter", s); err != nil {
		return Filter{}, err
	}
	for rest, more := s, true; more; {
		var level string
		level, rest, more = strings.Cut(rest, "/")
		switch {
		case level == "#" && more:
			return Filter{}, fmt.Errorf("%w: filter %q: '#' before the last level", ErrInvalid, s)
		case len(level) > 1 && strings.ContainsAny(level, "+#"):
			return Filter{}, fmt.Errorf("%w: filter %q: level %q mixes a wildcard with text", ErrInvalid, s, level)
		}
	}
	return Filter{s}, nil
}

// check holds what names and filters have in common.
func check(kind, s string) error {
	switch {
	case s == "":
		return fmt.Errorf("%w: an empty %s", ErrInvalid, kind)
	case len(s) > MaxLen:
		return fmt.Errorf("%w: a %s of %d bytes, at most %d are allowed", ErrLimit, kind, len(s), MaxLen)
	case !utf8.ValidString(s):
		return fmt.Errorf("%w: a %s that is not UTF-8", ErrInvalid, kind)
	case strings.IndexByte(s, 0) >= 0:
		return fmt.Errorf("%w: a %s with a NUL", ErrInvalid, kind)
	case strings.Count(s, "/") >= MaxDepth:
		return fmt.Errorf("%w: a %s of %d levels, at most %d are allowed", ErrLimit, kind, strings.Count(s, "/")+1, MaxDepth)
	}
	// Some servers take the prefix in any case, so none is let through as text.
	if first, _, _ := strings.Cut(s, "/"); strings.EqualFold(first, share) {
		return fmt.Errorf("%w: %s %q: %s is not a topic level", ErrLimit, kind, s, share)
	}
	return nil
}

func (n Name) String() string   { return n.s }
func (f Filter) String() string { return f.s }

// IsZero reports whether n names nothing.
func (n Name) IsZero() bool { return n.s == "" }

// IsZero reports whether f matches nothing.
func (f Filter) IsZero() bool { return f.s == "" }

// Filter gives the filter that matches n and nothing else.
func (n Name) Filter() Filter { return Filter(n) }

// MarshalText and UnmarshalText make filters usable in JSON and YAML.
func (f Filter) MarshalText() ([]byte, error) { return []byte(f.s), nil }

// UnmarshalText parses a filter.
func (f *Filter) UnmarshalText(b []byte) (err error) { *f, err = ParseFilter(string(b)); return err }

// Matches reports whether a message published to n reaches a subscriber of f.
func (f Filter) Matches(n Name) bool { return f.Covers(n.Filter()) }

// Covers reports whether every name that g matches is matched by f too. It
// never says yes wrongly; it may say no where only the length limit makes it so.
func (f Filter) Covers(g Filter) bool {
	if f.s == "" || g.s == "" {
		return false
	}
	// A leading wildcard never reaches a $-topic (MQTT 5, section 4.7.2).
	if g.s[0] == '$' && (f.s[0] == '+' || f.s[0] == '#') {
		return false
	}
	// Names have at least one level, so "+/#" is "#", and only there.
	if g.s == "+/#" {
		g.s = "#"
	}
	if f.s == "+/#" {
		f.s = "#"
	}
	for own, rest := f.s, g.s; ; {
		// What both have in common covers itself. The permission of every message is asked of
		// a few filters that most often differ late, so it is not compared level by level.
		same := common(own, rest)
		own, rest = own[same:], rest[same:]
		switch {
		case own == "":
			return rest == ""
		case own[0] == '#': // also the parent: see below
			return true
		case own[0] != '+':
			return rest == "" && own == "/#"
		case strings.HasPrefix(rest, "#"):
			return false
		}
		end := strings.IndexByte(rest, '/')
		if end < 0 {
			end = len(rest)
		}
		if own, rest = own[1:], rest[end:]; own == "" || rest == "" {
			return rest == "" && (own == "" || own == "/#")
		}
	}
}

// word is the first eight bytes of a text, the first one lowest: the compiler loads them at once.
func word(s string) uint64 {
	_ = s[7]
	return uint64(s[0]) | uint64(s[1])<<8 | uint64(s[2])<<16 | uint64(s[3])<<24 | uint64(s[4])<<32 | uint64(s[5])<<40 | uint64(s[6])<<48 | uint64(s[7])<<56
}

// common is how many bytes two texts have in common at their beginning.
func common(a, b string) (n int) {
	most := min(len(a), len(b))
	for ; n+8 <= most; n += 8 {
		if other := word(a[n:]) ^ word(b[n:]); other != 0 {
			return n + bits.TrailingZeros64(other)/8
		}
	}
	for n < most && a[n] == b[n] {
		n++
	}
	return n
}

// A Subscription is what a client asks for: a filter, shared with a group or not.
type Subscription struct {
	Group  string // of a shared subscription; empty otherwise
	Filter Filter
}

// String is the text that ParseSubscription reads.
func (s Subscription) String() string {
	if s.Group == "" {
		return s.Filter.String()
	}
	return share + "/" + s.Group + "/" + s.Filter.String()
}

// IsShared reports whether the filter of a SUBSCRIBE, not parsed yet, asks for a shared subscription.
func IsShared(s string) bool { return strings.HasPrefix(s, share+"/") }

// ParseSubscription parses the filter of a SUBSCRIBE: either a plain one or
// "$share/{group}/{filter}" (MQTT 5, section 4.8.2).
func ParseSubscription(s string) (Subscription, error) {
	if !IsShared(s) {
		f, err := ParseFilter(s)
		return Subscription{Filter: f}, err
	}
	group, filter, ok := strings.Cut(s[len(share)+1:], "/")
	if len(group) > MaxGroupLen {
		return Subscription{}, fmt.Errorf("%w: a shared subscription's group of %d bytes, at most %d are allowed", ErrLimit, len(group), MaxGroupLen)
	}
	if !ok || group == "" || strings.ContainsAny(group, "+#\x00") || !utf8.ValidString(group) {
		return Subscription{}, fmt.Errorf("%w: a shared subscription needs %s/{group}/{filter}, its group 1 to %d bytes without wildcards", ErrInvalid, share, MaxGroupLen)
	}
	f, err := ParseFilter(filter)
	return Subscription{Group: group, Filter: f}, err
}
