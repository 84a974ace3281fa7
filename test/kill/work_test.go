package kill

import (
	"context"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/signetd/signet/agent"
	"github.com/signetd/signet/broker/adminapi"
	"github.com/signetd/signet/broker/problem"
	"github.com/signetd/signet/protocol"
	"github.com/signetd/signet/protocol/token"
	"github.com/signetd/signet/test/harness"
)

// errWrong marks what no kill excuses.
var errWrong = errors.New("promise broken")

// excused tells whether a dying broker may be the cause of err: it breaks
// connections, it never answers wrongly.
func excused(err error) bool {
	var refusal *protocol.Refusal
	var refused *problem.Problem
	return !errors.Is(err, errWrong) && !errors.As(err, &refusal) && !errors.As(err, &refused)
}

// A worker has devices of its own, and does one thing after another with them.
type worker struct {
	t       *testing.T
	facts   *facts
	rand    *rand.Rand
	devices []*device
}

// run works until the broker dies.
func (w *worker) run(ctx context.Context, b *life) {
	for !b.dying.Load() {
		if err := w.step(ctx, b); err != nil {
			if !b.dying.Load() || !excused(err) {
				w.t.Error(err)
			}
			return
		}
	}
}

// step does something, and notes it when, and only when, it was acknowledged.
func (w *worker) step(ctx context.Context, b *life) error {
	dice := w.rand.IntN(100)
	if dice < 25 {
		return w.enroll(ctx, b)
	}
	if dice < 30 {
		return w.register(ctx, b)
	}
	for _, op := range []struct {
		below int
		fits  func(*device) bool
		do    func(*worker, context.Context, *life, *device) error
	}{
		{50, isActive, (*worker).authenticate}, {68, isLive, (*worker).refresh}, {77, isLive, (*worker).robbedRefresh},
		{84, isActive, (*worker).disable}, {90, isDisabled, (*worker).enable}, {95, isLive, (*worker).revoke}, {100, isActive, (*worker).remove},
	} {
		if dice >= op.below {
			continue
		}
		d := w.find(op.fits)
		if d == nil {
			return w.enroll(ctx, b)
		}
		d.touched = true
		return op.do(w, ctx, b, d)
	}
	return nil
}

func isActive(d *device) bool {
	return d.presence == present && d.status == "active" && d.agent.Enrolled()
}
func isLive(d *device) bool     { return isActive(d) && d.session == live }
func isDisabled(d *device) bool { return d.presence == present && d.status == "disabled" }

// find gives some device that fits, nil if there is none.
func (w *worker) find(fits func(*device) bool) *device {
	if len(w.devices) == 0 {
		return nil
	}
	for i, start := 0, w.rand.IntN(len(w.devices)); i < len(w.devices); i++ {
		if d := w.devices[(start+i)%len(w.devices)]; fits(d) {
			return d
		}
	}
	return nil
}

func (w *worker) enroll(ctx context.Context, b *life) error {
	v := w.facts.pick(w.rand)
	if v == nil {
		var err error
		if v, err = w.newEnrollToken(ctx, b); err != nil {
			return err
		}
	}
	d, err := w.facts.newDevice(w.t, v)
	if err != nil {
		return err
	}
	d.touched = true
	w.devices = append(w.devices, d)
	if err := d.connect(ctx, b); err != nil {
		return err
	}
	d.presence = coming
	g, err := d.agent.Enroll(ctx, spy{d.link, d}, agent.Admission{Token: &v.token})
	if errors.Is(err, protocol.CodeDenied) {
		d.presence = absent
		w.facts.exhausted(v)
		w.facts.ack("enrollments refused: no use left")
		return nil
	}
	if err != nil {
		return fmt.Errorf("enroll %s: %w", d.name, err)
	}
	w.facts.admitted(v)
	w.facts.ack("enrollments")
	return d.granted(g)
}

func (w *worker) newEnrollToken(ctx context.Context, b *life) (*enrollToken, error) {
	uses := 1 + w.rand.IntN(8)
	made, err := b.api.In(w.facts.pool.String()).CreateEnrollmentToken(ctx, adminapi.NewEnrollmentToken{Uses: &uses})
	w.facts.mu.Lock()
	defer w.facts.mu.Unlock()
	if err != nil {
		w.facts.strays++
		return nil, fmt.Errorf("create an enrollment token: %w", err)
	}
	v := &enrollToken{id: made.ID, uses: uses}
	if v.token, err = protocol.ParseEnrollToken(made.Token); err != nil {
		return nil, err
	}
	w.facts.enrollTokens = append(w.facts.enrollTokens, v)
	w.facts.tally["enrollment tokens"]++
	return v, nil
}

