package adminapi

import (
	"cmp"
	"context"
	"encoding/json"
	"net/http"
	"reflect"
	"strconv"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/broker/control"
	"github.com/signetd/signet/broker/problem"
)

// resources are all kinds of settings that the API serves, in the order in which
// people meet them. A new kind has its line here, and all else in two files: its noun
// in package broker, and its form on the wire beside this one.
func resources() []served {
	return []served{clientResource(), flowResource(), hookResource(), enrollmentResource(), groupResource()}
}

// A Noun describes a kind of setting to who shows or edits it: command line and files.
// The fields of its forms say in tags what a command's flags and a table's columns are:
//
//	flag    the flag that sets the field; usage: its help; shown: the default that help shows
//	instead a flag whose field gives way to this one
//	column  the heading of its column; with ",show", in the long form only; of: a field
//	        that it is counted against
//	secret  the heading of a secret that is printed once; the form's SecretNote says what it is
type Noun struct {
	Command string // the command's name, and the kind's in answers of apply
	One     string // in sentences
	Path    string // the last part of its path in a pool
	Plural  string // its key in files
	Key     string // the member that names one
	About   string
	Create  Verb // its New is the form of POST
	Change  Verb // its New is the form of PATCH, nil: one is replaced
	Delete  Verb
	Forced  string     // what force deletes besides, as the help of a flag; empty: there is no force
	New     func() any // a pointer to the form that answers have, and files
}

// A Verb is what is done with a noun.
type Verb struct {
	About   string
	Example string
	New     func() any
}

// Nouns gives all kinds of settings.
func Nouns() []Noun {
	var all []Noun
	for _, r := range resources() {
		all = append(all, r.noun())
	}
	return all
}

// served is a resource of whatever kind.
type served interface {
	noun() Noun
	register(s *service, api huma.API)
	applied(registry huma.Registry) applied
}

// A resource serves one kind of setting: N as the domain has it, W as it is on the wire.
type resource[N, W any] struct {
	Noun
	use  func(*control.Plane) control.Settings[N]
	name func(*W) string
	wire func(N) W
	// write takes over what w says into a new N, which has the defaults.
	write func(w *W, n *N) error
	// admits is the scope that it takes to make and end one, if not broker.OperatorWrite.
	admits broker.OperatorScope
	// secret puts a secret into the answer that made it; nil: there is none.
	secret func(w *W, secret string)
	// post and patch serve forms of their own; nil: POST takes a W, and there is no PATCH.
	post  func(s *service, api huma.API, op huma.Operation, r resource[N, W])
	patch func(s *service, api huma.API, op huma.Operation, r resource[N, W])
}

func (r resource[N, W]) noun() Noun { return r.Noun }

// tagged is an answer of one setting, with its revision.
type tagged[T any] struct {
	Status int
	ETag   string `header:"ETag" doc:"The revision, for If-Match"`
	Body   T
}

func etag(rev uint64) string { return `"` + strconv.FormatUint(rev, 10) + `"` }

// Matching is the condition of a change: which revision the caller has seen (RFC 9110, section 13.1.1).
type Matching struct {
	IfMatch string `header:"If-Match" maxLength:"256" doc:"Change only this revision, an ETag; 412 if it is another by now"`
}

// match reads the condition: nil for none and for any revision. Other ETags than ours match nothing.
func (m Matching) match() *control.Match {
	if m.IfMatch == "" || m.IfMatch == "*" {
		return nil
	}
	out := &control.Match{}
	for tag := range strings.SplitSeq(m.IfMatch, ",") {
		quoted := strings.TrimSpace(tag)
		if rev, err := strconv.ParseUint(strings.Trim(quoted, `"`), 10, 64); err == nil && etag(rev) == quoted {
			out.Revs = append(out.Revs, rev)
		}
	}
	return out
}

