package command

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/url"
	"runtime"
	"time"

	"github.com/signetd/signet/agent"
	"github.com/signetd/signet/agent/keyfile"
	"github.com/signetd/signet/agent/localapi"
	"github.com/signetd/signet/protocol/build"
	"github.com/signetd/signet/protocol/strictjson"
)

// A Status is what status -o json prints. Durations are in seconds.
type Status struct {
	Device   string `json:"device"`
	Subject  string `json:"subject,omitempty"`
	Issuer   string `json:"issuer,omitempty"`
	Broker   string `json:"broker"`
	Enrolled bool   `json:"enrolled"`
	Running  bool   `json:"running"`
	Phase    string `json:"phase"`
	For      int64  `json:"for,omitempty"` // how long in this phase
	Reason   string `json:"reason,omitempty"`
	Retry    int64  `json:"retry_after,omitempty"`
	Left     int64  `json:"token_left,omitempty"`
	Offset   *int64 `json:"clock_offset,omitempty"` // to add to the local clock
	Warning  string `json:"warning,omitempty"`
}

func report(c *settings, a *agent.Agent, now time.Time) Status {
	st := a.Status()
	r := Status{
		Device: c.Device.String(), Broker: c.Broker, Enrolled: a.Enrolled(), Running: true, Phase: string(st.Phase),
		Retry: int64(st.Retry / time.Second),
	}
	if !st.Since.IsZero() {
		r.For = int64(now.Sub(st.Since) / time.Second)
	}
	if st.Err != nil {
		r.Reason = st.Err.Error()
	}
	if g := a.Current(); g != nil {
		r.Subject, r.Issuer, r.Left = g.Subject.String(), g.Issuer, int64(g.Left(now)/time.Second)
	}
	if st.Unsaved != nil {
		r.Warning = st.Unsaved.Error()
	}
	if off, known := a.Offset(); known {
		n := int64(off / time.Second)
		r.Offset = &n
	}
	return r
}

// look asks the running agent, or reads what the folder tells.
func look(ctx context.Context, path, socket string) (Status, error) {
	reply, err := localapi.Call(ctx, socket, localapi.Request{Op: "status"})
	if err == nil {
		return parseStatus(reply.Status)
	}
	if path == "" || !errors.Is(err, localapi.ErrNotRunning) {
		return Status{}, err
	}
	d, err := keyfile.View(path)
	if err != nil {
		return Status{}, fmt.Errorf("%w: %w", errNoDevice, err)
	}
	c, err := readSettings(d)
	if err != nil {
		return Status{}, err
	}
	r, err := d.Load(ctx)
	if err != nil {
		return Status{}, err
	}
	st := Status{Device: c.Device.String(), Broker: c.Broker, Enrolled: r.Enrolled, Issuer: r.Issuer, Phase: "stopped"}
	if !r.Subject.IsZero() {
		st.Subject = r.Subject.String()
	}
	return st, nil
}

// parseStatus passes over what a newer agent may say besides.
func parseStatus(raw []byte) (st Status, err error) {
	var offset strictjson.Value
	_, err = strictjson.Read(raw, strictjson.MaxSize, strictjson.Fields{
		"device": &st.Device, "subject": &st.Subject, "issuer": &st.Issuer, "broker": &st.Broker, "enrolled": &st.Enrolled,
		"running": &st.Running, "phase": &st.Phase, "for": &st.For, "reason": &st.Reason, "retry_after": &st.Retry,
		"token_left": &st.Left, "clock_offset": &offset, "warning": &st.Warning,
	})
	if err == nil && len(offset) > 0 {
		st.Offset = new(int64)
		*st.Offset, err = offset.Integer()
	}
	if err != nil {
		return Status{}, fmt.Errorf("the agent's status makes no sense: %w", err)
	}
	return st, nil
}

