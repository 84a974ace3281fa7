package command

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/signetd/signet/agent"
	"github.com/signetd/signet/agent/keyfile"
	"github.com/signetd/signet/agent/localapi"
	"github.com/signetd/signet/protocol"
	"github.com/signetd/signet/protocol/exit"
	"github.com/signetd/signet/protocol/output"
)

const socketName = "agent.sock"

// A device is an opened folder: the agent on it and how it connects.
type device struct {
	dir      *keyfile.Dir
	settings settings
	agent    *agent.Agent
	dial     agent.Dialer
	now      func() time.Time
}

// openDevice locks the folder of a device. The caller closes dir.
func (p *program) openDevice(ctx context.Context, path, socket string) (*device, error) {
	view, err := keyfile.View(path)
	if err != nil {
		return nil, noDevice(path, err)
	}
	c, err := readSettings(view)
	if err != nil {
		return nil, err
	}
	d, err := p.hold(ctx, path, socket)
	if err != nil {
		return nil, err
	}
	p.device, p.secret = c.Device, c.SharedKeyFile
	v := &device{dir: d, settings: c, now: p.now}
	if err := p.assemble(ctx, v); err != nil {
		_ = d.Close()
		return nil, err
	}
	return v, nil
}

// waits remembers, for status, since when a device that has never been let in waits for
// approval, if that is why err came.
func (v *device) waits(err error) error {
	if !errors.Is(err, protocol.CodePending) || v.agent.Enrolled() || v.settings.PendingSince != 0 || v.dir.ReadOnly() != nil {
		return nil
	}
	v.settings.PendingSince = v.now().Unix()
	return v.settings.save(v.dir)
}

// noDevice says why a folder cannot be looked into. Only of one that is not there is it known
// that it has no device.
func noDevice(path string, err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("%w in %s", errNoDevice, path)
	}
	return fmt.Errorf("look into the device's folder: %w", err)
}

func (p *program) assemble(ctx context.Context, v *device) error {
	prover, err := v.settings.prover(ctx, v.dir, "")
	if err != nil {
		return err
	}
	if v.agent, err = p.agent(ctx, &v.settings, v.dir, prover); err != nil {
		return err
	}
	v.dial, err = v.settings.dialer(v.agent.Floor)
	return err
}

// enrolled tells whether the device can log in: it has enrolled, or was given the
// anchor beforehand and the broker its key.
func (v *device) enrolled() error {
	if v.agent.Enrolled() || v.settings.Anchor != "" {
		return nil
	}
	return fmt.Errorf("%w: %s", errNotEnrolled, v.settings.Device)
}

func (p *program) run(ctx context.Context, args []string) error {
	var w where
	var groups string
	f := p.flags("run")
	w.flags(f)
	w.socketFlag(f)
	f.StringVar(&groups, "group", "", "`gids`, separated by commas, whose members may ask for tokens beside this user and root; needs --socket")
	if err := p.parse(f, args); err != nil {
		return err
	}
	gids, err := parseGroups(groups)
	if err != nil {
		return err
	}
	path, err := p.folder(w)
	if err != nil {
		return err
	}
	w.state, w.name = path, ""
	if _, w.socket, err = p.find(w); err != nil {
		return err
	}
	if len(gids) > 0 && w.socket == p.usualSocket(path) {
		return exit.Usagef("--group needs --socket: nobody else can enter %s", filepath.Dir(w.socket))
	}
	p.lasting, p.desk = true, newDesk()
	v, err := p.openDevice(ctx, path, w.socket)
	if err != nil {
		return err
	}
	defer v.dir.Close() //nolint:errcheck // only a lock
	if err := v.enrolled(); err != nil {
		return err
	}
	if err := v.dir.Say(runHolds); err != nil {
		return err
	}
	return p.serve(ctx, v, w.socket, gids)
}

