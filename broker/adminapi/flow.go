package adminapi

import (
	"context"
	"net/http"
	"time"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/broker/control"
)

// A Flow says which challenges a device answers.
type Flow struct {
	Name      string     `json:"name" maxLength:"64" pattern:"^[a-z0-9-]+$" patternDescription:"a-z, 0-9 and -" column:"NAME"`
	Steps     []string   `json:"steps,omitempty" nullable:"false" maxItems:"8" doc:"The broker's own challenges, such as key and psk, or hook:NAME, in order" column:"STEPS" flag:"step" usage:"<challenge> of the broker's own, such as key or psk, or hook:NAME; repeat in order" with:"define"`
	Define    string     `json:"define,omitempty" maxLength:"64" doc:"The hook that decides what comes after the steps, and after each answer to that. Without steps the flow begins with it" column:"DEFINE" flag:"define" usage:"the <hook> that decides what comes after the steps, if there are any, and after each answer to that" with:"step"`
	HookFirst bool       `json:"hookFirst,omitempty" doc:"The flow begins with a hook, as one with define and no steps does: anybody who can reach the broker can make it call the hook, without any proof" column:"HOOK FIRST,show" flag:"hook-first" usage:"the flow begins with a hook (--define without --step does): anybody who can reach the broker can make it call the hook"`
	Created   *time.Time `json:"created,omitempty" readOnly:"true" column:"CREATED,show"`
}

func flowResource() resource[broker.Flow, Flow] {
	form := func() any { return &Flow{} }
	return resource[broker.Flow, Flow]{
		Noun: Noun{
			Command: "flow", One: "flow", Path: "flows", Plural: "flows", Key: "name", New: form,
			About:  "Which challenges devices answer, in which order",
			Create: Verb{"Create a flow", "signet flow create two --pool demo --step key --step hook:pin\nsignet flow create decided --pool demo --step key --define door", form},
			Change: Verb{"Replace a flow", "signet flow update two --pool demo --step key --step hook:pin\nsignet flow update decided --pool demo --step key --define door", nil},
			Delete: Verb{About: "Delete a flow that nothing uses"},
		},
		use:  use(broker.FlowKind(), (*control.Plane).Flows),
		name: func(f *Flow) string { return f.Name },
		wire: func(f broker.Flow) Flow {
			return Flow{Name: f.Name, Steps: f.Steps, Define: f.Define, HookFirst: f.HookFirst, Created: optional(f.Created)}
		},
		write: func(w *Flow, f *broker.Flow) error {
			f.Steps, f.Define, f.HookFirst = w.Steps, w.Define, w.HookFirst
			return nil
		},
	}
}

// use gives the use cases of a plane or, without one, those of the kind alone.
func use[N any](kind broker.Kind[N], of func(*control.Plane) control.Settings[N]) func(*control.Plane) control.Settings[N] {
	return func(p *control.Plane) control.Settings[N] {
		if p == nil {
			return control.Of(nil, kind)
		}
		return of(p)
	}
}

// Flow shows a flow.
func (p PoolClient) Flow(ctx context.Context, name string) (Flow, error) {
	return get[Flow](ctx, p.c, p.path+join("flows", name))
}

// CreateFlow creates a flow.
func (p PoolClient) CreateFlow(ctx context.Context, f Flow) (Flow, error) {
	return send[Flow](ctx, p.c, http.MethodPost, p.path+"/flows", f)
}
