package broker

import (
	"context"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/signetd/signet/protocol/ident"
)

// A Group says what a group of devices means. Which devices are in it, the devices
// say: a group may have members before it is described, and after.
type Group struct {
	Pool ident.Pool `json:"-"`
	Name string     `json:"-"` // 1 to 64 of [a-z0-9-]
	// Precedence ranks the groups of one device: the lowest wins, those without come last.
	Precedence  *int      `json:"precedence,omitempty"` // 0 to MaxPrecedence
	Description string    `json:"description,omitempty"`
	Created     time.Time `json:"-"`
	Rev         uint64    `json:"-"` // the store's
}

// Bounds on a group.
const (
	MaxPrecedence  = 1<<31 - 1
	MaxDescription = 256 // bytes
)

// Validate gives the bounds that a group breaks.
func (g *Group) Validate() error {
	var broken Violations
	broken.add(checkLabel("name", "group", g.Name))
	if p := g.Precedence; p != nil && (*p < 0 || *p > MaxPrecedence) {
		broken.add(Invalid("precedence", "group %s: precedence %d, want 0 to %d", g.Name, *p, MaxPrecedence))
	}
	if len(g.Description) > MaxDescription || !utf8.ValidString(g.Description) || !graphic(g.Description) {
		broken.add(Invalid("description", "group %s: its description is not one line of at most %d bytes", g.Name, MaxDescription))
	}
	return broken.or()
}

func graphic(s string) bool {
	for _, r := range s {
		if !unicode.IsGraphic(r) {
			return false
		}
	}
	return true
}

// GroupKind is the kind of a pool's groups.
func GroupKind() Kind[Group] {
	return Kind[Group]{
		Name: "group", Plural: "groups", Check: (*Group).Validate,
		New:  func(pool ident.Pool, name string) Group { return Group{Pool: pool, Name: name} },
		Head: func(g *Group) Head { return Head{Pool: &g.Pool, Name: &g.Name, Rev: &g.Rev, Created: &g.Created} },
		Own: func(g Group) Group {
			if g.Precedence != nil {
				p := *g.Precedence
				g.Precedence = &p
			}
			return g
		},
	}
}

// Group finds a group.
func (c *Catalog) Group(ctx context.Context, pool ident.Pool, name string) (*Group, error) {
	return GroupKind().Find(ctx, c, pool, name)
}