func (s *session) status(ctx context.Context, args []string) error {
	var w where
	var format string
	f := s.flags("status")
	w.flags(f)
	w.socketFlag(f)
	f.StringVar(&format, "o", "text", "text or json")
	if err := s.parse(f, args); err != nil {
		return err
	}
	if format != "text" && format != "json" {
		return fmt.Errorf("%w: -o %q: want text or json", errUsage, format)
	}
	path, socket, err := s.find(w)
	if err != nil {
		return err
	}
	st, err := look(ctx, path, socket)
	if err != nil {
		return err
	}
	if format == "json" {
		enc := json.NewEncoder(s.out)
		enc.SetIndent("", "  ")
		return enc.Encode(st)
	}
	fmt.Fprintln(s.out, st.line())
	return nil
}

// leastOffset is from where on people are told of a wrong clock, in seconds: the
// broker's signed time is cut to a second, and has been on its way.
const leastOffset = 3

func (st *Status) line() string {
	if !st.Running {
		if st.Enrolled {
			return st.Device + ": enrolled; the agent is not running (signet-agent run)"
		}
		return st.Device + ": not enrolled yet (signet-agent enroll)"
	}
	out := fmt.Sprintf("%s: %s for %s", st.Device, st.Phase, time.Duration(st.For)*time.Second)
	if st.Left > 0 {
		out += fmt.Sprintf("; token good for %s", time.Duration(st.Left)*time.Second)
	}
	if st.Offset != nil && max(*st.Offset, -*st.Offset) >= leastOffset {
		out += fmt.Sprintf("; this machine's clock is off by %s", time.Duration(*st.Offset)*time.Second)
	}
	if st.Reason != "" {
		out += "; " + st.Reason
	}
	if st.Warning != "" {
		out += "; going on without: " + st.Warning
	}
	return out
}

func (s *session) token(ctx context.Context, args []string) error {
	var w where
	r := localapi.Request{Op: "token"}
	f := s.flags("token")
	w.flags(f)
	w.socketFlag(f)
	f.StringVar(&r.Type, "type", "access", "access or id")
	f.StringVar(&r.Format, "format", "", "jwt or cwt (default: jwt for access tokens)")
	f.StringVar(&r.Audience, "audience", "", "whom the token is for (default: the pool)")
	if err := s.parse(f, args); err != nil {
		return err
	}
	if r.Format == "" && r.Type != "id" {
		r.Format = "jwt"
	}
	ask, err := asked(r)
	if err != nil {
		return err
	}
	path, socket, err := s.find(w)
	if err != nil {
		return err
	}
	reply, err := localapi.Call(ctx, socket, r)
	if err == nil {
		fmt.Fprintln(s.out, reply.Token)
		return nil
	}
	if path == "" || !errors.Is(err, localapi.ErrNotRunning) {
		return err
	}
	if ask == nil {
		ask = new(agent.Ask)
	}
	g, err := s.once(ctx, path, *ask)
	if err != nil {
		return err
	}
	text, err := spell(g, r.Type)
	if err != nil {
		return err
	}
	fmt.Fprintln(s.out, text)
	return nil
}

// once connects, renews and goes.
func (s *session) once(ctx context.Context, path string, ask agent.Ask) (*agent.Grant, error) {
	v, err := s.openDevice(ctx, path)
	if err != nil {
		return nil, err
	}
	defer v.dir.Close() //nolint:errcheck // only a lock
	if err := v.enrolled(); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, onceTimeout)
	defer cancel()
	conn, err := v.dial(ctx, nil)
	if err != nil {
		return nil, err
	}
	defer conn.Close() //nolint:errcheck // done with it
	return v.agent.Renew(ctx, conn, ask)
}

// check goes the way to the broker step by step and stops where it is blocked.
func (s *session) check(ctx context.Context, args []string) error {
	var w where
	f := s.flags("check")
	w.flags(f)
	w.socketFlag(f)
	if err := s.parse(f, args); err != nil {
		return err
	}
	path, socket, err := s.find(w)
	if err != nil {
		return err
	}
	if st, err := look(ctx, path, socket); path == "" && err != nil {
		return err
	} else if err == nil && st.Running {
		return s.checkRunning(ctx, path, &st)
	}
	v, err := s.openDevice(ctx, path)
	if err != nil {
		return err
	}
	defer v.dir.Close() //nolint:errcheck // only a lock
	ctx, cancel := context.WithTimeout(ctx, onceTimeout)
	defer cancel()
	return s.walk(ctx, v)
}

