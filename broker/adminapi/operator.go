package adminapi

import (
	"context"
	"net/http"
	"slices"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/broker/control"
	"github.com/signetd/signet/protocol/ident"
)

// An Operator is somebody's access to this API.
type Operator struct {
	Name    string    `json:"name"`
	Token   string    `json:"token,omitempty" doc:"Only in the answer that made it"`
	Expires time.Time `json:"expires"`
	Created time.Time `json:"created"`
	Scope   string    `json:"scope" enum:"read,enroll,write,admin" doc:"What it may do; each includes those before it"`
	Pools   []string  `json:"pools,omitempty" nullable:"false" doc:"Where it may do that, and nothing elsewhere; absent: in all, and outside of pools"`
	Warning string    `json:"warning,omitempty" doc:"Only in the answer that made it: it is the only admin of all pools"`
}

// OperatorChange changes what an operator may do; what is absent stays.
type OperatorChange struct {
	Scope string    `json:"scope,omitempty" enum:"read,enroll,write,admin" doc:"What it may do"`
	Pools *[]string `json:"pools,omitempty" nullable:"false" maxItems:"64" doc:"Where it may do that, and nothing elsewhere; empty: in all, and outside of pools"`
}

// NewOperator asks for an operator's token.
type NewOperator struct {
	Name    string    `json:"name" maxLength:"64" pattern:"^[a-z0-9-]+$" patternDescription:"a-z, 0-9 and -"`
	Expires *Duration `json:"expires,omitempty" doc:"1m to 730d; 90d if absent"`
	Scope   string    `json:"scope" enum:"read,enroll,write,admin" doc:"What it may do: read all but secrets; enroll: also admit new devices; write: also change devices and settings; admin: also operators, keys, anchors and the end of pools"`
	Pools   []string  `json:"pools,omitempty" nullable:"false" maxItems:"64" doc:"Where it may do that, and nothing elsewhere; all if absent"`
}

func wireOperator(o broker.Operator) Operator {
	return Operator{Name: o.Name, Expires: o.Expires, Created: o.Created, Scope: string(o.Scope), Pools: o.PoolNames()}
}

// OperatorPath is the path of an operator.
type OperatorPath struct {
	Operator string `path:"operator" maxLength:"64"`
}

func parsePools(names []string) (pools []ident.Pool, err error) {
	for _, name := range names {
		pool, err := ident.ParsePool(name)
		if err != nil {
			return nil, err
		}
		pools = append(pools, pool)
	}
	return pools, nil
}

// onlyAdmin warns of the end of an operator just made, if it is the only one that may make others.
func (s *service) onlyAdmin(ctx context.Context, o *broker.Operator) string {
	last, _, err := s.dir.AdminsEnd(ctx)
	if err != nil || last.Name != o.Name {
		return ""
	}
	others, err := s.dir.ListOperators(ctx)
	if err != nil || slices.ContainsFunc(others, func(x broker.Operator) bool {
		return x.Name != o.Name && x.MakesOperators() && s.cfg.Now().Before(x.Expires)
	}) {
		return ""
	}
	return control.LastAdminEnds(o)
}

func (s *service) operatorRoutes(api huma.API) {
	const tagName, path = "operators", "/operators"
	handle(s, api, route(broker.OperatorRead, http.MethodGet, path, "list-operators", "List operators", tagName),
		func(ctx context.Context, in *struct{ Paging }) (Page[Operator], error) {
			all, err := s.dir.ListOperators(ctx)
			return page(in.Paging, all, func(o broker.Operator) string { return o.Name }, wireOperator), err
		})
	handle(s, api, route(broker.OperatorAdmin, http.MethodPost, path, "create-operator", "Make an operator's token and show it once", tagName),
		func(ctx context.Context, in *struct{ Body NewOperator }) (Operator, error) {
			life, err := given("expires", in.Body.Expires)
			if err != nil {
				return Operator{}, err
			}
			n := control.NewOperator{Name: in.Body.Name, Life: life, Scope: broker.OperatorScope(in.Body.Scope)}
			if n.Pools, err = parsePools(in.Body.Pools); err != nil {
				return Operator{}, err
			}
			o, secret, err := s.dir.CreateOperator(ctx, byOf(ctx), n)
			if err != nil {
				return Operator{}, err
			}
			out := wireOperator(o)
			out.Token, out.Warning = secret, s.onlyAdmin(ctx, &o)
			return out, nil
		})
	tag(s, api, route(broker.OperatorRead, http.MethodGet, path+"/{operator}", "get-operator", "Show an operator", tagName),
		func(ctx context.Context, in *OperatorPath) (tagged[Operator], error) {
			o, err := s.dir.Operator(ctx, in.Operator)
			return tagged[Operator]{Status: http.StatusOK, ETag: etag(o.Rev()), Body: wireOperator(o)}, err
		})
	tag(s, api, route(broker.OperatorAdmin, http.MethodPatch, path+"/{operator}", "update-operator", "Change what an operator may do, from its next request on", tagName),
		func(ctx context.Context, in *struct {
			OperatorPath
			Matching
			Force bool `query:"force" doc:"Even if it takes something from the caller, but never from the last admin of all pools whose token is valid"`
			Body  OperatorChange
		}) (tagged[Operator], error) {
			var change control.OperatorChange
			if in.Body.Scope != "" {
				change.Scope = new(broker.OperatorScope(in.Body.Scope))
			}
			if in.Body.Pools != nil {
				pools, err := parsePools(*in.Body.Pools)
				if err != nil {
					return tagged[Operator]{}, err
				}
				change.Pools = &pools
			}
			o, err := s.dir.ChangeOperator(ctx, byOf(ctx), in.Operator, change, in.match(), in.Force)
			return tagged[Operator]{Status: http.StatusOK, ETag: etag(o.Rev()), Body: wireOperator(o)}, err
		})
	handleEmpty(s, api, route(broker.OperatorAdmin, http.MethodDelete, path+"/{operator}", "delete-operator", "End an operator's access", tagName),
		func(ctx context.Context, in *struct {
			OperatorPath
			Force bool `query:"force" doc:"Even the caller's own access, but never that of the last admin of all pools whose token is valid"`
		}) error {
			return s.dir.DeleteOperator(ctx, byOf(ctx), in.Operator, in.Force)
		})
}

// Operators lists all operators.
func (c *Client) Operators(ctx context.Context) ([]Operator, error) {
	return all[Operator](ctx, c, "/operators")
}

// CreateOperator makes an operator; the answer has its token.
func (c *Client) CreateOperator(ctx context.Context, n NewOperator) (Operator, error) {
	return send[Operator](ctx, c, http.MethodPost, "/operators", n)
}

// Operator shows an operator; its ETag is for ChangeOperator.
func (c *Client) Operator(ctx context.Context, name string) (o Operator, etag string, err error) {
	etag, err = c.exchange(ctx, http.MethodGet, join("operators", name), "", nil, &o)
	return o, etag, err
}

// ChangeOperator changes what an operator may do, if its revision is still etag (empty:
// whatever that is); what the caller may itself only with force.
func (c *Client) ChangeOperator(ctx context.Context, name string, change OperatorChange, etag string, force bool) (o Operator, err error) {
	_, err = c.exchange(ctx, http.MethodPatch, forced(join("operators", name), force), etag, change, &o)
	return o, err
}

// DeleteOperator ends an operator's access; one's own only with force.
func (c *Client) DeleteOperator(ctx context.Context, name string, force bool) error {
	return c.remove(ctx, join("operators", name), force)
}
