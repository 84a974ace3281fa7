package control_test

import (
	"context"
	"crypto/rand"
	"strings"
	"testing"
	"time"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/broker/control"
	"github.com/signetd/signet/broker/control/controltest"
	"github.com/signetd/signet/protocol/ident"
	"github.com/signetd/signet/protocol/token"
)

// loggedIn gives a device of the pool demo a session with a client.
func loggedIn(t *testing.T, w *controltest.World, name, client string) {
	t.Helper()
	id := device(t, "demo:"+name)
	if _, err := w.CreateDevice(t.Context(), by(), control.NewDevice{ID: id}); err != nil {
		t.Fatal(err)
	}
	session, err := ident.NewUUID(w.Clock.Now(), rand.Reader)
	want(t, err, nil)
	_, err = w.Store.RecordLogin(t.Context(), by(), broker.Login{Session: broker.Session{
		ID: session, Device: id, Client: client, Created: w.Clock.Now(), Expires: w.Clock.Now().Add(time.Hour),
	}})
	want(t, err, nil)
}

// TestWhatIsInUseGoesWithForce: of every noun, what others live by is refused with what
// would break, and nothing is done; with force it goes.
func TestWhatIsInUseGoesWithForce(t *testing.T) {
	w, demo := world(t), pool(t, "demo")
	_, err := controltest.PutClient(t.Context(), w.Plane, by(), broker.Client{Pool: demo, ID: "app"}, true)
	want(t, err, nil)
	loggedIn(t, w, "lamp-1", "app")
	loggedIn(t, w, "lamp-2", "app")
	_, _, err = w.CreateEnrollToken(t.Context(), by(), control.NewEnrollToken{Pool: demo})
	want(t, err, nil)
	keys, err := w.ListKeys(t.Context(), demo)
	want(t, err, nil)
	_, err = w.RotateKey(t.Context(), by(), demo, token.ES256, true)
	want(t, err, nil)
	for _, name := range []string{"ada", "bob"} {
		_, _, err = w.CreateOperator(t.Context(), by(), control.NewOperator{Name: name, Scope: broker.OperatorAdmin})
		want(t, err, nil)
	}
	ada := broker.By{Actor: broker.OperatorActor("ada")}
	for _, c := range []struct {
		says string
		take func(ctx context.Context, force bool) error
	}{
		{"2 live sessions of 2 devices", func(ctx context.Context, force bool) error {
			return w.Clients().Delete(ctx, by(), demo, "app", nil, force)
		}},
		{"its tokens are valid until", func(ctx context.Context, force bool) error {
			_, err := w.RetireKey(ctx, by(), demo, keys[0].ID, force)
			return err
		}},
		{"is you", func(ctx context.Context, force bool) error { return w.DeleteOperator(ctx, ada, "ada", force) }},
		{"no device believes it until it is enrolled again", func(ctx context.Context, force bool) error {
			_, err := w.RevokeAnchor(ctx, by(), demo, nil, force)
			return err
		}},
		{"2 devices and 0 enrollment tokens, which go with it", func(ctx context.Context, force bool) error { return w.DeletePool(ctx, by(), demo, force) }},
	} {
		last, err := w.Store.Last(t.Context())
		want(t, err, nil)
		err = c.take(t.Context(), false)
		want(t, err, broker.ErrInUse)
		if !strings.Contains(err.Error(), c.says) || !strings.Contains(err.Error(), "force it") {
			t.Errorf("%v, want %q", err, c.says)
		}
		if now, err := w.Store.Last(t.Context()); err != nil || now != last {
			t.Errorf("%s: something was written", c.says)
		}
		want(t, c.take(t.Context(), true), nil)
	}
}

// TestNothingElseNeedsForce: what is only its own, and what nobody is logged in with, goes at once.
func TestNothingElseNeedsForce(t *testing.T) {
	w, demo, ctx := world(t), pool(t, "demo"), t.Context()
	_, err := controltest.PutClient(ctx, w.Plane, by(), broker.Client{Pool: demo, ID: "app"}, true)
	want(t, err, nil)
	loggedIn(t, w, "lamp-1", "app")
	rec, _, err := w.CreateEnrollToken(ctx, by(), control.NewEnrollToken{Pool: demo})
	want(t, err, nil)
	want(t, w.EnrollTokens().Delete(ctx, by(), demo, rec.ID, nil, false), nil)
	want(t, w.DeleteDevice(ctx, by(), device(t, "demo:lamp-1")), nil)
	want(t, w.Clients().Delete(ctx, by(), demo, "app", nil, false), nil) // its sessions went with the device
	want(t, w.Clients().Delete(ctx, by(), demo, broker.DefaultClient, nil, true), broker.ErrConflict)
	want(t, w.DeletePool(ctx, by(), demo, false), nil)
}
