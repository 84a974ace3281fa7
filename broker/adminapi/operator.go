package adminapi

import (
	"context"
	"net/http"
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

func (s *service) operatorRoutes(api huma.API) {
	const tag, path = "operators", "/operators"
	handle(s, api, route(broker.OperatorRead, http.MethodGet, path, "list-operators", "List operators", tag),
		func(ctx context.Context, in *struct{ Paging }) (Page[Operator], error) {
			all, err := s.dir.ListOperators(ctx)
			return page(in.Paging, all, func(o broker.Operator) string { return o.Name }, wireOperator), err
		})
	handle(s, api, route(broker.OperatorAdmin, http.MethodPost, path, "create-operator", "Make an operator's token and show it once", tag),
		func(ctx context.Context, in *struct{ Body NewOperator }) (Operator, error) {
			life, err := given("expires", in.Body.Expires)
			if err != nil {
				return Operator{}, err
			}
			n := control.NewOperator{Name: in.Body.Name, Life: life, Scope: broker.OperatorScope(in.Body.Scope)}
			for _, name := range in.Body.Pools {
				pool, err := ident.ParsePool(name)
				if err != nil {
					return Operator{}, err
				}
				n.Pools = append(n.Pools, pool)
			}
			o, secret, err := s.dir.CreateOperator(ctx, byOf(ctx), n)
			out := wireOperator(o)
			out.Token = secret
			return out, err
		})
	handleEmpty(s, api, route(broker.OperatorAdmin, http.MethodDelete, path+"/{operator}", "delete-operator", "End an operator's access", tag),
		func(ctx context.Context, in *struct {
			Operator string `path:"operator" maxLength:"64"`
			Force    bool   `query:"force" doc:"Even the caller's own access, but never that of the last admin of all pools whose token is valid"`
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

// DeleteOperator ends an operator's access; one's own only with force.
func (c *Client) DeleteOperator(ctx context.Context, name string, force bool) error {
	return c.remove(ctx, join("operators", name), force)
}
