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

// WrongAnswer is the error of a guessable answer that is wrong, or that comes too early.
// While tries are left, the same session may be answered again.
type WrongAnswer struct {
	TriesLeft int
	Wait      time.Duration // until the next try is allowed; 0: it is allowed now, or never
}

func (e *WrongAnswer) Error() string {
	if e.Wait > 0 {
		return fmt.Sprintf("too many wrong answers, the next may come in %v", e.Wait)
	}
	return fmt.Sprintf("wrong answer, %d tries left", e.TriesLeft)
}

// Unwrap gives the protocol.Code for the device.
func (e *WrongAnswer) Unwrap() error {
	switch {
	case e.Wait > 0:
		return protocol.CodeTries
	case e.TriesLeft <= 0:
		return protocol.CodeDenied
	}
	return protocol.CodeWrongAnswer
}

// checkGuess checks a guessable answer after counting the try: otherwise a stranger could
// send the same session again, or open another, as often as it takes. A device that waits
// long repeats its answer; while the first copy is checked, the others wait for the same
// verdict and count as one try.
func (f *Flows) checkGuess(ctx context.Context, t *Turn, method Method, m *protocol.Answer) (Result, error) {
	v, err, _ := f.checks.Do(string(t.pending.Exchange[:])+string(t.withMessage[:]), func() (any, error) {
		// Others may wait for this verdict, so the first caller's end does not end the check. Hooks have deadlines.
		return f.countAndCheck(context.WithoutCancel(ctx), t, method, m)
	})
	if err != nil {
		return Result{}, err
	}
	return v.(Result), nil
}

// countAndCheck counts one try and has method check the answer. In a flow with a list of
// steps a wrong answer is an error, WrongAnswer; a define hook decides itself what
// follows one.
func (f *Flows) countAndCheck(ctx context.Context, t *Turn, method Method, m *protocol.Answer) (Result, error) {
	of, err := f.tryAccount(ctx, t, m)
	if err != nil {
		return Result{}, err
	}
	if err := t.mayGoOn(ctx); err != nil { // it was disabled since it was asked
		return Result{}, err
	}
	of.What = guessedAt(method, t.pending.Hook)
	by, mark := broker.By{Actor: broker.ActorBroker, Request: hex.EncodeToString(t.pending.Call[:])}, broker.TryMark(t.withMessage[:])
	if of.Exchange.IsZero() {
		by.Actor = broker.DeviceActor(of.Device)
	}
	tried, err := f.tries.Try(ctx, by, of, mark, t.now)
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
		err := f.tries.Accept(ctx, by, of, mark, r.Step)
		if err == nil || !errors.Is(err, broker.ErrUsed) {
			return r, err
		}
		r.OK = false // the code is right, but was used before
	}
	flow, err := t.Flow(ctx)
	if err != nil {
		return r, err
	}
	if _, decided := flow.After(len(t.pending.Results)); decided {
		return r, nil
	}
	wrong := &WrongAnswer{TriesLeft: max(0, broker.FreeTries-tried.N)}
	if of.Exchange.IsZero() {
		wrong.Wait = broker.WaitAfter(tried.N)
	}
	return Result{}, wrong
}

// tryAccount says what a try is counted for: the device once its key is proven, before
// that the exchange alone. A try for the device must carry a proof by that key. Without
// one, whoever stands in between could send the session again and use up the device's
// tries.
func (f *Flows) tryAccount(ctx context.Context, t *Turn, m *protocol.Answer) (broker.TryOf, error) {
	of := broker.TryOf{Device: t.Claimed()}
	input := protocol.SecretInput(t.pending.Transcript, m.Secret)
	switch {
	case t.pending.Prover != nil:
		d, err := t.Device(ctx)
		if err != nil {
			return of, err
		}
		prover, err := provedBefore(t.pending, d)
		if err != nil {
			return of, err
		}
		p, err := f.methods.possession(prover.Kind)
		if err != nil {
			return of, err
		}
		_, err = p.Prover(&broker.Device{ID: d.ID, Authenticators: []broker.Authenticator{*prover}}, t.Claimed(), input, m.Proof)
		return of, err
	case t.Proven(): // the new key of an enrollment
		key, err := t.NewKey()
		if err != nil {
			return of, err
		}
		of.Enroll = t.enrollTokenID()
		if err := key.Verify(input, m.Proof); err != nil {
			return of, fmt.Errorf("proof of a secret answer: %w: %w", err, ErrProof)
		}
		return of, nil
	}
	return broker.TryOf{Device: t.Claimed(), Exchange: t.pending.Exchange}, nil
}

// guessedAt names the secret that is guessed at: tries are counted for each by itself.
func guessedAt(method Method, hook string) string {
	if hook != "" {
		return "hook:" + hook
	}
	return method.Name()
}

// settle sets the device's counts of wrong tries back once it has passed its flow.
func (f *Flows) settle(ctx context.Context, t *Turn) error {
	var ofs []broker.TryOf
	for _, r := range t.pending.Results {
		m := f.methods.named[r.Name]
		if r.Hook == "" && (m == nil || !m.Guessable()) {
			continue
		}
		of := broker.TryOf{Device: t.Claimed(), Enroll: t.enrollTokenID(), What: guessedAt(m, r.Hook)}
		ofs = append(ofs, of)
	}
	if len(ofs) == 0 {
		return nil
	}
	by := broker.By{Actor: broker.DeviceActor(t.Claimed()), Request: hex.EncodeToString(t.pending.Call[:])}
	if err := f.tries.Settle(ctx, by, ofs); err != nil {
		return fmt.Errorf("settle tries: %w", err)
	}
	return nil
}
