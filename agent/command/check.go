package command

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"time"

	"github.com/signetd/signet/agent"
	"github.com/signetd/signet/agent/keyfile"
	"github.com/signetd/signet/agent/localapi"
	"github.com/signetd/signet/agent/mqttlink"
	"github.com/signetd/signet/protocol"
	"github.com/signetd/signet/protocol/exit"
	"github.com/signetd/signet/protocol/output"
)

// check goes the way to the broker step by step and stops where it is blocked.
func (p *program) check(ctx context.Context, args []string) error {
	var w where
	f := p.flags("check")
	w.flags(f)
	w.socketFlag(f)
	if err := p.parse(f, args); err != nil {
		return err
	}
	path, socket, err := p.find(w)
	if err != nil {
		return err
	}
	if st, err := look(ctx, path, socket); path == "" && err != nil {
		return err
	} else if err == nil && st.Running {
		return p.checkRunning(ctx, path, &st)
	}
	v, err := p.openDevice(ctx, path, socket)
	if err != nil {
		return err
	}
	defer v.dir.Close() //nolint:errcheck // only a lock
	ctx, cancel := context.WithTimeout(ctx, onceTimeout)
	defer cancel()
	return p.walk(ctx, v)
}

// checkRunning leaves the login to the agent that runs, and goes the way to it as a
// stranger. Who knows the socket only cannot do that.
func (p *program) checkRunning(ctx context.Context, path string, st *Status) error {
	_ = p.tick("agent", "running: "+st.line(), nil)
	if path != "" {
		ctx, cancel := context.WithTimeout(ctx, onceTimeout)
		defer cancel()
		conn, err := p.knock(ctx, path)
		if err != nil {
			return err
		}
		_ = conn.Close()
	}
	if st.Phase != string(agent.PhaseOnline) {
		return p.tick("login", "", st.err())
	}
	return p.tick("login", "ok", nil)
}

// err is why an agent that runs is not online.
func (st *Status) err() error {
	cause := map[agent.Phase]error{
		agent.PhasePending: protocol.CodePending, agent.PhaseDisabled: protocol.CodeDisabled, agent.PhaseRefused: protocol.CodeDenied, agent.PhaseDistrust: agent.ErrGrant,
	}[agent.Phase(st.Phase)]
	if cause == nil {
		cause = exit.Unavailable
	}
	return fmt.Errorf("%w: %w: %s", localapi.ErrAgent, &because{st.Phase, cause}, st.Reason)
}

// A because is a phase in words, with what it means.
type because struct {
	phase string
	cause error
}

func (b *because) Error() string { return b.phase }
func (b *because) Unwrap() error { return b.cause }

// knock connects as a stranger, with what the folder tells.
func (p *program) knock(ctx context.Context, path string) (agent.Connection, error) {
	view, err := keyfile.View(path)
	if err != nil {
		return nil, err
	}
	c, err := readSettings(view)
	if err != nil {
		return nil, err
	}
	r, err := view.Load(ctx)
	if err != nil {
		return nil, err
	}
	return p.way(ctx, &c, func() time.Time { return later(built(), time.Unix(r.Floor, 0)) })
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// way goes as far as the connection.
func (p *program) way(ctx context.Context, c *settings, floor func() time.Time) (agent.Connection, error) {
	host, err := p.nextHost(c)
	if err != nil {
		return nil, err
	}
	addrs, err := net.DefaultResolver.LookupHost(ctx, host)
	if err := p.tick("DNS", fmt.Sprintf("ok: %s is %v", host, addrs), err); err != nil {
		return nil, err
	}
	_ = p.tick("clock", clockLine(p.now(), floor()), nil)
	dial, err := c.dialer(floor)
	if err != nil {
		return nil, err
	}
	conn, err := dial(ctx, nil)
	if err == nil {
		if doubt := agent.Doubt(conn); doubt != nil {
			return conn, p.tick("TLS", fmt.Sprintf("in doubt, the login tells the time anew: %s", output.Words(doubt)), nil)
		}
	}
	step := "TLS"
	switch {
	case errors.Is(err, mqttlink.ErrProxy):
		step = "proxy"
	case errors.Is(err, mqttlink.ErrWebSocket):
		step = "web"
	}
	return conn, p.tick(step, "ok: "+c.Broker, err)
}

// nextHost is the host whose address this machine must know: the broker's, or that of the
// proxy on the way there.
func (p *program) nextHost(c *settings) (string, error) {
	proxy, err := mqttlink.ProxyOf(c.Broker, http.ProxyFromEnvironment)
	if err != nil {
		return "", p.tick("proxy", "", err)
	}
	if proxy == "" {
		u, err := url.Parse(c.Broker)
		if err != nil {
			return "", err
		}
		return u.Hostname(), nil
	}
	host, _, err := net.SplitHostPort(proxy)
	if err != nil {
		return "", err
	}
	return host, p.tick("proxy", "to go through: "+proxy, nil)
}

func (p *program) walk(ctx context.Context, v *device) error {
	conn, err := p.way(ctx, &v.settings, v.agent.Floor)
	if err != nil {
		return err
	}
	defer conn.Close() //nolint:errcheck // done with it
	g, err := p.login(ctx, v, conn)
	if err != nil {
		return p.tick("login", "", err)
	}
	if err := agent.Doubt(conn); err != nil {
		return p.tick("TLS", "", err)
	}
	off, _ := v.agent.Offset()
	return p.tick("login", fmt.Sprintf("ok: %s, token good for %s; the broker's clock is %s from this machine's", g.Subject, g.Life, off), nil)
}

func (p *program) login(ctx context.Context, v *device, link agent.Link) (*agent.Tokens, error) {
	if err := v.enrolled(); err != nil {
		return nil, err
	}
	return v.agent.Renew(ctx, link, agent.Ask{})
}

// clockLine compares this machine's clock with an instant that has certainly passed.
func clockLine(now, floor time.Time) string {
	const form = time.RFC3339
	if now.Before(floor) {
		return fmt.Sprintf("wrong, which does no harm: %s here, it is %s or later", now.UTC().Format(form), floor.UTC().Format(form))
	}
	return fmt.Sprintf("ok: %s here, not before %s; not relied on", now.UTC().Format(form), floor.UTC().Format(form))
}

// tick prints one line of check.
func (p *program) tick(what, ok string, err error) error {
	if err != nil {
		fmt.Fprintf(p.out, "%-6s failed: %s\n", what, output.Words(err))
		return fmt.Errorf("check stopped at %s: %w", what, err)
	}
	fmt.Fprintf(p.out, "%-6s %s\n", what, ok)
	return nil
}
