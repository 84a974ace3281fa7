package command

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/signetd/signet/agent"
	"github.com/signetd/signet/agent/localapi"
	"github.com/signetd/signet/protocol"
)

func (p *program) token(ctx context.Context, args []string) error {
	var w where
	r := localapi.Request{Op: "token"}
	f := p.flags("token")
	w.flags(f)
	w.socketFlag(f)
	f.StringVar(&r.Type, "type", "access", "access or id")
	f.StringVar(&r.Format, "format", "", "jwt or cwt (default jwt for access tokens)")
	f.StringVar(&r.Audience, "audience", "", "whom the token is for (default the pool)")
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
	var text string
	reply, err := p.answered(ctx, path, socket, r, ask, func(_ *device, g *agent.Tokens) error {
		text, err = spell(g, r.Type)
		return err
	})
	if err != nil && r.Audience != "" && denied(err) {
		return fmt.Errorf("%w %q: %w", errAudience, r.Audience, err)
	}
	if err != nil {
		return err
	}
	if reply != nil {
		text = reply.Token
	}
	_, err = fmt.Fprintln(p.out, text)
	return err
}

// denied reports whether the broker refused what was asked for, and not the asking.
func denied(err error) bool { return errors.Is(err, protocol.CodeDenied) }

// answered asks the running agent or, while none runs, connects by itself and has what is
// granted used; the reply is nil then. An agent that comes up meanwhile is asked.
func (p *program) answered(ctx context.Context, path, socket string, r localapi.Request, ask *agent.Ask, use func(*device, *agent.Tokens) error) (*localapi.Reply, error) {
	if ask == nil {
		ask = new(agent.Ask)
	}
	for end := time.Now().Add(startPatience); ; {
		reply, err := localapi.Call(ctx, socket, r)
		if err == nil {
			return &reply, nil
		}
		if path == "" || !errors.Is(err, localapi.ErrNotRunning) {
			return nil, err
		}
		err = p.once(ctx, path, socket, *ask, use)
		if !errors.Is(err, errRunning) || ctx.Err() != nil {
			return nil, err
		}
		if time.Now().After(end) {
			return nil, fmt.Errorf("%w and does not listen at %s: %w", err, socket, localapi.ErrNotRunning)
		}
	}
}

// once connects, renews, has the grant used and goes.
func (p *program) once(ctx context.Context, path, socket string, ask agent.Ask, use func(*device, *agent.Tokens) error) error {
	v, err := p.openDevice(ctx, path, socket)
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
	ask.Audience = v.settings.audience(ask.Audience)
	g, err := v.agent.Renew(ctx, conn, ask)
	if err != nil {
		return errors.Join(err, v.waits(err))
	}
	return use(v, g)
}
