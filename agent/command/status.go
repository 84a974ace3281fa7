package command

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/signetd/signet/agent"
	"github.com/signetd/signet/agent/keyfile"
	"github.com/signetd/signet/agent/localapi"
	"github.com/signetd/signet/protocol/exit"
	"github.com/signetd/signet/protocol/ident"
	"github.com/signetd/signet/protocol/output"
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
	Relayed  bool   `json:"relayed,omitempty"` // somebody in between passes its messages on
	// PendingSince is since when an operator has yet to approve the device, by this machine's clock.
	PendingSince string `json:"pending_since,omitempty"`
	// Operator is what an operator types to help the device.
	Operator string `json:"operator,omitempty"`
}

func report(c *settings, a *agent.Agent, now time.Time) Status {
	st := a.Status()
	r := Status{
		Device: c.Device.String(), Broker: c.Broker, Enrolled: a.Enrolled(), Running: true, Phase: string(st.Phase),
		Retry: int64(st.Retry / time.Second), Relayed: st.Relayed,
	}
	if !st.Since.IsZero() {
		r.For = int64(now.Sub(st.Since) / time.Second)
	}
	if st.Err != nil {
		r.Reason = output.Words(st.Err)
	}
	if g := a.Current(); g != nil {
		r.Subject, r.Issuer, r.Left = g.Subject.String(), g.Issuer, int64(g.Left(now)/time.Second)
	}
	switch st.Phase {
	case agent.PhasePending:
		since := st.Since
		if c.PendingSince > 0 {
			since = time.Unix(c.PendingSince, 0)
		}
		r.waits(c.Device, since)
	case agent.PhaseDisabled:
		r.Operator = operatorsCommand("enable", c.Device)
	}
	if st.Unsaved != nil {
		r.Warning = output.Words(st.Unsaved)
	}
	if off, known := a.Offset(); known {
		n := int64(off / time.Second)
		r.Offset = &n
	}
	return r
}

// waits says that an operator has yet to approve the device.
func (st *Status) waits(d ident.Device, since time.Time) {
	st.Phase, st.PendingSince, st.Operator = string(agent.PhasePending), since.UTC().Format(time.RFC3339), operatorsCommand("approve", d)
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
		return Status{}, noDevice(path, err)
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
	if !r.Enrolled && c.PendingSince > 0 {
		st.waits(c.Device, time.Unix(c.PendingSince, 0))
	}
	if err := c.checkKey(ctx, d, &r); err != nil {
		st.Reason = output.Words(err)
	}
	return st, nil
}

// parseStatus passes over what a newer agent may say besides.
func parseStatus(raw []byte) (st Status, err error) {
	var offset strictjson.Value
	_, err = strictjson.Read(raw, strictjson.MaxSize, strictjson.Fields{
		"device": &st.Device, "subject": &st.Subject, "issuer": &st.Issuer, "broker": &st.Broker, "enrolled": &st.Enrolled,
		"running": &st.Running, "phase": &st.Phase, "for": &st.For, "reason": &st.Reason, "retry_after": &st.Retry,
		"token_left": &st.Left, "clock_offset": &offset, "warning": &st.Warning, "relayed": &st.Relayed,
		"pending_since": &st.PendingSince, "operator": &st.Operator,
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

func (p *program) status(ctx context.Context, args []string) error {
	var w where
	var format string
	f := p.flags("status")
	w.flags(f)
	w.socketFlag(f)
	f.StringVar(&format, "o", "text", "text or json")
	if err := p.parse(f, args); err != nil {
		return err
	}
	if format != "text" && format != "json" {
		return exit.Usagef("-o %q: want text or json", format)
	}
	path, socket, err := p.find(w)
	if err != nil {
		return err
	}
	st, err := look(ctx, path, socket)
	if err != nil {
		return err
	}
	if format == "json" {
		enc := json.NewEncoder(p.out)
		enc.SetIndent("", "  ")
		return enc.Encode(st)
	}
	fmt.Fprintln(p.out, st.line())
	return nil
}

// leastOffset is from where on people are told of a wrong clock, in seconds: the
// broker's signed time is cut to a second, and has been on its way.
const leastOffset = 3

// waiting says of a device that waits since when it does, and what for.
func (st *Status) waiting() string {
	return "waits for approval since " + st.PendingSince + "; an operator types: " + st.Operator
}

func (st *Status) line() string {
	if !st.Running {
		if st.PendingSince != "" {
			return st.Device + ": " + st.waiting() + "; the agent is not running (signet-agent run)"
		}
		if st.Enrolled && st.Reason != "" {
			return st.Device + ": enrolled, and cannot log in: " + st.Reason + "; the agent is not running"
		}
		if st.Enrolled {
			return st.Device + ": enrolled; the agent is not running (signet-agent run)"
		}
		return st.Device + ": not enrolled yet (signet-agent enroll)"
	}
	out := fmt.Sprintf("%s: %s for %s", st.Device, st.Phase, time.Duration(st.For)*time.Second)
	if st.PendingSince != "" {
		out = st.Device + ": " + st.waiting()
	}
	if st.Left > 0 {
		out += fmt.Sprintf("; token good for %s", time.Duration(st.Left)*time.Second)
	}
	if st.Offset != nil && max(*st.Offset, -*st.Offset) >= leastOffset {
		out += fmt.Sprintf("; this machine's clock is off by %s", time.Duration(*st.Offset)*time.Second)
	}
	if st.Relayed {
		out += "; relayed: TLS ends in somebody who passes messages on to the broker, and who can delay and drop them"
	}
	if st.Reason != "" && st.PendingSince == "" {
		out += "; " + st.Reason
	}
	if st.Operator != "" && st.PendingSince == "" {
		out += ": " + st.Operator
	}
	if st.Warning != "" {
		out += "; going on without: " + st.Warning
	}
	return out
}
