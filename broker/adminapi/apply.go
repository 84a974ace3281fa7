package adminapi

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/broker/control"
	"github.com/signetd/signet/broker/problem"
	"github.com/signetd/signet/broker/spelling"
	"github.com/signetd/signet/protocol/ident"
	"github.com/signetd/signet/protocol/strictjson"
)

const (
	applyPath = apiPath + "/apply"
	maxApply  = 1 << 20 // bytes of a request to apply
	// maxItems is how many things one request may be about. The store has one writer,
	// and no device can enroll while an edit holds it: with this many for less than a
	// second. A dry run writes and takes back, so what shares its batch runs twice.
	maxItems = 5000
)

// What apply did, or would do.
const (
	ActionCreate    = "create"
	ActionUpdate    = "update"
	ActionDelete    = "delete"
	ActionUnchanged = "unchanged"
)

// Applied is the answer of apply: what it did or, in a dry run, would do.
type Applied struct {
	DryRun  bool     `json:"dryRun"`
	Changes []Change `json:"changes" nullable:"false" doc:"In the order of the request; deletions last"`
	Plan    string   `json:"plan" doc:"Names these very changes: give it to apply them and no others"`
}

// Differs reports whether there is any change.
func (a *Applied) Differs() bool {
	return slices.ContainsFunc(a.Changes, func(c Change) bool { return c.Action != ActionUnchanged })
}

// A Change is what becomes of one setting.
type Change struct {
	Pool   string        `json:"pool"`
	Kind   string        `json:"kind" doc:"pool, client, flow ..."`
	Name   string        `json:"name"`
	Action string        `json:"action" enum:"create,update,delete,unchanged"`
	Fields []FieldChange `json:"fields,omitempty" nullable:"false" doc:"Of an update"`
	Breaks string        `json:"breaks,omitempty" doc:"Of a deletion: what breaks, so that it takes force"`
	Secret string        `json:"secret,omitempty" doc:"That this made; never again"`
}

// A FieldChange is one member of a setting before and after; absent where it is not there.
type FieldChange struct {
	Name string          `json:"name"`
	Old  json.RawMessage `json:"old,omitempty"`
	New  json.RawMessage `json:"new,omitempty"`
}

// poolItem is a pool in a request to apply.
type poolItem struct {
	Name string `json:"name" maxLength:"32" pattern:"^[a-z][a-z0-9-]*$" patternDescription:"a lower-case letter, then a-z, 0-9 and -"`
	PoolChange
}

// An applyRequest is a whole request: what is wanted of pools and of each kind.
type applyRequest struct {
	DryRun bool
	Prune  bool
	Force  bool
	Plan   string
	pools  map[string]bool // that it names, in pools or in any item
	kinds  []served        // that it names
	items  int             // in all its lists so far
	wanted []wanted
	known  map[thing]int       // of wanted: where in there
	failed map[broker.Ref]bool // what is wrong by itself, in whichever pool
	broken []problem.Place
}

// A thing is what a request may name once.
type thing struct {
	pool ident.Pool
	ref  broker.Ref
}

// wanted is one thing as the request wants it.
type wanted struct {
	at   string // "clients[2]"
	pool ident.Pool
	ref  broker.Ref
	raw  json.RawMessage
	set  func(tx broker.SettingsTx, now time.Time) (Change, error)
}

