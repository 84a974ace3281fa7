package access_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/broker/access"
	"github.com/signetd/signet/protocol/ident"
	"github.com/signetd/signet/protocol/token"
)

var (
	noon  = time.Unix(1e9, 0)
	owner = ident.UUID{6: 0x70, 15: 1}
	first = ident.UUID{5: 1, 6: 0x70, 15: 2}
)

// A store holds one device and one session, as the test wants them, and how many more
// of the device begin like it.
type store struct {
	device  broker.Device
	session broker.Session
	alike   int
	err     error
	claims  token.Claims
}

func newStore(t *testing.T) *store {
	t.Helper()
	id, err := ident.ParseDevice("demo:lamp")
	if err != nil {
		t.Fatal(err)
	}
	return &store{
		device:  broker.Device{ID: id, Subject: owner, Status: broker.StatusActive, Rev: 7},
		session: broker.Session{ID: first, Device: id, Subject: owner, Created: noon, DeviceRev: 7},
		claims:  token.Claims{Subject: owner, OriginID: first, Expires: noon.Add(time.Hour)},
	}
}

func (s *store) Device(_ context.Context, id ident.Device) (broker.Device, error) {
	if s.err == nil && id != s.device.ID {
		return broker.Device{}, broker.ErrNotFound
	}
	return s.device, s.err
}

func (s *store) Session(_ context.Context, id ident.UUID) (broker.Session, error) {
	if s.err == nil && id != s.session.ID {
		return broker.Session{}, broker.ErrNotFound
	}
	return s.session, s.err
}

func (s *store) SessionsLike(_ context.Context, id ident.Device, prefix ident.UUIDPrefix) ([]broker.Session, error) {
	if s.err == nil && (id != s.session.Device || prefix != s.session.ID.Prefix()) {
		return nil, broker.ErrNotFound
	}
	all := []broker.Session{s.session}
	for i := range s.alike {
		another := s.session
		another.ID[15] = byte(100 + i)
		all = append(all, another)
	}
	return all, s.err
}

func (s *store) Verify(context.Context, ident.Pool, []byte) (*token.Claims, error) {
	return &s.claims, nil
}

// changes are all that can become of a device and its session, and what the rule makes
// of each, for a standing from before and for its token.
var changes = map[string]struct {
	change func(*store)
	want   error
}{
	"nothing":                 {func(*store) {}, nil},
	"another write":           {func(s *store) { s.device.Rev = 9 }, nil},
	"disabled":                {func(s *store) { s.device.Status = broker.StatusDisabled }, broker.ErrInactive},
	"pending":                 {func(s *store) { s.device.Status = broker.StatusPending }, broker.ErrInactive},
	"revoked":                 {func(s *store) { s.device.EndSessions(noon.Add(time.Minute)) }, access.ErrEnded},
	"revoked by a slow clock": {func(s *store) { s.device.EndSessions(noon.Add(-time.Hour)) }, access.ErrEnded},
	"revoked before":          {func(s *store) { s.device.SessionsRev, s.device.SessionsAfter = 7, noon.Add(-1) }, nil},
	"revoked at its moment":   {func(s *store) { s.device.SessionsAfter = noon }, access.ErrEnded},
	"made again":              {func(s *store) { s.device.Subject[15] = 9 }, access.ErrOther},
}

func TestStanding(t *testing.T) {
	for name, c := range changes {
		t.Run(name, func(t *testing.T) {
			s := newStore(t)
			rule := access.New(s, s)
			before, err := rule.Admit(t.Context(), s.device.ID, nil)
			if err != nil || before.Expires != noon.Add(time.Hour) || before.Session != first || len(before.Permissions.Publish) == 0 {
				t.Fatalf("%+v, %v", before, err)
			}
			c.change(s)
			if before.Holds(&s.device, nil) != (c.want == nil) || before.Holds(&s.device, &s.session) != (c.want == nil) {
				t.Errorf("holds: %v", c.want != nil)
			}
			if _, err := rule.Admit(t.Context(), s.device.ID, nil); !errors.Is(err, c.want) {
				t.Errorf("admitted: %v, want %v", err, c.want)
			}
			judge, active, err := rule.Review(t.Context(), s.device.ID, ident.UUID{})
			if err != nil || active != !errors.Is(c.want, broker.ErrInactive) {
				t.Fatalf("review: active %v, %v", active, err)
			}
			if now, ok := judge(before); ok != (c.want == nil) || ok && now.Session != first {
				t.Errorf("reviewed: %v, %+v", ok, now)
			}
		})
	}
}