// checkRunning leaves the login to the agent that runs, and goes the way to it as a
// stranger. Who knows the socket only cannot do that.
func (s *session) checkRunning(ctx context.Context, path string, st *Status) error {
	_ = s.tick("agent", "running: "+st.line(), nil)
	if path != "" {
		ctx, cancel := context.WithTimeout(ctx, onceTimeout)
		defer cancel()
		conn, err := s.knock(ctx, path)
		if err != nil {
			return err
		}
		_ = conn.Close()
	}
	if st.Phase != string(agent.PhaseOnline) {
		return s.tick("login", "", fmt.Errorf("%w: %s: %s", localapi.ErrAgent, st.Phase, st.Reason))
	}
	return s.tick("login", "ok", nil)
}

// knock connects as a stranger, with what the folder tells.
func (s *session) knock(ctx context.Context, path string) (agent.Connection, error) {
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
	return s.way(ctx, &c, func() time.Time { return later(built(), time.Unix(r.Floor, 0)) })
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// way goes as far as the connection.
func (s *session) way(ctx context.Context, c *settings, floor func() time.Time) (agent.Connection, error) {
	u, err := url.Parse(c.Broker)
	if err != nil {
		return nil, err
	}
	addrs, err := net.DefaultResolver.LookupHost(ctx, u.Hostname())
	if err := s.tick("DNS", fmt.Sprintf("ok: %s is %v", u.Hostname(), addrs), err); err != nil {
		return nil, err
	}
	_ = s.tick("clock", clockLine(s.now(), floor()), nil)
	dial, err := c.dialer(floor)
	if err != nil {
		return nil, err
	}
	conn, err := dial(ctx, nil)
	return conn, s.tick("TLS", "ok: "+c.Broker, err)
}

func (s *session) walk(ctx context.Context, v *device) error {
	conn, err := s.way(ctx, &v.settings, v.agent.Floor)
	if err != nil {
		return err
	}
	defer conn.Close() //nolint:errcheck // done with it
	g, err := s.login(ctx, v, conn)
	if err != nil {
		return s.tick("login", "", err)
	}
	off, _ := v.agent.Offset()
	return s.tick("login", fmt.Sprintf("ok: %s, token good for %s; the broker's clock is %s from this machine's", g.Subject, g.Life, off), nil)
}

func (s *session) login(ctx context.Context, v *device, link agent.Link) (*agent.Grant, error) {
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
func (s *session) tick(what, ok string, err error) error {
	if err != nil {
		fmt.Fprintf(s.out, "%-6s failed: %v\n", what, err)
		return fmt.Errorf("check stopped at %s: %w", what, err)
	}
	fmt.Fprintf(s.out, "%-6s %s\n", what, ok)
	return nil
}

func (s *session) bugreport(ctx context.Context, args []string) error {
	var w where
	f := s.flags("bugreport")
	w.flags(f)
	w.socketFlag(f)
	if err := s.parse(f, args); err != nil {
		return err
	}
	out := map[string]any{"version": build.Version(), "go": runtime.Version(), "os": runtime.GOOS, "arch": runtime.GOARCH, "local_time": s.now().UTC()}
	path, socket, err := s.find(w)
	if err == nil {
		var st Status
		if st, err = look(ctx, path, socket); err == nil {
			out["status"] = st
		}
	}
	if err != nil {
		out["problem"] = err.Error()
	}
	if d, err := keyfile.View(path); err == nil {
		if r, err := d.Load(ctx); err == nil {
			out["floor"] = time.Unix(r.Floor, 0).UTC()
			out["has"] = map[string]bool{"anchor": r.Anchor != nil, "key_statement": r.Statement != nil, "refresh_token": r.Refresh != nil}
		}
	}
	enc := json.NewEncoder(s.out)
	enc.SetIndent("", "  ")
	return enc.Encode(out)
}

func (s *session) version(_ context.Context, args []string) error {
	if err := s.parse(s.flags("version"), args); err != nil {
		return err
	}
	fmt.Fprintln(s.out, build.Line("signet-agent"))
	return nil
}