// register has an operator make a device known by its key.
func (w *worker) register(ctx context.Context, b *life) error {
	d, err := w.facts.newDevice(w.t, nil)
	if err != nil {
		return err
	}
	d.touched, d.presence = true, coming
	w.devices = append(w.devices, d)
	key := hex.EncodeToString(d.key.PublicKey())
	why := w.facts.ledger.asks()
	_, err = b.api.Because(why).In(w.facts.pool.String()).CreateDevice(ctx, adminapi.NewDevice{Name: d.name.Name.String(), Key: key})
	if err != nil {
		return fmt.Errorf("register %s: %w", d.name, err)
	}
	d.presence = present
	w.facts.ledger.acknowledged(why)
	w.facts.ack("registrations")
	return w.authenticate(ctx, b, d)
}

func (w *worker) authenticate(ctx context.Context, b *life, d *device) error {
	if err := d.connect(ctx, b); err != nil {
		return err
	}
	d.session = open
	g, err := d.agent.Authenticate(ctx, spy{d.link, d}, agent.Ask{})
	if err != nil {
		return fmt.Errorf("authenticate %s: %w", d.name, err)
	}
	w.facts.ack("authentications")
	return d.granted(g)
}

// refresh must work; when its answer is lost, the next one must.
func (w *worker) refresh(ctx context.Context, b *life, d *device) error {
	if err := d.connect(ctx, b); err != nil {
		return err
	}
	g, err := d.agent.Refresh(ctx, d.link, agent.Ask{})
	if err != nil {
		return fmt.Errorf("refresh %s: %w", d.name, err)
	}
	if d.robbed {
		w.facts.count("lost refreshes made good")
	}
	w.facts.ack("refreshes")
	return d.granted(g)
}

// robbedRefresh rotates the refresh token without the device's knowing.
func (w *worker) robbedRefresh(ctx context.Context, b *life, d *device) error {
	if err := d.connect(ctx, b); err != nil {
		return err
	}
	if _, err := d.agent.Refresh(ctx, thief{d.link}, agent.Ask{}); !errors.Is(err, errThrownAway) {
		return fmt.Errorf("refresh %s, and throw the answer away: %w", d.name, err)
	}
	d.robbed = true
	w.facts.ack("refreshes whose answer was thrown away")
	return nil
}

func (w *worker) disable(ctx context.Context, b *life, d *device) error {
	d.status, d.session = "", open
	d.hangup() // the broker does it, too, a little later
	why := w.facts.ledger.asks()
	if _, err := b.api.Because(why).In(w.facts.pool.String()).DisableDevice(ctx, d.name.Name.String()); err != nil {
		return fmt.Errorf("disable %s: %w", d.name, err)
	}
	d.status, d.session = "disabled", over
	w.facts.ledger.acknowledged(why)
	w.facts.ack("disabled")
	return nil
}

func (w *worker) enable(ctx context.Context, b *life, d *device) error {
	d.status = ""
	why := w.facts.ledger.asks()
	if _, err := b.api.Because(why).In(w.facts.pool.String()).EnableDevice(ctx, d.name.Name.String()); err != nil {
		return fmt.Errorf("enable %s: %w", d.name, err)
	}
	d.status = "active"
	w.facts.ledger.acknowledged(why)
	w.facts.ack("enabled")
	return nil
}

func (w *worker) revoke(ctx context.Context, b *life, d *device) error {
	d.session = open
	d.hangup()
	why := w.facts.ledger.asks()
	if _, err := b.api.Because(why).In(w.facts.pool.String()).RevokeSessions(ctx, d.name.Name.String()); err != nil {
		return fmt.Errorf("revoke sessions of %s: %w", d.name, err)
	}
	d.session = over
	w.facts.ledger.acknowledged(why)
	w.facts.ack("revoked")
	return nil
}

func (w *worker) remove(ctx context.Context, b *life, d *device) error {
	d.presence = leaving
	why := w.facts.ledger.asks()
	if err := b.api.Because(why).In(w.facts.pool.String()).DeleteDevice(ctx, d.name.Name.String()); err != nil {
		return fmt.Errorf("delete %s: %w", d.name, err)
	}
	d.presence, d.session = absent, over
	w.facts.ledger.acknowledged(why)
	w.facts.ack("deleted")
	return nil
}

// thumbprint is the key's as the API shows it.
func thumbprint(k harness.Key) (string, error) {
	key, err := token.ParseCOSEKey(k.PublicKey())
	if err != nil {
		return "", err
	}
	sum := key.JWKThumbprint()
	return base64.RawURLEncoding.EncodeToString(sum[:]), nil
}