// TestOneSession: what became of a session alone is known of that session alone.
func TestOneSession(t *testing.T) {
	for name, end := range map[string]func(*store){
		"revoked": func(s *store) { s.session.Revoked = true }, "gone": func(s *store) { s.session.ID = ident.UUID{1} },
	} {
		s := newStore(t)
		rule := access.New(s, s)
		mine := access.Of(&s.session, noon.Add(time.Hour))
		other := mine
		other.Session = ident.UUID{15: 9}
		end(s)
		if _, err := rule.Admit(t.Context(), s.device.ID, nil); !errors.Is(err, access.ErrEnded) {
			t.Errorf("%s: admitted: %v", name, err)
		}
		judge, _, err := rule.Review(t.Context(), s.device.ID, first)
		if err != nil {
			t.Fatal(err)
		}
		if _, ok := judge(mine); ok {
			t.Errorf("%s: its standing holds", name)
		}
		if _, ok := judge(other); !ok {
			t.Errorf("%s: another session's standing does not hold", name)
		}
		if other.Holds(&s.device, &s.session) {
			t.Errorf("%s: a standing holds by another session", name)
		}
	}
}

// TestTokens: a token counts for the device and the session that it names.
func TestTokens(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*store)
		want   error
	}{
		"no session":        {func(s *store) { s.claims.OriginID = ident.UUID{} }, access.ErrToken},
		"another subject":   {func(s *store) { s.claims.Subject[15] = 9 }, access.ErrOther},
		"another's session": {func(s *store) { s.session.Device = ident.Device{Pool: s.device.ID.Pool} }, access.ErrOther},
		"disk on fire":      {func(s *store) { s.err = errDisk }, errDisk},
	} {
		s := newStore(t)
		id := s.device.ID
		c.change(s)
		if st, err := access.New(s, s).Admit(t.Context(), id, nil); !errors.Is(err, c.want) {
			t.Errorf("%s: %+v, %v, want %v", name, st, err, c.want)
		}
	}
}

// TestCompactTokens: a token that names its session by the beginning of the id counts
// as one that says all of it, for the one session of its own device that begins so.
func TestCompactTokens(t *testing.T) {
	compact := func(c *token.Claims) {
		c.ID = []byte("the id's end")
		*c = *c.Compact()
	}
	for name, c := range changes {
		s := newStore(t)
		compact(&s.claims)
		before, err := access.New(s, s).Admit(t.Context(), s.device.ID, nil)
		if err != nil || before.Session != first {
			t.Fatalf("%s: %+v, %v", name, before, err)
		}
		c.change(s)
		if _, err := access.New(s, s).Admit(t.Context(), s.device.ID, nil); !errors.Is(err, c.want) {
			t.Errorf("%s: %v, want %v", name, err, c.want)
		}
	}
	for name, c := range map[string]struct {
		change func(*store)
		want   error
	}{
		"revoked":                 {func(s *store) { s.session.Revoked = true }, access.ErrEnded},
		"gone":                    {func(s *store) { s.session.ID[5]++ }, access.ErrEnded},
		"another's":               {func(s *store) { s.session.Device = ident.Device{Pool: s.device.ID.Pool} }, access.ErrEnded},
		"another subject":         {func(s *store) { s.claims.Subject[15] = 9 }, access.ErrOther},
		"two that begin alike":    {func(s *store) { s.alike = 1 }, access.ErrToken},
		"an id that is too short": {func(s *store) { s.claims.ID = s.claims.ID[:11] }, access.ErrToken},
		"an id that is too long":  {func(s *store) { s.claims.ID = append(s.claims.ID, 0) }, access.ErrToken},
		"a JWT's id":              {func(s *store) { s.claims.Confirmation.JKT = make([]byte, 32) }, access.ErrToken},
		"disk on fire":            {func(s *store) { s.err = errDisk }, errDisk},
	} {
		s := newStore(t)
		id := s.device.ID
		compact(&s.claims)
		c.change(s)
		if st, err := access.New(s, s).Admit(t.Context(), id, nil); !errors.Is(err, c.want) {
			t.Errorf("%s: %+v, %v, want %v", name, st, err, c.want)
		}
	}
}

var errDisk = errors.New("disk on fire")

// TestReviewFails: what cannot be read is no judgement, and a device that is gone has nothing.
func TestReviewFails(t *testing.T) {
	s := newStore(t)
	rule := access.New(s, s)
	st := access.Of(&s.session, noon)
	s.device.ID = ident.Device{}
	judge, active, err := rule.Review(t.Context(), st.Device, ident.UUID{})
	if err != nil || active {
		t.Fatal(active, err)
	}
	if _, ok := judge(st); ok {
		t.Error("a deleted device's standing holds")
	}
	s.err = errDisk
	if _, active, err := rule.Review(t.Context(), st.Device, first); !errors.Is(err, errDisk) || active {
		t.Errorf("active %v, %v", active, err)
	}
}