func (r resource[N, W]) op(scope broker.OperatorScope, method, path, verb, summary string) huma.Operation {
	return route(scope, method, "/pools/{pool}/"+r.Path+path, verb+"-"+strings.ReplaceAll(r.slug(), " ", "-"), summary, strings.ReplaceAll(r.Path, "-", " "))
}

// slug is the singular of the path, for the ids of operations in the OpenAPI document.
func (r resource[N, W]) slug() string { return strings.TrimSuffix(r.Path, "s") }

func (r resource[N, W]) register(s *service, api huma.API) {
	list := r.op(broker.OperatorRead, http.MethodGet, "", "list", "List "+r.One+"s")
	list.OperationID = "list-" + r.Path
	handle(s, api, list, func(ctx context.Context, in *poolList) (Page[W], error) {
		pool, err := in.pool()
		if err != nil {
			return Page[W]{}, err
		}
		some, err := r.use(s.dir).List(ctx, pool, in.After, in.Limit+1)
		kind := r.use(s.dir).Kind()
		return page(in.Paging, some, func(n N) string { return *kind.Head(&n).Name }, r.wire), err
	})
	create := r.op(cmp.Or(r.admits, broker.OperatorWrite), http.MethodPost, "", "create", r.Create.About)
	if r.post != nil {
		r.post(s, api, create, r)
	} else {
		poster(s, api, create, r, func(ctx context.Context, in PoolPath, w W) (n N, secret string, err error) {
			if n, err = r.fresh(in, &w); err != nil {
				return n, "", err
			}
			return r.use(s.dir).Create(ctx, byOf(ctx), n)
		})
	}
	tag(s, api, r.op(broker.OperatorRead, http.MethodGet, "/{id}", "get", "Show "+article(r.One)), func(ctx context.Context, in *LabelPath) (tagged[W], error) {
		pool, err := in.pool()
		if err != nil {
			return tagged[W]{}, err
		}
		n, err := r.use(s.dir).Get(ctx, pool, in.ID)
		return r.answer(http.StatusOK, n, ""), err
	})
	tag(s, api, r.op(broker.OperatorWrite, http.MethodPut, "/{id}", "replace", "Replace "+article(r.One)), func(ctx context.Context, in *replacement[W]) (tagged[W], error) {
		return r.replace(ctx, s, in)
	})
	if r.patch != nil {
		r.patch(s, api, r.op(broker.OperatorWrite, http.MethodPatch, "/{id}", "update", r.Change.About), r)
	}
	remove := r.op(cmp.Or(r.admits, broker.OperatorWrite), http.MethodDelete, "/{id}", "delete", r.Delete.About)
	if r.Forced == "" {
		handleEmpty(s, api, remove, func(ctx context.Context, in *Deletion) error { return r.remove(ctx, s, in, false) })
		return
	}
	handleEmpty(s, api, remove, func(ctx context.Context, in *struct {
		Deletion
		Forcing
	}) error {
		return r.remove(ctx, s, &in.Deletion, in.Force)
	})
}

// Deletion is the input of DELETE.
type Deletion struct {
	LabelPath
	Matching
}

// Forcing is the query of what may be refused because it is in use.
type Forcing struct {
	Force bool `query:"force" doc:"Even if it is in use: the refusal without says what breaks"`
}

func (r resource[N, W]) remove(ctx context.Context, s *service, in *Deletion, force bool) error {
	pool, err := in.pool()
	if err != nil {
		return err
	}
	return r.use(s.dir).Delete(ctx, byOf(ctx), pool, in.ID, in.match(), force)
}

// replacement is the input of PUT.
type replacement[W any] struct {
	LabelPath
	Matching
	IfNoneMatch string `header:"If-None-Match" enum:"*" doc:"Create it; 412 if there is one"`
	Body        W
}