func (s *service) applyRoutes(api huma.API) {
	registry := api.OpenAPI().Components.Schemas
	kinds := map[string]applied{}
	for _, r := range resources() {
		kinds[r.noun().Plural] = r.applied(registry)
	}
	op := inOwnPools(route(broker.OperatorWrite, http.MethodPost, "/apply", "apply", "Make settings what a file says, all of them or none", "apply"))
	op.DefaultStatus = http.StatusOK
	op.Description = "All is one transaction. What is not mentioned stays, unless prune is set: then settings of the kinds and pools that are mentioned go, if they are not. " +
		"What devices live by goes only with force. Pools that are missing are made, none is deleted. A problem's errors say what is wrong where, by paths such as clients[2].accessLife."
	describe(&op)
	op.MaxBodyBytes, op.SkipValidateBody = maxApply, true // readApply says more of it
	op.Errors = append(op.Errors, http.StatusPreconditionFailed, http.StatusUnprocessableEntity)
	huma.Register(api, op, func(ctx context.Context, in *struct {
		RawBody []byte `contentType:"application/json"`
	}) (*reply[Applied], error) {
		out, err := s.apply(ctx, registry, kinds, in.RawBody)
		if err != nil {
			return nil, s.fail(ctx, err)
		}
		return &reply[Applied]{out}, nil
	})
	api.OpenAPI().Paths[op.Path].Post.RequestBody.Content["application/json"].Schema = applySchema(registry, kinds)
}

// applySchema describes the request.
func applySchema(registry huma.Registry, kinds map[string]applied) *huma.Schema {
	list := func(of *huma.Schema) *huma.Schema { return &huma.Schema{Type: huma.TypeArray, Items: of} }
	all := map[string]*huma.Schema{
		"dryRun": {Type: huma.TypeBoolean, Description: "Change nothing, only say what would be"},
		"prune":  {Type: huma.TypeBoolean, Description: "Delete what is not mentioned, of the kinds and in the pools that are"},
		"force":  {Type: huma.TypeBoolean, Description: "Delete even what is in use: changes that have breaks"},
		"plan":   {Type: huma.TypeString, Description: "The plan of a dry run: 412 if the changes would be others by now"},
		"pools":  list(huma.SchemaFromType(registry, reflect.TypeFor[poolItem]())),
	}
	for plural, k := range kinds {
		all[plural] = list(k.schema)
	}
	return &huma.Schema{Type: huma.TypeObject, Properties: all, AdditionalProperties: false}
}

func (s *service) apply(ctx context.Context, registry huma.Registry, kinds map[string]applied, raw []byte) (Applied, error) {
	req, err := s.readApply(registry, kinds, raw)
	if err != nil {
		return Applied{}, err
	}
	fresh := map[string]control.NewPool{}
	for name := range req.pools {
		if err := s.prepare(ctx, req, name, fresh); err != nil {
			return Applied{}, err
		}
	}
	if !req.Prune {
		return s.settle(ctx, req, fresh)
	}
	dry := *req
	dry.DryRun = true
	seen, err := s.settle(ctx, &dry, fresh)
	if err == nil {
		err = s.inUse(ctx, kinds, seen.Changes)
	}
	if err != nil || req.DryRun {
		return seen, err
	}
	if !req.Force {
		if err := breaking(seen.Changes); err != nil {
			return Applied{}, err
		}
	}
	req.Plan = seen.Plan // what was looked at, and nothing else
	return s.settle(ctx, req, fresh)
}

// inUse notes in each deletion what it breaks.
func (s *service) inUse(ctx context.Context, kinds map[string]applied, changes []Change) error {
	for i := range changes {
		c := &changes[i]
		if c.Action != ActionDelete {
			continue
		}
		pool, err := ident.ParsePool(c.Pool)
		if err != nil {
			return err
		}
		for _, k := range kinds {
			if k.of.noun().Command != c.Kind {
				continue
			}
			if c.Breaks, err = k.inUse(ctx, s, pool, c.Name); err != nil {
				return err
			}
		}
	}
	return nil
}

// breaking refuses deletions that break something; of many it names some.
func breaking(changes []Change) error {
	var all []string
	for _, c := range changes {
		if c.Breaks != "" {
			all = append(all, c.Breaks)
		}
	}
	const named = 10
	if n := len(all); n > named {
		all = append(all[:named:named], fmt.Sprintf("and %d more", n-named))
	}
	if all == nil {
		return nil
	}
	return broker.InUse("%s", strings.Join(all, "; "))
}

