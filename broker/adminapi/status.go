package adminapi

import (
	"context"
	"time"
)

// Status is what the broker says of itself and of who asks.
type Status struct {
	Version  string    `json:"version"`
	Time     time.Time `json:"time"`
	Pools    int       `json:"pools" doc:"How many the operator may see"`
	Operator string    `json:"operator" doc:"Whose token the request had"`
	Expires  time.Time `json:"expires" doc:"When that token expires"`
	Scope    string    `json:"scope" enum:"read,enroll,write,admin" doc:"What the operator may do; each includes those before it"`
	BoundTo  []string  `json:"boundTo,omitempty" nullable:"false" doc:"The pools that the operator is bound to; absent: all"`
	Warnings []string  `json:"warnings,omitempty" nullable:"false" doc:"Of access that ends soon: the operator's own, and that of the last admin of all pools; and of a disk that is nearly full"`
	// Certificates are those of the broker's listeners.
	Certificates []Certificate `json:"certificates,omitempty" nullable:"false" doc:"Those that clients of the broker are shown"`
}

// Certificate is how long one lasts.
type Certificate struct {
	Name    string    `json:"name" enum:"root,intermediate,server"`
	Expires time.Time `json:"expires"`
	Warning string    `json:"warning,omitempty" doc:"What to do, when a third of its life is left; the server's renews itself"`
}

func (s *service) status(ctx context.Context, _ *struct{}) (Status, error) {
	pools, err := s.pools(ctx)
	who := callOf(ctx).operator
	out := Status{Version: s.cfg.Version, Time: s.cfg.Now().UTC(), Pools: len(pools), Operator: who.Name, Expires: who.Expires,
		Scope: string(who.Scope), BoundTo: who.PoolNames()}
	if who.Name != "" && who.ExpiresSoon(s.cfg.Now()) {
		out.Warnings = append(out.Warnings, "your token expires on "+who.Expires.UTC().Format(time.RFC3339)+"; an admin makes another one: signet operator create NAME")
	}
	if who.Unbound() { // others may know of no operators but themselves
		last, warning, err := s.dir.AdminsEnd(ctx)
		if err != nil {
			return out, err
		}
		if last.Name != "" && last.Name == who.Name && warning != "" {
			out.Warnings = nil // the other one says it, and more
		}
		if warning != "" {
			out.Warnings = append(out.Warnings, warning)
		}
	}
	if s.cfg.Warnings != nil {
		out.Warnings = append(out.Warnings, s.cfg.Warnings()...)
	}
	if s.cfg.Certificates != nil {
		out.Certificates = s.cfg.Certificates()
	}
	return out, err
}

// Status asks how the broker is and whose the token is.
func (c *Client) Status(ctx context.Context) (Status, error) { return get[Status](ctx, c, "/status") }
