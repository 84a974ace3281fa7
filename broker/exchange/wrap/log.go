package wrap

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/broker/exchange"
	"github.com/signetd/signet/broker/tally"
	"github.com/signetd/signet/protocol"
)

// Log logs refusals with their causes, of each code the first and then sums, because anybody
// can bring them about at any rate; and enrollments. Logins are logged at level debug
// only: a fleet of millions would log nothing else.
func Log(next exchange.Handler, log *slog.Logger) exchange.Handler {
	told := tally.New(log)
	return exchange.HandlerFunc(func(ctx context.Context, from exchange.Caller, m protocol.Message) exchange.Outcome {
		out := next.Handle(ctx, from, m)
		if out.KeyReplaced != "" {
			log.WarnContext(ctx, "another key in the place of a device's own, by an enrollment token", "device", out.Claimed.String(),
				"enrollment", out.KeyReplaced, "remote", from.Remote)
		}
		if out.Cloned != nil {
			logClone(ctx, told, from, &out)
		}
		if _, paced := errors.AsType[*exchange.TooOften](out.Err); paced { // a device can bring that about at any rate
			told.Note(ctx, slog.LevelWarn, "paced", "answered busy: too many logins or renewals", "device", out.Claimed.String(), "remote", from.Remote, "err", out.Err)
			return out
		}
		switch {
		case out.Err != nil:
			logRefusal(ctx, told, from, m, &out)
		case out.Admitted != nil && !out.Admitted.Refreshed:
			logLogin(ctx, log, from, out.Admitted)
		}
		return out
	})
}

func logLogin(ctx context.Context, log *slog.Logger, from exchange.Caller, a *exchange.Admission) {
	level, did := slog.LevelDebug, "authenticated"
	if a.Enrolled {
		level, did = slog.LevelInfo, "enrolled"
	}
	if !log.Enabled(ctx, level) {
		return
	}
	st := &a.Standing
	log.Log(ctx, level, did, "device", st.Device.String(), "sub", st.Subject.String(), "session", st.Session.String(), "remote", from.Remote)
}

// logClone tells that a device's key is in use twice. With each login of either copy it comes
// again, so it is summed up by device.
func logClone(ctx context.Context, told *tally.Log, from exchange.Caller, out *exchange.Outcome) {
	id := out.Claimed
	attrs := []any{"device", id.String(), "remote", from.Remote, "other", out.Cloned.Other.String()}
	if at := out.Cloned.OtherFrom; at != "" {
		attrs = append(attrs, "other_remote", at)
	}
	if out.Admitted != nil {
		attrs = append(attrs, "session", out.Admitted.Standing.Session.String())
	}
	if out.Cloned.Quarantined {
		attrs = append(attrs, "quarantined", true, "release", fmt.Sprintf("signet device enable %s --pool %s", id.Name, id.Pool))
	}
	told.Note(ctx, slog.LevelWarn, "clone "+id.String(), "a device was cloned: "+broker.ReasonCloned, attrs...)
}

func logRefusal(ctx context.Context, told *tally.Log, from exchange.Caller, m protocol.Message, out *exchange.Outcome) {
	who, call := "", m.Call()
	if !out.Claimed.IsZero() {
		who = out.Claimed.String()
	}
	if !out.Ended.IsZero() {
		told.Note(ctx, slog.LevelInfo, "reuse "+who, "refresh token used again after it was replaced: session ended, the device logs in anew", "device", who, "session", out.Ended.String())
	}
	level := slog.LevelInfo
	if out.Code == protocol.CodeInternal || errors.Is(out.Err, broker.ErrFull) { // an operator must hear of it
		level = slog.LevelError
	}
	told.Note(ctx, level, "refused "+step(m)+" "+out.Code.String()+" "+level.String(), "refused", "device", who, "code", out.Code.String(), "err", out.Err,
		"type", int(m.Type()), "call", hex.EncodeToString(call[:]), "remote", from.Remote)
}