// settle carries a request out in one transaction.
func (s *service) settle(ctx context.Context, req *applyRequest, fresh map[string]control.NewPool) (Applied, error) {
	run := &applyRun{s: s, req: req, fresh: fresh}
	err := s.dir.Edit(ctx, byOf(ctx), run.edit)
	switch {
	case len(run.broken) > 0:
		p := problem.New(http.StatusUnprocessableEntity, problem.Invalid)
		p.Errors = run.broken
		return Applied{}, p
	case errors.Is(err, errDryRun):
		err = nil
	case errors.Is(err, broker.ErrStale):
		return Applied{}, problem.New(http.StatusPreconditionFailed, "what is stored changed meanwhile: nothing was changed; look at the differences again")
	}
	return run.done, err
}

// prepare makes the keys of a pool that is to be made.
func (s *service) prepare(ctx context.Context, req *applyRequest, name string, fresh map[string]control.NewPool) error {
	pool, err := ident.ParsePool(name)
	if err != nil {
		return err
	}
	who := callOf(ctx)
	if p := who.reach(pool); p != nil {
		return p
	}
	_, err = s.dir.Pool(ctx, pool)
	if !errors.Is(err, broker.ErrNotFound) || !slices.ContainsFunc(req.wanted, func(w wanted) bool { return w.ref == broker.Ref{Kind: broker.RefPool, Name: name} }) {
		return keepNotFound(err)
	}
	if !who.operator.Unbound() { // as create-pool
		return who.forbidden("a pool would have to be made")
	}
	fresh[name], err = s.dir.MakePool(pool)
	return err
}

// keepNotFound passes over what the transaction finds in its place.
func keepNotFound(err error) error {
	if errors.Is(err, broker.ErrNotFound) {
		return nil
	}
	return err
}

var errDryRun = errors.New("dry run")

// An applyRun is one request on its way through a transaction, which may run more than once.
type applyRun struct {
	s      *service
	req    *applyRequest
	fresh  map[string]control.NewPool
	done   Applied
	broken []problem.Place
}

func (r *applyRun) edit(tx broker.SettingsTx, now time.Time) error {
	r.done = Applied{DryRun: r.req.DryRun, Changes: []Change{}}
	r.broken = slices.Clone(r.req.broken)
	err := broker.Settle(tx, func(tx broker.SettingsTx) error { return r.set(tx, now) })
	if err != nil && !r.refused("", err) {
		return err
	}
	if len(r.broken) > 0 {
		return broker.Invalid("", "%d settings are wrong", len(r.broken))
	}
	r.done.Plan = plan(r.done.Changes)
	if r.req.Plan != "" && r.req.Plan != r.done.Plan {
		return broker.ErrStale
	}
	if r.req.DryRun {
		for i := range r.done.Changes {
			r.done.Changes[i].Secret = "" // it is nobody's
		}
		return errDryRun
	}
	return nil
}

func (r *applyRun) set(tx broker.SettingsTx, now time.Time) error {
	for _, w := range r.req.wanted {
		if made, ok := r.fresh[w.ref.Name]; ok && w.ref.Kind == broker.RefPool {
			if err := made.Create(tx, now); err != nil && !errors.Is(err, broker.ErrExists) {
				return err
			}
		}
	}
	for _, w := range r.req.wanted {
		change, err := w.set(tx, now)
		switch {
		case err == nil:
			if _, made := r.fresh[change.Name]; made && change.Kind == broker.RefPool {
				change.Action, change.Fields = ActionCreate, nil
			}
			r.done.Changes = append(r.done.Changes, change)
		case errors.Is(err, broker.ErrNotFound):
			r.broken = append(r.broken, problem.Place{Location: w.at + ".pool", Message: fmt.Sprintf("pool %s does not exist; name it under pools, or create it first", w.pool)})
		case !r.refused(w.at, err):
			return err
		}
	}
	if r.req.Prune {
		return r.prune(tx)
	}
	return nil
}

