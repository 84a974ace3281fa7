package adminapi

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/signetd/signet/broker"
)

// An Operator is somebody's access to this API.
type Operator struct {
	Name    string    `json:"name"`
	Token   string    `json:"token,omitempty" doc:"Only in the answer that made it"`
	Expires time.Time `json:"expires"`
	Created time.Time `json:"created"`
}

// NewOperator asks for an operator's token.
type NewOperator struct {
	Name    string    `json:"name" maxLength:"64" pattern:"^[a-z0-9-]+$" patternDescription:"a-z, 0-9 and -"`
	Expires *Duration `json:"expires,omitempty" doc:"1m to 730d; 90d if absent"`
}

func wireOperator(o broker.Operator) Operator {
	return Operator{Name: o.Name, Expires: o.Expires, Created: o.Created}
}

func (s *service) operatorRoutes(api huma.API) {
	const tag, path = "operators", "/operators"
	handle(s, api, route(http.MethodGet, path, "list-operators", "List operators", tag),
		func(ctx context.Context, in *struct{ Paging }) (Page[Operator], error) {
			all, err := s.dir.ListOperators(ctx)
			return page(in.Paging, all, func(o broker.Operator) string { return o.Name }, wireOperator), err
		})
	handle(s, api, route(http.MethodPost, path, "create-operator", "Make an operator's token and show it once", tag),
		func(ctx context.Context, in *struct{ Body NewOperator }) (Operator, error) {
			life, err := given("expires", in.Body.Expires)
			if err != nil {
				return Operator{}, err
			}
			o, secret, err := s.dir.CreateOperator(ctx, byOf(ctx), in.Body.Name, life)
			out := wireOperator(o)
			out.Token = secret
			return out, err
		})
	handleEmpty(s, api, route(http.MethodDelete, path+"/{operator}", "delete-operator", "End an operator's access", tag),
		func(ctx context.Context, in *struct {
			Operator string `path:"operator" maxLength:"64"`
			Force    bool   `query:"force" doc:"Even the caller's own access, but never that of the last operator whose token is valid"`
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
	path := join("operators", name)
	if force {
		path += "?force=true"
	}
	return c.do(ctx, http.MethodDelete, path, nil, nil)
}
