package adminapi

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/broker/problem"
	"github.com/signetd/signet/protocol/ident"
)

// applied is one kind of setting in a request to apply.
type applied struct {
	of     served
	schema *huma.Schema // of an item
	// read gives what an item wants, or what is wrong with it; then at least its name,
	// if that can be told.
	read func(s *service, registry huma.Registry, at string, raw json.RawMessage) (wanted, []problem.Place)
	// prune deletes the settings in a pool that are not known, and gives what it deleted.
	prune func(tx broker.SettingsTx, pool ident.Pool, known map[thing]int) ([]Change, error)
	// inUse says what breaks when one is deleted.
	inUse func(ctx context.Context, s *service, pool ident.Pool, name string) (string, error)
}

func (r resource[N, W]) applied(registry huma.Registry) applied {
	k := applied{of: r, prune: r.prune, inUse: func(ctx context.Context, s *service, pool ident.Pool, name string) (string, error) {
		return r.use(s.dir).InUse(ctx, pool, name)
	}}
	if registry == nil {
		return k
	}
	k.schema = r.itemSchema(registry)
	k.read = func(s *service, registry huma.Registry, at string, raw json.RawMessage) (wanted, []problem.Place) {
		return r.read(s, registry, k.schema, at, raw)
	}
	return k
}

// itemSchema is the schema of W with the pool that it is in, without what the broker alone writes.
func (r resource[N, W]) itemSchema(registry huma.Registry) *huma.Schema {
	form := huma.SchemaFromType(registry, reflect.TypeFor[W]())
	item := &huma.Schema{Type: huma.TypeObject, AdditionalProperties: false, Properties: map[string]*huma.Schema{
		"pool": {Type: huma.TypeString, MaxLength: new(ident.MaxPoolLen), Description: "The pool that it is in"},
	}, Required: []string{"pool"}}
	for name, p := range form.Properties {
		if !p.ReadOnly {
			item.Properties[name] = p
		}
	}
	for _, name := range form.Required {
		if item.Properties[name] != nil {
			item.Required = append(item.Required, name)
		}
	}
	item.PrecomputeMessages()
	return item
}

func (r resource[N, W]) read(s *service, registry huma.Registry, schema *huma.Schema, at string, raw json.RawMessage) (w wanted, places []problem.Place) {
	var where struct{ Pool string }
	var form W
	places = checkItem(registry, schema, at, raw, &form)
	kind := r.use(nil).Kind()
	w = wanted{at: at, ref: broker.Ref{Kind: kind.Name, Name: r.name(&form)}, raw: raw}
	if places != nil {
		return w, places
	}
	err := json.Unmarshal(raw, &where)
	if err == nil {
		w.pool, err = ident.ParsePool(where.Pool)
	}
	if err != nil {
		return w, []problem.Place{{Location: at + ".pool", Message: err.Error()}}
	}
	n := kind.New(w.pool, r.name(&form))
	if err := r.write(&form, &n); err != nil {
		return w, placed(at, err)
	}
	if err := kind.Check(&n); err != nil {
		return w, placed(at, err)
	}
	w.set = func(tx broker.SettingsTx, now time.Time) (Change, error) { return r.set(s, tx, kind.Copy(n), now) }
	return w, nil
}

// set stores n, unless the store has the same already, and says what changed.
func (r resource[N, W]) set(s *service, tx broker.SettingsTx, n N, now time.Time) (Change, error) {
	h := r.use(nil).Kind().Head(&n)
	out := Change{Pool: h.Pool.String(), Kind: r.Command, Name: *h.Name, Action: ActionUnchanged}
	old, changed, secret, err := r.use(s.dir).Set(tx, &n, now)
	switch {
	case err != nil:
		return out, err
	case old == nil:
		out.Action, out.Secret = ActionCreate, secret
	case changed:
		out.Action, out.Fields = ActionUpdate, r.differences(*old, n)
	}
	return out, nil
}