// refused notes broken rules where they are, and reports whether err is that.
func (r *applyRun) refused(at string, err error) bool {
	broken := broker.ViolationsOf(err)
	for _, b := range broken {
		if r.req.failed[b.Needs] {
			continue // it is in the file, and told to be wrong there
		}
		place := problem.Place{Location: at, Message: b.Text}
		switch {
		case at != "" && b.Field != "":
			place.Location = at + "." + b.Field
		case at == "":
			place.Location = r.locate(b)
		}
		r.broken = append(r.broken, place)
	}
	return broken != nil
}

// locate finds where the request says what a broken reference is about.
func (r *applyRun) locate(b *broker.Violation) string {
	for _, w := range r.req.wanted {
		if w.ref != b.Of {
			continue
		}
		if at := mention(w.raw, b.Needs); at != "" {
			return w.at + "." + at
		}
		return w.at
	}
	return ""
}

// mention finds the member of an item that names what it needs.
func mention(raw json.RawMessage, needs broker.Ref) string {
	var all map[string]any
	if json.Unmarshal(raw, &all) != nil || needs.Name == "" {
		return ""
	}
	names := func(v any) bool { return v == needs.Name || v == needs.Kind+":"+needs.Name }
	for _, name := range slices.Sorted(maps.Keys(all)) {
		if list, ok := all[name].([]any); ok {
			if i := slices.IndexFunc(list, names); i >= 0 {
				return fmt.Sprintf("%s[%d]", name, i)
			}
		}
		if name != "name" && name != "id" && name != "pool" && names(all[name]) {
			return name
		}
	}
	return ""
}

// prune deletes what the request does not mention.
func (r *applyRun) prune(tx broker.SettingsTx) error {
	for _, name := range slices.Sorted(maps.Keys(r.req.pools)) {
		pool, err := ident.ParsePool(name)
		if err != nil {
			return err
		}
		for _, k := range r.req.kinds {
			gone, err := k.applied(nil).prune(tx, pool, r.req.known)
			if err != nil {
				return keepNotFound(err)
			}
			r.done.Changes = append(r.done.Changes, gone...)
		}
	}
	return nil
}

// plan names changes.
func plan(changes []Change) string {
	bare := slices.Clone(changes)
	for i := range bare {
		bare[i].Secret = ""
	}
	raw, err := json.Marshal(bare)
	if err != nil { // they are ours, and marshal
		return ""
	}
	sum := sha256.Sum256(raw)
	return hex.EncodeToString(sum[:16])
}

// readApply reads a request, and notes all that is wrong with it.
func (s *service) readApply(registry huma.Registry, kinds map[string]applied, raw []byte) (*applyRequest, error) {
	members, err := strictjson.ObjectWithin(raw, maxApply, maxApply) // the items are counted below, where it can be said which is one too many
	if err != nil {
		return nil, problem.New(http.StatusBadRequest, err.Error())
	}
	req := &applyRequest{pools: map[string]bool{}, known: map[thing]int{}, failed: map[broker.Ref]bool{}}
	var known []string
	for name := range kinds {
		known = append(known, name)
	}
	known = append(known, "dryRun", "prune", "force", "plan", "pools")
	var all map[string]json.RawMessage
	if err := json.Unmarshal(raw, &all); err != nil {
		return nil, problem.New(http.StatusBadRequest, err.Error())
	}
	for _, m := range members {
		var err error
		switch m.Name {
		case "dryRun":
			err = json.Unmarshal(all[m.Name], &req.DryRun)
		case "prune":
			err = json.Unmarshal(all[m.Name], &req.Prune)
		case "force":
			err = json.Unmarshal(all[m.Name], &req.Force)
		case "plan":
			err = json.Unmarshal(all[m.Name], &req.Plan)
		case "pools":
			req.list(m.Name, all[m.Name], func(at string, item json.RawMessage) { s.readPool(req, registry, at, item) })
		default:
			k, ok := kinds[m.Name]
			if !ok {
				req.wrong(m.Name, unknownMember(m.Name, known))
				continue
			}
			req.kinds = append(req.kinds, k.of)
			req.list(m.Name, all[m.Name], func(at string, item json.RawMessage) { s.readItem(req, registry, k, at, item) })
		}
		if err != nil {
			req.wrong(m.Name, "is not what it should be: true, false or text")
		}
	}
	return req, nil
}

