package adminapi

import (
	"time"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/broker/control"
)

// A Group says what a group of devices means.
type Group struct {
	Name        string     `json:"name" maxLength:"64" pattern:"^[a-z0-9-]+$" patternDescription:"a-z, 0-9 and -" column:"NAME"`
	Precedence  *int       `json:"precedence,omitempty" minimum:"0" maximum:"2147483647" doc:"Ranks the groups of one device: the lowest wins, those without come last" column:"PRECEDENCE" flag:"precedence" usage:"<rank> among the groups of a device, 0 or more: the lowest wins, groups without come last"`
	Description string     `json:"description,omitempty" maxLength:"256" doc:"One line" column:"DESCRIPTION" flag:"description" usage:"one <line> about it"`
	Created     *time.Time `json:"created,omitempty" readOnly:"true" column:"CREATED,show"`
}

func groupResource() resource[broker.Group, Group] {
	form := func() any { return &Group{} }
	return resource[broker.Group, Group]{
		Noun: Noun{
			Command: "group", One: "group", Path: "groups", Plural: "groups", Key: "name", New: form,
			About:  "What the groups of devices mean, and which of them comes first",
			Create: Verb{"Describe a group", `signet group create lab --pool demo --precedence 10 --description "rooms 1 to 4"`, form},
			Change: Verb{"Change what a group means; what is not given stays", "signet group update lab --pool demo --precedence 5", nil},
			Delete: Verb{About: "Delete what a group means; devices stay in it"},
		},
		use:  use(broker.GroupKind(), func(p *control.Plane) control.Settings[broker.Group] { return control.Of(p, broker.GroupKind()) }),
		name: func(g *Group) string { return g.Name },
		wire: func(g broker.Group) Group {
			return Group{Name: g.Name, Precedence: g.Precedence, Description: g.Description, Created: optional(g.Created)}
		},
		write: func(w *Group, g *broker.Group) error {
			g.Precedence, g.Description = w.Precedence, w.Description
			return nil
		},
	}
}