// differences gives the members that are not the same.
func (r resource[N, W]) differences(old, now N) []FieldChange {
	readOnly := r.ReadOnly()
	before, after := shown(r.wire(old), readOnly), shown(r.wire(now), readOnly)
	names := slices.Collect(maps.Keys(before))
	for name := range after {
		if _, ok := before[name]; !ok {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	var out []FieldChange
	for _, name := range names {
		if string(before[name]) != string(after[name]) {
			out = append(out, FieldChange{name, before[name], after[name]})
		}
	}
	return out
}

func (r resource[N, W]) prune(tx broker.SettingsTx, pool ident.Pool, known map[thing]int) ([]Change, error) {
	kind := r.use(nil).Kind()
	var gone []Change
	for after := ""; ; {
		some, err := tx.ListSettings(pool, kind.Name, after, 1000)
		if err != nil || len(some) == 0 {
			return gone, err
		}
		after = some[len(some)-1].Name
		for _, d := range some {
			_, stays := known[thing{pool, broker.Ref{Kind: kind.Name, Name: d.Name}}]
			if stays || kind.Undeletable != nil && kind.Undeletable(d.Name) != nil {
				continue
			}
			if err := kind.Delete(tx, pool, d.Name); err != nil {
				return gone, err
			}
			gone = append(gone, Change{Pool: pool.String(), Kind: r.Command, Name: d.Name, Action: ActionDelete})
		}
	}
}

// placed turns an error about an item into places in it.
func placed(at string, err error) []problem.Place {
	var out []problem.Place
	var p *problem.Problem
	if errors.As(err, &p) {
		for _, e := range p.Errors {
			out = append(out, problem.Place{Location: at + strings.TrimPrefix(e.Location, "body"), Message: e.Message})
		}
	}
	for _, b := range broker.ViolationsOf(err) {
		out = append(out, problem.Place{Location: strings.TrimSuffix(at+"."+b.Field, "."), Message: b.Text})
	}
	if out == nil {
		out = append(out, problem.Place{Location: at, Message: err.Error()})
	}
	return out
}

// checkItem holds an item against its schema and reads it into form. It gives all that is wrong.
func checkItem(registry huma.Registry, schema *huma.Schema, at string, raw json.RawMessage, form any) (places []problem.Place) {
	for schema.Ref != "" {
		schema = registry.SchemaFromRef(schema.Ref)
	}
	var members map[string]json.RawMessage
	if err := json.Unmarshal(raw, &members); err != nil || members == nil {
		return []problem.Place{{Location: at, Message: "is not a mapping"}}
	}
	known := slices.Collect(maps.Keys(schema.Properties))
	values := map[string]any{}
	for _, name := range slices.Sorted(maps.Keys(members)) {
		if schema.Properties[name] == nil {
			places = append(places, problem.Place{Location: at + "." + name, Message: unknownMember(name, known)})
			continue
		}
		var v any
		if err := json.Unmarshal(members[name], &v); err == nil {
			values[name] = v
		}
	}
	path := huma.NewPathBuffer([]byte(at), len(at))
	var res huma.ValidateResult
	huma.Validate(registry, schema, path, huma.ModeWriteToServer, values, &res)
	for _, err := range res.Errors {
		if e, ok := err.(*huma.ErrorDetail); ok {
			places = append(places, problem.Place{Location: e.Location, Message: e.Message})
		}
	}
	wrong := map[string]bool{}
	for _, p := range places {
		name, _, _ := strings.Cut(strings.TrimPrefix(p.Location, at+"."), "[")
		wrong[name] = true
	}
	for _, name := range slices.Sorted(maps.Keys(values)) { // one by one, to say which it is
		if name == "pool" || wrong[name] {
			continue
		}
		one, err := json.Marshal(map[string]json.RawMessage{name: members[name]})
		if err == nil {
			err = json.Unmarshal(one, form)
		}
		if err != nil {
			places = append(places, problem.Place{Location: at + "." + name, Message: plainJSON(err)})
		}
	}
	return places
}

// plainJSON says what does not fit without Go's words.
func plainJSON(err error) string {
	var wrong *json.UnmarshalTypeError
	if errors.As(err, &wrong) {
		return "is not what it should be, but a " + wrong.Value
	}
	return err.Error()
}
