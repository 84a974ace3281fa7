package auth

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/protocol"
)

// WrongAnswer refuses a guessable answer; while tries are left, the same session may
// be answered again.
type WrongAnswer struct {
	TriesLeft int
	Wait      time.Duration // before the next try, when none is left now
}

func (e *WrongAnswer) Error() string {
	if e.Wait > 0 {
		return fmt.Sprintf("too many wrong answers, the next may come in %v", e.Wait)
	}
	return fmt.Sprintf("wrong answer, %d tries left", e.TriesLeft)
}

// Unwrap gives the code for the device.
func (e *WrongAnswer) Unwrap() error {
	switch {
	case e.Wait > 0:
		return protocol.CodeTries
	case e.TriesLeft <= 0:
		return protocol.CodeDenied
	}
	return protocol.CodeWrongAnswer
}

// guess has an answer looked at that might be found by trying, after the try is
// counted: a session can be sent again, and another opened. A device that waits long
// repeats its answer; while the first copy is being looked at, the others wait for
// the same verdict.
func (a *Authenticator) guess(ctx context.Context, t *Turn, method Method, m *protocol.Answer) (Result, error) {
	v, err, _ := a.trying.Do(string(t.s.Exchange[:])+string(t.said[:]), func() (any, error) {
		// The others' answer too: it is not for the first caller to call off. Hooks have deadlines.
		return a.try(context.WithoutCancel(ctx), t, method, m)
	})
	if err != nil {
		return Result{}, err
	}
	return v.(Result), nil
}

// try counts one try and judges the answer. Where the flow is a list, a wrong answer
// is an error; a define hook decides on it itself.
func (a *Authenticator) try(ctx context.Context, t *Turn, method Method, m *protocol.Answer) (Result, error) {
	of, err := a.guesser(ctx, t, m)
	if err != nil {
		return Result{}, err
	}
	of.What = guessed(method, t.s.Hook)
	by, mark := broker.By{Actor: broker.ActorBroker, Request: hex.EncodeToString(t.s.Call[:])}, broker.TryMark(t.said[:])
	if of.Exchange.IsZero() {
		by.Actor = broker.DeviceActor(of.Device)
	}
	tried, err := a.tries.Try(ctx, by, of, mark, t.now)
	if err != nil {
		return Result{}, fmt.Errorf("count try: %w", err)
	}
	switch {
	case !of.Exchange.IsZero() && (tried.Wait > 0 || tried.N > MaxTries): // no patience earns a further one
		return Result{}, fmt.Errorf("more than %d tries in one exchange: %w", MaxTries, protocol.CodeDenied)
	case tried.Wait > 0:
		return Result{}, &WrongAnswer{Wait: tried.Wait}
	}
	r, err := method.Check(ctx, t, m)
	if err != nil {
		return Result{}, err
	}
	if r.OK {
		err := a.tries.Right(ctx, by, of, mark, r.Step)
		if err == nil || !errors.Is(err, broker.ErrUsed) {
			return r, err
		}
		r.OK = false // a code that was good once
	}
	flow, err := t.Flow(ctx)
	if err != nil || flow.Define != "" {
		return r, err
	}
	wrong := &WrongAnswer{TriesLeft: max(0, broker.FreeTries-tried.N)}
	if of.Exchange.IsZero() {
		wrong.Wait = broker.WaitAfter(tried.N)
	}
	return Result{}, wrong
}

// guesser tells on whose account an answer is tried, and refuses one that somebody
// else than the holder of the key gave: whoever stands in between can send a session
// again, but not in the device's name.
func (a *Authenticator) guesser(ctx context.Context, t *Turn, m *protocol.Answer) (broker.TryOf, error) {
	of := broker.TryOf{Device: t.Claimed()}
	input := protocol.SecretInput(t.s.Transcript, m.Secret)
	switch {
	case t.s.Prover != nil:
		d, err := t.Device(ctx)
		if err != nil {
			return of, err
		}
		by, err := prover(t.s, d)
		if err != nil {
			return of, err
		}
		p, err := a.methods.possession(by.Kind)
		if err != nil {
			return of, err
		}
		_, err = p.Prover(&broker.Device{ID: d.ID, Authenticators: []broker.Authenticator{*by}}, t.Claimed(), input, m.Proof)
		return of, err
	case t.Proven(): // by the key that an enrolment brings
		key, err := t.NewKey()
		if err != nil {
			return of, err
		}
		of.Enrol = t.enrolTokenID()
		if err := key.Verify(input, m.Proof); err != nil {
			return of, fmt.Errorf("proof of a secret answer: %w: %w", err, ErrProof)
		}
		return of, nil
	}
	return broker.TryOf{Device: t.Claimed(), Exchange: t.s.Exchange}, nil
}

// guessed names what is guessed at.
func guessed(method Method, hook string) string {
	if hook != "" {
		return "hook:" + hook
	}
	return method.Name()
}

// settle forgets the wrong tries that led to a flow's end: the device got there.
func (a *Authenticator) settle(ctx context.Context, t *Turn) error {
	var ofs []broker.TryOf
	flow, err := t.Flow(ctx)
	if err != nil {
		return err
	}
	for _, r := range t.s.Results {
		hook := flow.Define
		if hook == "" {
			hook = r.Name
		}
		m := a.methods.named[r.Name]
		switch {
		case m != nil && !m.Guessable():
			continue
		case m != nil:
			hook = ""
		}
		of := broker.TryOf{Device: t.Claimed(), Enrol: t.enrolTokenID(), What: guessed(m, hook)}
		ofs = append(ofs, of)
	}
	if len(ofs) == 0 {
		return nil
	}
	by := broker.By{Actor: broker.DeviceActor(t.Claimed()), Request: hex.EncodeToString(t.s.Call[:])}
	if err := a.tries.Settle(ctx, by, ofs); err != nil {
		return fmt.Errorf("settle tries: %w", err)
	}
	return nil
}