func (r resource[N, W]) replace(ctx context.Context, s *service, in *replacement[W]) (tagged[W], error) {
	if name := r.name(&in.Body); name != in.ID {
		return tagged[W]{}, problem.New(http.StatusUnprocessableEntity, "the body is about \""+name+"\", the path about \""+in.ID+"\"")
	}
	n, err := r.fresh(in.PoolPath, &in.Body)
	if err != nil {
		return tagged[W]{}, err
	}
	if in.IfNoneMatch == "" {
		n, err := r.use(s.dir).Replace(ctx, byOf(ctx), n, in.match())
		return r.answer(http.StatusOK, n, ""), err
	}
	n, secret, err := r.use(s.dir).Create(ctx, byOf(ctx), n)
	if p := problem.Of(err); err != nil && p.Status == http.StatusConflict {
		return tagged[W]{}, problem.New(http.StatusPreconditionFailed, p.Detail+"; to replace it, leave out If-None-Match")
	}
	return r.answer(http.StatusCreated, n, secret), err
}

// fresh makes a new setting from w; what w leaves out has its default.
func (r resource[N, W]) fresh(in PoolPath, w *W) (n N, err error) {
	pool, err := in.pool()
	if err != nil {
		return n, err
	}
	n = r.use(nil).Kind().New(pool, r.name(w))
	return n, r.write(w, &n)
}

func (r resource[N, W]) answer(status int, n N, secret string) tagged[W] {
	out := tagged[W]{Status: status, Body: r.wire(n)}
	if secret != "" && r.secret != nil {
		r.secret(&out.Body, secret)
	}
	out.ETag = etag(*r.use(nil).Kind().Head(&n).Rev)
	return out
}

// tag registers a route that answers with one setting.
func tag[I, T any](s *service, api huma.API, op huma.Operation, f func(context.Context, *I) (tagged[T], error)) {
	describe(&op)
	if op.Method != http.MethodGet && op.Method != http.MethodPost {
		op.Errors = append(op.Errors, http.StatusPreconditionFailed)
	}
	huma.Register(api, op, func(ctx context.Context, in *I) (*tagged[T], error) {
		out, err := f(ctx, in)
		if err != nil {
			return nil, s.fail(ctx, err)
		}
		return &out, nil
	})
}

// poster registers a POST with the form C.
func poster[N, W, C any](s *service, api huma.API, op huma.Operation, r resource[N, W], do func(context.Context, PoolPath, C) (N, string, error)) {
	tag(s, api, op, func(ctx context.Context, in *struct {
		PoolPath
		Body C
	}) (tagged[W], error) {
		n, secret, err := do(ctx, in.PoolPath, in.Body)
		return r.answer(http.StatusCreated, n, secret), err
	})
}

// patcher registers a PATCH with the form P.
func patcher[N, W, P any](s *service, api huma.API, op huma.Operation, r resource[N, W], do func(context.Context, LabelPath, *control.Match, P) (N, string, error)) {
	tag(s, api, op, func(ctx context.Context, in *struct {
		LabelPath
		Matching
		Body P
	}) (tagged[W], error) {
		n, secret, err := do(ctx, in.LabelPath, in.match(), in.Body)
		return r.answer(http.StatusOK, n, secret), err
	})
}

// article puts "a" or "an" before a noun.
func article(noun string) string {
	if strings.ContainsRune("aeiou", rune(noun[0])) {
		return "an " + noun
	}
	return "a " + noun
}

// shown gives the members of w that a person sets, as JSON.
func shown[W any](w W, readOnly map[string]bool) map[string]json.RawMessage {
	raw, err := json.Marshal(w)
	var all map[string]json.RawMessage
	if err == nil {
		err = json.Unmarshal(raw, &all)
	}
	if err != nil { // W is ours, and marshals
		return nil
	}
	for name := range readOnly {
		delete(all, name)
	}
	return all
}

// ReadOnly gives the members of a form that the broker alone writes.
func (n *Noun) ReadOnly() map[string]bool {
	out := map[string]bool{}
	t := reflect.TypeOf(n.New()).Elem()
	for i := range t.NumField() {
		if f := t.Field(i); f.Tag.Get("readOnly") == "true" {
			name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
			out[name] = true
		}
	}
	return out
}

var _ served = resource[broker.Group, Group]{}
