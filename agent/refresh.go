package agent

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"

	"github.com/signetd/signet/protocol"
	"github.com/signetd/signet/protocol/detcbor"
)

// Refresh gets new tokens for the session it has, in one round trip, with the
// refresh token's hash and a proof by the device's key. It fails with
// ErrNoSession when there is none; a refusal as denied or expired means that the
// session has ended: authenticate instead.
func (a *Agent) Refresh(ctx context.Context, link Link, ask Ask) (*Tokens, error) {
	a.calling.Lock()
	defer a.calling.Unlock()
	g, err := a.refresh(ctx, link, ask)
	a.noteFor(ask, g, err)
	return g, err
}

func (a *Agent) refresh(ctx context.Context, link Link, ask Ask) (*Tokens, error) {
	c, w, err := a.newCall(link, ask)
	if err != nil {
		return nil, err
	}
	if len(c.record.Refresh) == 0 {
		return nil, ErrNoSession
	}
	handle := sha256.Sum256(c.record.Refresh)
	w.Last = nil // it names its session itself
	body, err := detcbor.Marshal(protocol.RefreshBody{Request: w, Session: c.record.Session, Handle: handle[:]})
	if err != nil {
		return nil, err
	}
	c.transcript = c.transcript.Add(body)
	proof, err := a.cfg.Prover.Prove(protocol.ProofInput(protocol.PurposeRefresh, c.transcript))
	if err != nil {
		return nil, fmt.Errorf("prove possession of the key: %w", err)
	}
	raw, err := protocol.Encode(&protocol.Refresh{Head: protocol.Head{ID: c.id}, Body: body, Proof: proof})
	if err != nil {
		return nil, err
	}
	reply, err := c.exchange(ctx, link, raw)
	if err != nil {
		return nil, err
	}
	switch m := reply.(type) {
	case *protocol.Grant:
		return a.accept(ctx, c, m)
	case *protocol.Refusal:
		return nil, a.blame(m)
	}
	return nil, fmt.Errorf("%w: message type %d to a refresh", ErrUnexpected, reply.Type())
}

// Renew gets new tokens: it refreshes if there is a session, and authenticates with
// the key if there is none or the broker has ended it. Status tells of the second
// call then: that a session is over says nothing of the device.
func (a *Agent) Renew(ctx context.Context, link Link, ask Ask) (*Tokens, error) {
	a.calling.Lock()
	g, err := a.refresh(ctx, link, ask)
	a.calling.Unlock()
	if err == nil || !sessionOver(err) {
		a.noteFor(ask, g, err)
		return g, err
	}
	a.cfg.Log.Debug("session cannot be refreshed, authenticating", "err", err)
	return a.Authenticate(ctx, link, ask)
}

// sessionOver tells the failures after which the device's key may still help.
func sessionOver(err error) bool {
	var r *protocol.Refusal
	if errors.As(err, &r) {
		switch r.Problem.Signet.Code {
		case protocol.CodeBusy, protocol.CodeVersion, protocol.CodeInternal, protocol.CodeDisabled, protocol.CodePending:
			return false
		}
		return true
	}
	return errors.Is(err, ErrNoSession) || errors.Is(err, ErrGrant)
}