// serve keeps the device authenticated and answers its programs until ctx ends.
func (p *program) serve(ctx context.Context, v *device, socket string, gids []uint32) error {
	ln, err := localapi.Listen(ctx, socket, len(gids) > 0)
	if err != nil {
		return err
	}
	w := newWatch(v, p.desk, p.log())
	w.recallDemands()
	fmt.Fprintf(p.out, "running %s; programs ask %s\n", v.settings.Device, socket)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var fresh sync.WaitGroup
	defer fresh.Wait()
	fresh.Go(func() { w.keepFresh(ctx) })
	served := make(chan error, 1)
	go func() {
		defer cancel()
		served <- localapi.Serve(ctx, ln, gids, w.answer)
	}()
	err = v.agent.Run(ctx, w.connect)
	cancel()
	return errors.Join(err, v.waits(v.agent.Status().Err), <-served)
}

func parseGroups(s string) (gids []uint32, err error) {
	for part := range strings.SplitSeq(s, ",") {
		if part == "" {
			continue
		}
		n, err := strconv.ParseUint(part, 10, 32)
		if err != nil {
			return nil, exit.Usagef("--group %q: want group ids, which are numbers", part)
		}
		gids = append(gids, uint32(n))
	}
	return gids, nil
}

// A watch is a running agent as the device's programs see it.
type watch struct {
	*device
	desk *desk
	log  *slog.Logger

	mu      sync.Mutex // protects the fields below
	link    agent.Connection
	special map[string]*special // by demand
	asked   uint64              // requests so far
	more    chan struct{}       // has something when a demand came that there was not
}

// A special is a token with special demands that programs have asked for. The agent keeps
// it fresh from then on, over restarts, so that they find one when the broker is away.
type special struct {
	ask    agent.Ask
	tokens *agent.Tokens // nil: not yet got since the agent's start
	tried  time.Time     // when it last could not be renewed
	asked  uint64        // the last request for it
}

func newWatch(v *device, d *desk, log *slog.Logger) *watch {
	return &watch{device: v, desk: d, log: log, special: map[string]*special{}, more: make(chan struct{}, 1)}
}

// connect remembers the connection in use, so that programs' calls share it.
func (w *watch) connect(ctx context.Context, c *agent.Credential) (agent.Connection, error) {
	conn, err := w.dial(ctx, c)
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.link = nil; err == nil {
		w.link = conn
	}
	return conn, err
}

func (w *watch) report() Status {
	st := report(&w.settings, w.agent, w.now())
	if err := w.dir.ReadOnly(); err != nil && st.Warning == "" {
		st.Warning = "nothing can be saved: " + err.Error()
	}
	return st
}

func (w *watch) answer(ctx context.Context, r localapi.Request) localapi.Reply {
	switch r.Op {
	case "status":
		raw, err := json.Marshal(w.report())
		if err != nil {
			return failed(ctx, err)
		}
		return localapi.Reply{Status: raw}
	case "token":
		text, left, err := w.token(ctx, r)
		if err != nil {
			return failed(ctx, err)
		}
		return localapi.Reply{Token: text, Life: int64(left / time.Second)}
	case "credentials":
		raw, err := w.mqttLogin(ctx, r)
		if err != nil {
			return failed(ctx, err)
		}
		return localapi.Reply{Credentials: raw}
	}
	if r.Op == "challenge" || r.Op == "answer" {
		return w.desk.serve(ctx, r)
	}
	return failed(ctx, exit.Usagef("no such request %q", r.Op))
}

// failed tells a program why it gets nothing.
func failed(ctx context.Context, err error) localapi.Reply {
	if ctx.Err() != nil {
		return localapi.Reply{Error: "the broker has not answered", Exit: exit.Unavailable}
	}
	r := localapi.Reply{Error: output.Words(err)}
	if refusal, ok := errors.AsType[*protocol.Refusal](err); ok {
		r.Refusal = refusal.Problem.Signet.Code
	} else if code := exit.Of(err); code != exit.Failed {
		r.Exit = code
	}
	return r
}

// leastLeft is the life that a token must have left to be given away.
const leastLeft = 10 * time.Second

