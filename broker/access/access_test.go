package access_test

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/broker/access"
	"github.com/signetd/signet/protocol"
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
	client  broker.Client
	pool    broker.Pool
	alike   int
	err     error
	claims  token.Claims
	calls   int // to Tokens and Keys
}

func newStore(t *testing.T) *store {
	t.Helper()
	id, err := ident.ParseDevice("demo:lamp")
	if err != nil {
		t.Fatal(err)
	}
	return &store{
		device:  broker.Device{ID: id, Subject: owner, Status: broker.StatusActive, Rev: 7},
		session: broker.Session{ID: first, Device: id, Subject: owner, Created: noon, DeviceRev: 7, Client: "app", ClientSince: noon},
		client:  broker.Client{ID: "app", Created: noon},
		claims:  token.Claims{Subject: owner, OriginID: first, Expires: noon.Add(time.Hour)},
	}
}

func (s *store) Device(_ context.Context, id ident.Device) (broker.Device, error) {
	if s.err == nil && id != s.device.ID {
		return broker.Device{}, broker.ErrNotFound
	}
	return s.device, s.err
}

func (s *store) Pool(context.Context, ident.Pool) (*broker.Pool, error) { return &s.pool, s.err }

func (s *store) Client(_ context.Context, _ ident.Pool, id string) (*broker.Client, error) {
	if s.err == nil && id != s.client.ID {
		return nil, broker.ErrNotFound
	}
	return &s.client, s.err
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

func (s *store) Verify(_ context.Context, _ ident.Pool, shown []byte) (*token.Claims, string, error) {
	if s.calls++; string(shown) != "access token" {
		return nil, "", token.ErrType
	}
	return &s.claims, "access key", nil
}

func (s *store) VerifyMQTTPassword(_ context.Context, _ ident.Pool, shown []byte) (*token.Claims, string, error) {
	if s.calls++; string(shown) != "password" {
		return nil, "", token.ErrType
	}
	return &s.claims, "password key", nil
}

func (s *store) Confirms(_ *broker.Device, _ token.Confirmation, input, proof []byte) error {
	s.calls++
	if want := sha256.Sum256(input); string(proof) != string(want[:]) {
		return token.ErrSignature
	}
	return nil
}

// channel is the name of every connection here.
var channel = make([]byte, protocol.ChannelLen)

// proved is a connect that store.Confirms takes.
func proved(t *testing.T, id ident.Device) access.Connect {
	t.Helper()
	c := access.Connect{Device: id, ClientID: id.String() + "/2", Channel: access.Channel{Name: channel}}
	p := protocol.ConnectProof{Access: []byte("access token"), Channel: channel}
	proof := sha256.Sum256(p.Input(c.ClientID))
	p.Proof = proof[:]
	var err error
	if c.Password, err = protocol.EncodeConnectProof(&p); err != nil {
		t.Fatal(err)
	}
	return c
}

// admit asks by a connect proof and by an MQTT password: one rule for both.
func admit(t *testing.T, rule *access.Rule, id ident.Device) (access.Standing, error) {
	t.Helper()
	st, err := rule.Admit(t.Context(), proved(t, id))
	other, otherErr := rule.Admit(t.Context(), access.Connect{Device: id, Password: []byte("password")})
	if fmt.Sprint(err) != fmt.Sprint(otherErr) || st.Session != other.Session || st.DeviceRev != other.DeviceRev {
		t.Errorf("by a connect proof %+v, %v; by an MQTT password %+v, %v", st, err, other, otherErr)
	}
	return st, err
}

// changes are all that can become of a device and its session, and what the rule makes
// of each, for a standing from before and for its token.
var changes = map[string]struct {
	change func(*store)
	want   error
}{
	"nothing":                               {func(*store) {}, nil},
	"another write":                         {func(s *store) { s.device.Rev = 9 }, nil},
	"disabled":                              {func(s *store) { s.device.Status = broker.StatusDisabled }, broker.ErrInactive},
	"pending":                               {func(s *store) { s.device.Status = broker.StatusPending }, broker.ErrInactive},
	"revoked":                               {func(s *store) { s.device.EndSessions(noon.Add(time.Minute)) }, access.ErrEnded},
	"revoked by a slow clock":               {func(s *store) { s.device.EndSessions(noon.Add(-time.Hour)) }, access.ErrEnded},
	"revoked before":                        {func(s *store) { s.device.SessionsRev, s.device.SessionsAfter = 7, noon.Add(-1) }, nil},
	"revoked before by a clock years ahead": {func(s *store) { s.device.SessionsRev, s.device.SessionsAfter = 7, noon.AddDate(10, 0, 0) }, nil},
	"made again":                            {func(s *store) { s.device.Subject[15] = 9 }, access.ErrOther},
}

func TestStanding(t *testing.T) {
	for name, c := range changes {
		t.Run(name, func(t *testing.T) {
			s := newStore(t)
			rule := access.New(s, s, s)
			before, err := admit(t, rule, s.device.ID)
			if err != nil || before.Expires != noon.Add(time.Hour) || before.Session != first || len(before.Permissions.Publish) == 0 {
				t.Fatalf("%+v, %v", before, err)
			}
			c.change(s)
			if before.Holds(&s.device, nil) != (c.want == nil) || before.Holds(&s.device, &s.session) != (c.want == nil) {
				t.Errorf("holds: %v", c.want != nil)
			}
			if _, err := admit(t, rule, s.device.ID); !errors.Is(err, c.want) {
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
		rule := access.New(s, s, s)
		mine := access.Of(&s.session, noon.Add(time.Hour))
		other := mine
		other.Session = ident.UUID{15: 9}
		end(s)
		if _, err := admit(t, rule, s.device.ID); !errors.Is(err, access.ErrEnded) {
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

// TestClientIsGone: a session brings nothing in once its client was deleted, nor when another
// was made by that name, whatever the clock said then.
func TestClientIsGone(t *testing.T) {
	for name, change := range map[string]func(*store){
		"deleted": func(s *store) { s.client.ID = "another" }, "made again": func(s *store) { s.client.Created = noon.Add(time.Hour) },
		"made again by a clock set back": func(s *store) { s.client.Created = noon.Add(-time.Hour) },
	} {
		s := newStore(t)
		change(s)
		if _, err := admit(t, access.New(s, s, s), s.device.ID); !errors.Is(err, access.ErrEnded) {
			t.Errorf("%s: %v", name, err)
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
		if st, err := admit(t, access.New(s, s, s), id); !errors.Is(err, c.want) {
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
		before, err := admit(t, access.New(s, s, s), s.device.ID)
		if err != nil || before.Session != first {
			t.Fatalf("%s: %+v, %v", name, before, err)
		}
		c.change(s)
		if _, err := admit(t, access.New(s, s, s), s.device.ID); !errors.Is(err, c.want) {
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
		if st, err := admit(t, access.New(s, s, s), id); !errors.Is(err, c.want) {
			t.Errorf("%s: %+v, %v, want %v", name, st, err, c.want)
		}
	}
}

var errDisk = errors.New("disk on fire")

// TestReviewFails: what cannot be read is no judgement, and a device that is gone has nothing.
func TestReviewFails(t *testing.T) {
	s := newStore(t)
	rule := access.New(s, s, s)
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

// TestReviewPool: a standing ends when what it rests on is taken away, and by nothing else.
func TestReviewPool(t *testing.T) {
	s := newStore(t)
	s.session.Client = "app"
	rule := access.New(s, s, s)
	bearer, err := rule.Admit(t.Context(), access.Connect{Device: s.device.ID, Password: []byte("password")})
	if err != nil {
		t.Fatal(err)
	}
	proved, err := rule.Admit(t.Context(), proved(t, s.device.ID))
	if err != nil {
		t.Fatal(err)
	}
	login := access.Of(&s.session, noon)
	const pool, client = broker.RecordPool, broker.RecordKind("client")
	for name, c := range map[string]struct {
		life                  time.Duration
		err                   error
		kind                  broker.RecordKind
		what                  broker.What
		subject               string
		bearer, proved, login bool // hold
	}{
		"shorter lives":                {time.Minute, nil, pool, broker.WhatUpdate, "", true, true, true},
		"no passwords any more":        {0, nil, pool, broker.WhatUpdate, "", false, true, true},
		"nobody knows":                 {time.Minute, errDisk, pool, broker.WhatUpdate, "", false, true, true},
		"another anchor":               {time.Minute, nil, pool, broker.WhatRotateAnchor, "", true, true, true},
		"the password's key is gone":   {time.Minute, nil, broker.RecordKey, broker.WhatDelete, "password key", false, true, true},
		"the token's key is gone":      {time.Minute, nil, broker.RecordKey, broker.WhatDelete, "access key", true, false, true},
		"another key is gone":          {time.Minute, nil, broker.RecordKey, broker.WhatDelete, "other key", true, true, true},
		"a key is there":               {time.Minute, nil, broker.RecordKey, broker.WhatUpdate, "access key", true, true, true},
		"the client is gone":           {time.Minute, nil, client, broker.WhatDelete, "app", false, false, false},
		"another client is gone":       {time.Minute, nil, client, broker.WhatDelete, "default", true, true, true},
		"the client is another":        {time.Minute, nil, client, broker.WhatUpdate, "app", true, true, true},
		"a flow of that name is gone":  {time.Minute, nil, "flow", broker.WhatDelete, "app", true, true, true},
		"a group of that name is gone": {time.Minute, nil, "group", broker.WhatDelete, "app", true, true, true},
	} {
		s.pool.MQTTPasswordLife, s.err = c.life, c.err
		judge, any := rule.ReviewPool(t.Context(), &broker.Record{Kind: c.kind, What: c.what, Subject: c.subject})
		holds := func(st access.Standing) bool {
			if !any {
				return true
			}
			_, ok := judge(st)
			return ok
		}
		if b, p, l := holds(bearer), holds(proved), holds(login); b != c.bearer || p != c.proved || l != c.login {
			t.Errorf("%s: by a password %v, by a proof %v, by a login %v, want %v, %v, %v", name, b, p, l, c.bearer, c.proved, c.login)
		}
	}
}

// TestNoBearer: a token alone admits nobody, and a connect proof nobody on another
// connection, under another client id or with another token.
func TestNoBearer(t *testing.T) {
	s := newStore(t)
	rule := access.New(s, s, s)
	good := proved(t, s.device.ID)
	other := append([]byte{1}, channel[1:]...)
	jwt := proved(t, s.device.ID)
	p := protocol.ConnectProof{Access: []byte("another token"), Channel: channel, Proof: make([]byte, 32)}
	var err error
	if jwt.Password, err = protocol.EncodeConnectProof(&p); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		change func(*access.Connect)
		want   error
		calls  int // at most, of what costs
	}{
		"nothing changed":                        {func(*access.Connect) {}, nil, 2},
		"the token alone":                        {func(c *access.Connect) { c.Password = []byte("access token") }, access.ErrBearer, 1},
		"no password":                            {func(c *access.Connect) { c.Password = nil }, access.ErrBearer, 1},
		"another connection":                     {func(c *access.Connect) { c.Channel.Name = other }, access.ErrProof, 0},
		"no connection":                          {func(c *access.Connect) { c.Channel.Name = nil }, access.ErrChannel, 0},
		"half a connection":                      {func(c *access.Connect) { c.Channel.Name = channel[:16] }, access.ErrChannel, 0},
		"the operator's balancer's":              {func(c *access.Connect) { c.Channel = access.Channel{Name: other, Vouched: true} }, nil, 2},
		"the operator's balancer's, without TLS": {func(c *access.Connect) { c.Channel = access.Channel{Vouched: true} }, nil, 2},
		"another client id":                      {func(c *access.Connect) { c.ClientID = c.Device.String() }, access.ErrProof, 2},
		"no client id":                           {func(c *access.Connect) { c.ClientID = "" }, access.ErrProof, 2},
		"another token":                          {func(c *access.Connect) { c.Password = jwt.Password }, access.ErrToken, 1},
		"one byte more":                          {func(c *access.Connect) { c.Password = append(c.Password[:len(c.Password):len(c.Password)], 0) }, access.ErrProof, 0},
		"too long":                               {func(c *access.Connect) { c.Password = make([]byte, protocol.MaxConnect+1) }, access.ErrToken, 0},
	} {
		connect := good
		c.change(&connect)
		s.calls = 0
		if _, err := rule.Admit(t.Context(), connect); !errors.Is(err, c.want) || s.calls > c.calls {
			t.Errorf("%s: %v after %d checks, want %v after at most %d", name, err, s.calls, c.want, c.calls)
		}
	}
}

// TestHowLong: a connect proof lasts as long as its token, an MQTT password as long as its
// session.
func TestHowLong(t *testing.T) {
	s := newStore(t)
	s.claims.Expires = noon.Add(10 * time.Minute)
	rule := access.New(s, s, s)
	for _, life := range []time.Duration{0, 24 * time.Hour} {
		until := s.claims.Expires // of a session that cannot be refreshed
		if s.session.Expires = (time.Time{}); life != 0 {
			s.session.Expires = noon.Add(life)
			until = s.session.Expires
		}
		st, err := rule.Admit(t.Context(), access.Connect{Device: s.device.ID, Password: []byte("password")})
		if err != nil || !st.Expires.Equal(until) {
			t.Errorf("by an MQTT password until %v, %v; want %v", st.Expires, err, until)
		}
		if st, err = rule.Admit(t.Context(), proved(t, s.device.ID)); err != nil || !st.Expires.Equal(s.claims.Expires) {
			t.Errorf("by a connect proof until %v, %v", st.Expires, err)
		}
	}
}

// TestWhatWaits: what a standing comes to that does not hold says what may wait for its device: what it may without any
// login, unless it is another device, or may nothing.
func TestWhatWaits(t *testing.T) {
	for name, c := range changes {
		s := newStore(t)
		rule := access.New(s, s, s)
		before, err := admit(t, rule, s.device.ID)
		if err != nil {
			t.Fatal(err)
		}
		recalled, err := rule.Recall(t.Context(), s.device.ID)
		if err != nil {
			t.Fatal(err)
		}
		c.change(s)
		judge, _, err := rule.Review(t.Context(), s.device.ID, ident.UUID{})
		if err != nil {
			t.Fatal(err)
		}
		now, ok := judge(before)
		waits := ok || errors.Is(c.want, access.ErrEnded)
		if (now.Device == s.device.ID) != waits || (len(now.Permissions.Subscribe) > 0) != waits || !ok && !now.Session.IsZero() {
			t.Errorf("%s: %+v, %v", name, now, ok)
		}
		if again, ok := judge(recalled); ok != (c.want == nil) || (again.Device == s.device.ID) != waits {
			t.Errorf("%s, of one without a login: %+v, %v", name, again, ok)
		}
	}
	st := access.Standing{Session: first, Key: "k"}
	if now, ok := access.EndOf(first)(st); ok || now.Session != first {
		t.Errorf("a session that its device ended: %+v, %v", now, ok)
	}
	s := newStore(t)
	judge, _ := access.New(s, s, s).ReviewPool(t.Context(), &broker.Record{Kind: broker.RecordKey, What: broker.WhatDelete, Subject: "k"})
	if now, ok := judge(st); ok || !now.Session.IsZero() {
		t.Errorf("of a key that is gone: %+v, %v", now, ok)
	}
}