func (req *applyRequest) wrong(at, why string) {
	req.broken = append(req.broken, problem.Place{Location: at, Message: why})
}

// list visits the items of a list, up to the one that is too many.
func (req *applyRequest) list(name string, raw json.RawMessage, visit func(at string, item json.RawMessage)) {
	var all []json.RawMessage
	if err := json.Unmarshal(raw, &all); err != nil || all == nil {
		req.wrong(name, "is not a list")
		return
	}
	for i, item := range all {
		at := fmt.Sprintf("%s[%d]", name, i)
		if req.items++; req.items > maxItems {
			if req.items == maxItems+1 {
				req.wrong(at, fmt.Sprintf("is one too many: at most %d at a time; apply the rest by itself", maxItems))
			}
			return
		}
		visit(at, item)
	}
}

// add notes one wanted thing, unless it was there before.
func (req *applyRequest) add(w wanted) {
	if i, ok := req.known[thing{w.pool, w.ref}]; ok {
		req.wrong(w.at, fmt.Sprintf("%s %s is in %s already", w.ref.Kind, w.ref.Name, req.wanted[i].at))
		return
	}
	req.known[thing{w.pool, w.ref}] = len(req.wanted)
	req.pools[w.pool.String()] = true
	req.wanted = append(req.wanted, w)
}

func (s *service) readPool(req *applyRequest, registry huma.Registry, at string, raw json.RawMessage) {
	var item poolItem
	if places := checkItem(registry, huma.SchemaFromType(registry, reflect.TypeFor[poolItem]()), at, raw, &item); places != nil {
		req.broken = append(req.broken, places...)
		return
	}
	name, err := ident.ParsePool(item.Name)
	if err != nil {
		req.wrong(at+".name", err.Error())
		return
	}
	req.add(wanted{at: at, pool: name, ref: broker.Ref{Kind: broker.RefPool, Name: item.Name}, raw: raw, set: func(tx broker.SettingsTx, _ time.Time) (Change, error) {
		out := Change{Pool: item.Name, Kind: broker.RefPool, Name: item.Name, Action: ActionUnchanged}
		p, err := tx.Pool(name)
		if err != nil {
			return out, err
		}
		change, was := item.change(), p
		if !change.Apply(&p) {
			return out, nil
		}
		out.Action = ActionUpdate
		if p.Flow != was.Flow {
			out.Fields = append(out.Fields, FieldChange{"flow", quoted(was.Flow), quoted(p.Flow)})
		}
		if p.MQTTPasswordLife != was.MQTTPasswordLife {
			out.Fields = append(out.Fields, FieldChange{"mqttPasswordLife", quoted(broker.Span(was.MQTTPasswordLife)), quoted(broker.Span(p.MQTTPasswordLife))})
		}
		if p.Clones != was.Clones {
			out.Fields = append(out.Fields, FieldChange{"clones", quoted(string(was.Clones)), quoted(string(p.Clones))})
		}
		_, err = tx.UpdatePool(p)
		return out, err
	}})
}

func quoted(s string) json.RawMessage {
	raw, err := json.Marshal(s)
	if err != nil { // text marshals
		return nil
	}
	return raw
}

func (s *service) readItem(req *applyRequest, registry huma.Registry, k applied, at string, raw json.RawMessage) {
	w, places := k.read(s, registry, at, raw)
	if places == nil {
		req.add(w)
		return
	}
	req.broken = append(req.broken, places...)
	if w.ref.Name != "" {
		req.failed[w.ref] = true
	}
}

// unknownMember says that a member is unknown, and which is meant.
func unknownMember(name string, known []string) string {
	if near := spelling.Nearest(name, known); near != "" {
		return fmt.Sprintf("unknown key %q, did you mean %q?", name, near)
	}
	slices.Sort(known)
	return fmt.Sprintf("unknown key %q; there are: %s", name, strings.Join(known, ", "))
}
