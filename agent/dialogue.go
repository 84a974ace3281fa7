package agent

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"github.com/signetd/signet/agent/proof"
	"github.com/signetd/signet/protocol"
)

// A dialogue is where a call stands between two messages.
type dialogue struct {
	challenge *protocol.Challenge // the last one, nil before the first
	through   protocol.Transcript // ends with it; what was refused is not in it
	guess     bool                // the last answer was one: another may follow it
}

// hear takes a reply. It is an error unless there is a challenge to answer, anew or
// for the first time.
func (d *dialogue) hear(c *call, reply protocol.Message) error {
	switch m := reply.(type) {
	case *protocol.Challenge:
		d.challenge, d.through = m, c.transcript.Add(m.Body)
		return nil
	case *protocol.Refusal:
		if !errors.Is(m, protocol.CodeWrongAnswer) || d.challenge == nil || m.Problem.Signet.TriesLeft == 0 {
			return m
		}
		if !d.guess { // the same key gives the same wrong proof: the session was mixed up
			return fmt.Errorf("%w: %w", errOutOfStep, m)
		}
		return nil
	}
	return fmt.Errorf("%w: message type %d", ErrUnexpected, reply.Type())
}

// converse says the opening message and answers what is asked until it is granted or refused.
func (a *Agent) converse(ctx context.Context, link Link, c *call, opening protocol.Message) (*Tokens, error) {
	if len(c.pin) == 0 {
		return nil, fmt.Errorf("%w: without an enrollment token or a pin the real broker cannot be told from another", ErrNoAnchor)
	}
	raw, err := protocol.Encode(opening)
	if err != nil {
		return nil, err
	}
	if c.opening, err = protocol.Repeated(opening); err != nil {
		return nil, err
	}
	c.transcript = c.transcript.Add(raw)
	var d dialogue
	for range maxRounds {
		reply, err := c.exchange(ctx, link, raw)
		if err != nil {
			return nil, err
		}
		if errors.Is(refusalIn(reply), protocol.CodeReplayed) {
			reply = c.overtaken(ctx, link, raw, reply)
		}
		if g, ok := reply.(*protocol.Grant); ok {
			return a.accept(ctx, c, g)
		}
		if err := d.hear(c, reply); err != nil {
			return nil, err
		}
		if raw, err = a.answer(ctx, c, &d); err != nil {
			return nil, err
		}
		c.transcript = d.through.Add(raw)
	}
	return nil, fmt.Errorf("%w: more than %d rounds", ErrUnexpected, maxRounds)
}

// answer encodes the answer to the challenge that d stands at.
func (a *Agent) answer(ctx context.Context, c *call, d *dialogue) ([]byte, error) {
	body, err := protocol.DecodeChallengeBody(d.challenge.Body)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnexpected, err)
	}
	if c.issuer != "" && c.issuer != body.Issuer {
		return nil, fmt.Errorf("%w: the issuer changed from %q to %q", ErrUnexpected, c.issuer, body.Issuer)
	}
	c.issuer = body.Issuer
	if err := c.vouch(body); err != nil {
		return nil, err
	}
	t := &proof.Turn{Kind: body.Kind, Params: body.Params, SealTo: body.SealTo, Transcript: d.through}
	if c.enrolling != nil {
		t.Enrolling, t.Token = true, c.enrolling.Token
	}
	method := c.methods.For(body.Kind)
	d.guess = method.Guessable()
	m := &protocol.Answer{Head: protocol.Head{ID: c.id}, Session: d.challenge.Session, Opening: c.opening}
	if err := method.Answer(ctx, t, m); err != nil {
		return nil, err
	}
	return protocol.Encode(m)
}

// vouch refuses a challenge that wants its answer sealed to another key than the pinned
// anchor vouches for. That is so from the first call on: what a device lacks to judge the
// key, the challenge brings.
func (c *call) vouch(body *protocol.ChallengeBody) error {
	if body.SealTo == nil {
		return nil
	}
	s, err := c.believe(&body.PoolKeys, body.Issuer)
	if err != nil {
		return fmt.Errorf("challenge %q: key to seal the answer to: %w", body.Kind, err)
	}
	if !bytes.Equal(s.SealTo, body.SealTo) {
		return fmt.Errorf("%w: challenge %q wants its answer sealed to a key that is not the pool's", ErrUnexpected, body.Kind)
	}
	return nil
}
