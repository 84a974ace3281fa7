package adminapi

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/broker/problem"
	"github.com/signetd/signet/protocol/ident"
)

// scheme names operators' tokens in the API's description.
const scheme = "operator"

// inPools is the path under which a route is about one pool.
const inPools = apiPath + "/pools/{pool}"

// narrowed is the key in an operation's metadata that says: its handler shows and takes what
// is in the operator's own pools only, by call.reach.
const narrowed = "narrowed"

// needs declares the scope that an operation needs, where OpenAPI has the roles that a
// request needs (version 3.1, security requirement object).
func needs(op *huma.Operation, scope broker.OperatorScope) {
	op.Security = []map[string][]string{{scheme: {string(scope)}}}
}

// scopeOf is the scope that the operation declares, empty if none. Nobody has the empty one.
func scopeOf(op *huma.Operation) broker.OperatorScope {
	if len(op.Security) == 1 && len(op.Security[0][scheme]) == 1 {
		return broker.OperatorScope(op.Security[0][scheme][0])
	}
	return ""
}

// inOwnPools says of an operation outside of pools that operators who are bound to pools may
// use it, because its handler keeps to these.
func inOwnPools(op huma.Operation) huma.Operation {
	op.Metadata = map[string]any{narrowed: true}
	return op
}

// authorize lets an operation begin, before anything of the body is read, if the operator's
// scope and pools allow it.
func authorize(ctx huma.Context, next func(huma.Context)) {
	c := callOf(ctx.Context())
	if p := c.may(ctx.Operation(), ctx.Param("pool")); p != nil {
		_, w := humago.Unwrap(ctx)
		p.Write(w)
		return
	}
	next(ctx)
}

// Forbidden is why an operator may not make a request, in a word for metrics.
type Forbidden string

// Reasons why not.
const (
	ForbiddenScope Forbidden = "scope" // the operator's scope is too narrow
	ForbiddenPool  Forbidden = "pool"  // it is about what is not in the operator's pools
)

// may finds why the call's operator may not do op in that pool, nil if it may.
func (c *call) may(op *huma.Operation, pool string) *problem.Problem {
	if p := c.scope(scopeOf(op)); p != nil {
		return p
	}
	if c.operator.Unbound() || op.Metadata[narrowed] == true {
		return nil
	}
	if op.Path != inPools && !strings.HasPrefix(op.Path, inPools+"/") {
		return c.forbidden("this is about all pools")
	}
	in, err := ident.ParsePool(pool)
	if err != nil { // none of his, whatever it is
		return c.forbidden("this is about another pool")
	}
	return c.reach(in)
}

// scope finds why the call's operator may not do what needs scope, nil if it may.
func (c *call) scope(need broker.OperatorScope) *problem.Problem {
	if c.operator.Scope.Includes(need) {
		return nil
	}
	c.refused = ForbiddenScope
	return problem.New(http.StatusForbidden, fmt.Sprintf("this needs scope %s; operator %s has %s", need, c.operator.Name, c.operator.Scope))
}

// reach finds why the call's operator may do nothing in a pool, nil if it may. Whether there
// is such a pool makes no difference.
func (c *call) reach(pool ident.Pool) *problem.Problem {
	if c.operator.Reaches(pool) {
		return nil
	}
	return c.forbidden("this is about another pool")
}

func (c *call) forbidden(why string) *problem.Problem {
	c.refused = ForbiddenPool
	return problem.New(http.StatusForbidden, fmt.Sprintf("%s; operator %s is bound to %s", why, c.operator.Name, strings.Join(c.operator.PoolNames(), ", ")))
}

// pools gives those that the call's operator may see.
func (s *service) pools(ctx context.Context) ([]broker.Pool, error) {
	all, err := s.dir.ListPools(ctx)
	who := callOf(ctx).operator
	return slices.DeleteFunc(all, func(p broker.Pool) bool { return !who.Reaches(p.Name) }), err
}
