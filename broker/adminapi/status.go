package adminapi

import (
	"context"
	"time"
)

// Status is what the broker says of itself and of who asks.
type Status struct {
	Version  string    `json:"version"`
	Time     time.Time `json:"time"`
	Pools    int       `json:"pools"`
	Operator string    `json:"operator" doc:"Whose token the request had"`
	Expires  time.Time `json:"expires" doc:"When that token expires"`
}

func (s *service) status(ctx context.Context, _ *struct{}) (Status, error) {
	pools, err := s.dir.ListPools(ctx)
	who := callOf(ctx).operator
	return Status{Version: s.cfg.Version, Time: s.cfg.Now().UTC(), Pools: len(pools), Operator: who.Name, Expires: who.Expires}, err
}

// Status asks how the broker is and whose the token is.
func (c *Client) Status(ctx context.Context) (Status, error) { return get[Status](ctx, c, "/status") }
