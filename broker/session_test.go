package broker_test

import (
	"errors"
	"testing"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/protocol/ident"
	"github.com/signetd/signet/protocol/ident/identtest"
)

func TestLoginValidate(t *testing.T) {
	other := sound(t)
	name := identtest.Name(t, "lamp-2")
	other.ID.Name = name
	for what, c := range map[string]struct {
		spoil func(*broker.Login)
		ok    bool
	}{
		"an enrollment":      {func(*broker.Login) {}, true},
		"a login":            {func(l *broker.Login) { l.Enroll = nil }, true},
		"no exchange":        {func(l *broker.Login) { l.Session.ID = ident.UUID{} }, false},
		"no device":          {func(l *broker.Login) { l.Enroll, l.Session.Device = nil, ident.Device{} }, false},
		"of another device":  {func(l *broker.Login) { l.Enroll.Device = other }, false},
		"without a key":      {func(l *broker.Login) { l.Enroll.Device.Authenticators = nil }, false},
		"a shared key only":  {func(l *broker.Login) { l.Enroll.Device.Authenticators = []broker.Authenticator{shared(1)} }, false},
		"an unsound device":  {func(l *broker.Login) { l.Enroll.Device.Status = "?" }, false},
		"without a subject":  {func(l *broker.Login) { l.Enroll.Device.Subject = ident.UUID{} }, false},
		"a pending device":   {func(l *broker.Login) { l.Enroll.Device.Status = broker.StatusPending }, true},
		"without any token":  {func(l *broker.Login) { l.Enroll.TokenID = "" }, true},
		"a session's client": {func(l *broker.Login) { l.Session.Client = "app" }, true},
	} {
		l := enrollment(t)
		c.spoil(&l)
		if err := l.Validate(); (err == nil) != c.ok || err != nil && !errors.Is(err, broker.ErrInvalid) {
			t.Errorf("%s: %v", what, err)
		}
	}
}

func TestRecordedAllows(t *testing.T) {
	of := func(n byte) *broker.Session { return &broker.Session{Subject: ident.UUID{n}} }
	for _, s := range []broker.Status{broker.StatusPending, broker.StatusDisabled, broker.StatusQuarantined, ""} {
		r := broker.Recorded{Status: s, Subject: ident.UUID{1}}
		for n := range byte(3) {
			if err := r.Allows(of(n)); !errors.Is(err, broker.ErrInactive) {
				t.Errorf("%q device: %v", s, err)
			}
		}
	}
	r := broker.Recorded{Status: broker.StatusActive, Subject: ident.UUID{1}}
	for n, want := range map[byte]error{0: nil, 1: nil, 2: broker.ErrNotFound} {
		if err := r.Allows(of(n)); !errors.Is(err, want) {
			t.Errorf("a session of subject %d: %v, want %v", n, err, want)
		}
	}
}

func TestBecomes(t *testing.T) {
	p := broker.Pool{Issuer: "https://x", Anchor: []byte{1}, AnchorSealed: []byte{2}, AnswerSealed: []byte{3}}
	for what, c := range map[string]struct {
		change func(*broker.Pool)
		ok     bool
	}{
		"flow":         {func(n *broker.Pool) { n.Flow = "two" }, true},
		"name":         {func(n *broker.Pool) { n.Name = sound(t).ID.Pool }, false},
		"issuer":       {func(n *broker.Pool) { n.Issuer += "/" }, false},
		"anchor":       {func(n *broker.Pool) { n.Anchor = nil }, false},
		"anchor's key": {func(n *broker.Pool) { n.AnchorSealed = []byte{9} }, false},
		"answer key":   {func(n *broker.Pool) { n.AnswerSealed = []byte{9} }, false},
	} {
		next := p
		c.change(&next)
		if err := p.Becomes(&next); (err == nil) != c.ok || err != nil && !errors.Is(err, broker.ErrInvalid) {
			t.Errorf("pool's %s: %v", what, err)
		}
	}
	d := sound(t)
	for what, c := range map[string]struct {
		change func(*broker.Device)
		ok     bool
	}{
		"all else": {func(n *broker.Device) { n.Status, n.Groups, n.Authenticators = broker.StatusDisabled, nil, nil }, true},
		"name":     {func(n *broker.Device) { n.ID = ident.Device{} }, false},
		"subject":  {func(n *broker.Device) { n.Subject = ident.UUID{9} }, false},
	} {
		next := d
		c.change(&next)
		if err := d.Becomes(&next); (err == nil) != c.ok || err != nil && !errors.Is(err, broker.ErrInvalid) {
			t.Errorf("device's %s: %v", what, err)
		}
	}
	s := broker.Session{ID: ident.UUID{1}, Device: d.ID, Subject: d.Subject}
	for what, c := range map[string]struct {
		change func(*broker.Session)
		ok     bool
	}{
		"all else": {func(n *broker.Session) { n.Revoked, n.Generation = true, 9 }, true},
		"id":       {func(n *broker.Session) { n.ID = ident.UUID{9} }, false},
		"device":   {func(n *broker.Session) { n.Device = ident.Device{} }, false},
		"subject":  {func(n *broker.Session) { n.Subject = ident.UUID{9} }, false},
	} {
		next := s
		c.change(&next)
		if err := s.Becomes(&next); (err == nil) != c.ok || err != nil && !errors.Is(err, broker.ErrInvalid) {
			t.Errorf("session's %s: %v", what, err)
		}
	}
}