// mqttLogin gives what a program connects with.
func (w *watch) mqttLogin(ctx context.Context, r localapi.Request) (json.RawMessage, error) {
	if r.Type != "mqtt" {
		return nil, exit.Usagef("credentials %q: want mqtt", r.Type)
	}
	ask := mqttPassword()
	g, err := w.atHand(ctx, "MQTT password", &ask)
	if err != nil {
		return nil, err
	}
	l, err := w.login(g)
	if err != nil {
		return nil, err
	}
	return json.Marshal(l)
}

func (w *watch) token(ctx context.Context, r localapi.Request) (text string, left time.Duration, err error) {
	r.Audience = w.settings.audience(r.Audience)
	ask, err := asked(r)
	if err != nil {
		return "", 0, err
	}
	g, err := w.atHand(ctx, demand(r), ask)
	if err != nil {
		return "", 0, err
	}
	text, err = spell(g, r.Type)
	return text, g.Left(w.now()), err
}

// audience is what to ask the broker for: by name, the pool is the default audience as
// well.
func (c *settings) audience(named string) string {
	if named == c.Device.Pool.String() {
		return ""
	}
	return named
}

// atHand gives the token at hand of a demand, or gets one, with at least a third of its
// life left; with less only while the broker cannot be reached. key names the demand;
// ask is nil for the usual one.
func (w *watch) atHand(ctx context.Context, key string, ask *agent.Ask) (*agent.Tokens, error) {
	st := w.agent.Status()
	switch st.Phase {
	case agent.PhaseDisabled, agent.PhaseRefused, agent.PhasePending, agent.PhaseDistrust:
		return nil, st.Err
	}
	g := w.agent.Current()
	if ask != nil {
		g = w.kept(key)
	}
	if g == nil || g.Left(w.now()) < g.Life/3 {
		fresh, err := w.renew(ctx, ask)
		switch {
		case err == nil:
			g = fresh
			if ask != nil && w.keep(key, *ask, fresh) && !ask.MQTTPassword {
				w.saveDemands()
			}
		case g == nil || g.Left(w.now()) < leastLeft || refused(err):
			return nil, err
		} // without a broker an old token is better than none
	}
	return g, nil
}

// kept gives the token at hand of a special demand, nil if there is none.
func (w *watch) kept(key string) *agent.Tokens {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.asked++
	s := w.special[key]
	if s == nil {
		return nil
	}
	s.asked = w.asked
	return s.tokens
}

// startPatience is how long a request waits for an agent that has only begun to connect.
const startPatience = 20 * time.Second

// linked gives the connection in use, nil if there is none. While the agent's first
// attempt is under way it waits for that.
func (w *watch) linked(ctx context.Context) agent.Link {
	ctx, cancel := context.WithTimeout(ctx, startPatience)
	defer cancel()
	for {
		starting := w.agent.Status().Phase == agent.PhaseStarting // before the link: it comes first
		w.mu.Lock()
		link := w.link
		w.mu.Unlock()
		switch {
		case link != nil:
			return link
		case !starting:
			return nil
		}
		select {
		case <-time.After(lockPoll):
		case <-ctx.Done():
			return nil
		}
	}
}

func (w *watch) renew(ctx context.Context, ask *agent.Ask) (*agent.Tokens, error) {
	link := w.linked(ctx)
	if link == nil {
		return nil, exit.With(exit.Unavailable, errors.New("the broker cannot be reached just now"))
	}
	if ask == nil {
		ask = &agent.Ask{}
	}
	return w.agent.Renew(ctx, link, *ask)
}

// refused tells a broker's word, true or false, from its silence.
func refused(err error) bool {
	var r *protocol.Refusal
	return errors.As(err, &r) || errors.Is(err, agent.ErrGrant)
}

// maxSpecial bounds the tokens with special demands at hand. Chosen arbitrarily.
const maxSpecial = 64

