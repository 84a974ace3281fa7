package test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/signetd/signet/agent"
	"github.com/signetd/signet/broker/auth"
	"github.com/signetd/signet/protocol"
	"github.com/signetd/signet/test/harness"
)

// lateLink moves the broker's clock on before each answer.
type lateLink struct {
	*harness.Signet
	by time.Duration
}

func (l *lateLink) RoundTrip(ctx context.Context, request []byte) ([]byte, error) {
	if m, err := protocol.Decode(request); err == nil && m.Type() == protocol.TypeAnswer {
		l.Offset += l.by
	}
	return l.Signet.RoundTrip(ctx, request)
}

// TestChallengeExpires: a challenge may be answered for three minutes, also within
// the hour of its sealing key.
func TestChallengeExpires(t *testing.T) {
	s := harness.New(t)
	a := enrolled(t, s, "lamp-1", harness.NewP256(t))
	if _, err := a.Authenticate(t.Context(), &lateLink{Signet: s, by: auth.SessionLife - time.Second}, agent.Ask{}); err != nil {
		t.Errorf("just in time: %v", err)
	}
	if _, err := a.Authenticate(t.Context(), &lateLink{Signet: s, by: auth.SessionLife + time.Second}, agent.Ask{}); !errors.Is(err, protocol.CodeExpired) {
		t.Errorf("too late: %v, want expired", err)
	}
}
