package broker

import (
	"maps"
	"slices"
	"unicode/utf8"

	"github.com/signetd/signet/protocol/ident"
)

// Limits on what operators and devices say about devices, chosen to keep a record small.
const (
	MaxLabel      = 64 // bytes of a name of anything but a device or a pool
	MaxGroups     = 16
	MaxAttributes = 32
	MaxAttrKey    = 64  // bytes
	MaxAttrValue  = 256 // bytes
)

// checkLabel checks the names of clients, flows, hooks, groups, operators and secrets: 1 to
// 64 of [a-z0-9-]. field is where in a setting it stands, empty elsewhere.
func checkLabel(field, what, s string) error {
	if n := utf8.RuneCountInString(s); n < 1 || n > MaxLabel { // whatever is no ASCII is refused below
		return Invalid(field, "a %s's name has 1 to %d characters, got %d", what, MaxLabel, n)
	}
	for i := range len(s) {
		if c := s[i]; (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' {
			return Invalid(field, "%s %q: character %s, want a-z, 0-9 or -", what, s, ident.Character(s, i))
		}
	}
	return nil
}

// CheckLabels checks a device's groups and attributes, whether an operator says them, an
// enrollment token presets them or the device states them itself. Attributes are printable
// ASCII: they are shown on operators' terminals, and go to hooks, logs and tokens.
func CheckLabels(groups []string, attributes map[string]string) error {
	var broken Violations
	if len(groups) > MaxGroups {
		broken.add(Invalid("groups", "%d groups, at most %d", len(groups), MaxGroups))
	}
	if len(attributes) > MaxAttributes {
		broken.add(Invalid("attributes", "%d attributes, at most %d", len(attributes), MaxAttributes))
	}
	for _, g := range groups {
		broken.add(checkLabel("groups", "group", g))
	}
	for _, k := range slices.Sorted(maps.Keys(attributes)) {
		v := attributes[k]
		if !printable(k, MaxAttrKey) || k == "" {
			broken.add(Invalid("attributes", "attribute name %q: want 1 to %d printable ASCII characters", k, MaxAttrKey))
		}
		if !printable(v, MaxAttrValue) {
			broken.add(Invalid("attributes", "attribute %q: its value is not at most %d printable ASCII characters", k, MaxAttrValue))
		}
	}
	return broken.or()
}

func printable(s string, limit int) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return len(s) <= limit
}