// keep remembers a token with special demands, and reports whether they are new; of too many
// it forgets the one that was not asked for the longest.
func (w *watch) keep(key string, ask agent.Ask, g *agent.Tokens) (added bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	added = w.special[key] == nil
	if added && len(w.special) >= maxSpecial {
		var oldest string
		for k, s := range w.special {
			if oldest == "" || s.asked < w.special[oldest].asked {
				oldest = k
			}
		}
		delete(w.special, oldest)
	}
	w.special[key] = &special{ask: ask, tokens: g, asked: w.asked}
	select {
	case w.more <- struct{}{}:
	default:
	}
	return added
}

const (
	freshRetry = 30 * time.Second // after a token could not be renewed
	freshSleep = time.Hour        // while there is none
)

// keepFresh renews tokens with special demands until ctx ends.
func (w *watch) keepFresh(ctx context.Context) {
	for ctx.Err() == nil {
		due := time.NewTimer(w.freshen(ctx))
		select {
		case <-due.C:
		case <-w.more:
		case <-ctx.Done():
		}
		due.Stop()
	}
}

// freshen renews those that are past half of their life and gives the time until the next
// will be. An MQTT password is of no use without the broker: it is left alone.
func (w *watch) freshen(ctx context.Context) (wait time.Duration) {
	wait = freshSleep
	w.mu.Lock()
	demands := maps.Clone(w.special)
	w.mu.Unlock()
	for key, s := range demands {
		if s.ask.MQTTPassword {
			continue
		}
		left := time.Duration(0)
		if s.tokens != nil { // not yet got since the start
			left = s.tokens.Left(w.now()) - s.tokens.Life/2
		}
		if since := w.now().Sub(s.tried); left <= 0 && since >= 0 && since < freshRetry {
			left = freshRetry - since
		}
		if left <= 0 {
			var gone bool
			if left, gone = w.refresh(ctx, key, s); gone {
				w.saveDemands()
			}
		}
		wait = min(wait, max(left, time.Second))
	}
	return wait
}

// refresh renews one and gives the time until it is due again; gone says that it never is.
func (w *watch) refresh(ctx context.Context, key string, s *special) (due time.Duration, gone bool) {
	ctx, cancel := context.WithTimeout(ctx, onceTimeout)
	defer cancel()
	fresh, err := w.renew(ctx, &s.ask)
	w.mu.Lock()
	defer w.mu.Unlock()
	kept := w.special[key]
	switch {
	case kept == nil:
		return freshSleep, false
	case err == nil:
		kept.tokens, kept.tried = fresh, time.Time{}
		return fresh.Life / 2, false
	case refused(err) && !errors.Is(err, protocol.CodeBusy) && (kept.tokens == nil || kept.tokens.Left(w.now()) <= 0):
		delete(w.special, key) // the broker does not give it any more
		return freshSleep, true
	default:
		kept.tried = w.now()
	}
	return freshRetry, false
}

// asked is the demand that r stands for; nil if the usual tokens will do.
func asked(r localapi.Request) (*agent.Ask, error) {
	format := protocol.FormatCWT
	switch r.Format {
	case "cwt", "":
	case "jwt":
		format = protocol.FormatJWT
	default:
		return nil, exit.Usagef("--format %q: want jwt or cwt", r.Format)
	}
	switch r.Type {
	case "id":
		if r.Audience != "" {
			return nil, exit.Usagef("--audience: an ID token's audience is the client")
		}
	case "access", "":
	default:
		return nil, exit.Usagef("--type %q: want access or id", r.Type)
	}
	if format == protocol.FormatCWT && r.Audience == "" {
		return nil, nil
	}
	return &agent.Ask{Format: &format, Audience: r.Audience}, nil
}

// spell writes a token as text: a JWT as it is, a CWT in base64url.
func spell(g *agent.Tokens, class string) (string, error) {
	switch {
	case class == "id" && g.Format == protocol.FormatJWT:
		if g.IDJWT == nil {
			return "", errors.New("the broker gave no ID token in JWT form")
		}
		return string(g.IDJWT), nil
	case class == "id":
		return base64.RawURLEncoding.EncodeToString(g.ID), nil
	case g.Format == protocol.FormatJWT:
		return string(g.Access), nil
	}
	return base64.RawURLEncoding.EncodeToString(g.Access), nil
}
