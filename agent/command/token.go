package command

import (
	"context"
	"errors"
	"fmt"

	"github.com/signetd/signet/agent"
	"github.com/signetd/signet/agent/localapi"
)

func (p *program) token(ctx context.Context, args []string) error {
	var w where
	r := localapi.Request{Op: "token"}
	f := p.flags("token")
	w.flags(f)
	w.socketFlag(f)
	f.StringVar(&r.Type, "type", "access", "access or id")
	f.StringVar(&r.Format, "format", "", "jwt or cwt (default: jwt for access tokens)")
	f.StringVar(&r.Audience, "audience", "", "whom the token is for (default: the pool)")
	if err := p.parse(f, args); err != nil {
		return err
	}
	if r.Format == "" && r.Type != "id" {
		r.Format = "jwt"
	}
	ask, err := asked(r)
	if err != nil {
		return err
	}
	path, socket, err := p.find(w)
	if err != nil {
		return err
	}
	reply, err := localapi.Call(ctx, socket, r)
	if err == nil {
		fmt.Fprintln(p.out, reply.Token)
		return nil
	}
	if path == "" || !errors.Is(err, localapi.ErrNotRunning) {
		return err
	}
	if ask == nil {
		ask = new(agent.Ask)
	}
	return p.once(ctx, path, *ask, func(_ *device, g *agent.Tokens) error {
		text, err := spell(g, r.Type)
		if err == nil {
			fmt.Fprintln(p.out, text)
		}
		return err
	})
}

// once connects, renews, has the grant used and goes.
func (p *program) once(ctx context.Context, path string, ask agent.Ask, use func(*device, *agent.Tokens) error) error {
	v, err := p.openDevice(ctx, path)
	if err != nil {
		return err
	}
	defer v.dir.Close() //nolint:errcheck // only a lock
	if err := v.enrolled(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, onceTimeout)
	defer cancel()
	conn, err := v.dial(ctx, nil)
	if err != nil {
		return err
	}
	defer conn.Close() //nolint:errcheck // done with it
	g, err := v.agent.Renew(ctx, conn, ask)
	if err != nil {
		return err
	}
	return use(v, g)
}
