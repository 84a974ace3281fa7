package control_test

import (
	"strings"
	"testing"
	"time"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/broker/control"
	"github.com/signetd/signet/protocol/ident"
)

// TestOperatorsCanBeChanged: what an operator may do changes with the next request, for the revision
// that was seen; its token stays. Nobody takes it from the last admin, and from himself with force only.
func TestOperatorsCanBeChanged(t *testing.T) {
	w, demo := world(t), pool(t, "demo")
	ctx := t.Context()
	as := func(name string) broker.By { return broker.By{Actor: broker.OperatorActor(name)} }
	scope := func(s broker.OperatorScope) control.OperatorChange { return control.OperatorChange{Scope: &s} }
	pools := func(all ...ident.Pool) control.OperatorChange { return control.OperatorChange{Pools: &all} }
	_, secret, err := w.CreateOperator(ctx, by(), control.NewOperator{Name: "ada", Scope: broker.OperatorAdmin})
	want(t, err, nil)
	for _, change := range []control.OperatorChange{scope(broker.OperatorWrite), pools(demo)} {
		_, err := w.ChangeOperator(ctx, as("ada"), "ada", change, nil, true)
		want(t, err, broker.ErrConflict)
	}
	_, _, err = w.CreateOperator(ctx, by(), control.NewOperator{Name: "eve", Scope: broker.OperatorAdmin})
	want(t, err, nil)
	seen, err := w.Operator(ctx, "ada")
	want(t, err, nil)
	for _, change := range []control.OperatorChange{scope(broker.OperatorWrite), pools(demo)} {
		_, err := w.ChangeOperator(ctx, as("ada"), "ada", change, nil, false)
		want(t, err, broker.ErrInUse)
	}
	_, err = w.ChangeOperator(ctx, as("eve"), "ada", pools(pool(t, "none")), nil, false)
	want(t, err, broker.ErrInvalid)
	_, err = w.ChangeOperator(ctx, as("eve"), "ada", scope("root"), nil, false)
	want(t, err, broker.ErrInvalid)
	_, err = w.ChangeOperator(ctx, as("eve"), "bob", scope(broker.OperatorRead), nil, false)
	want(t, err, broker.ErrNotFound)
	match := &control.Match{Revs: []uint64{seen.Rev()}}
	changed, err := w.ChangeOperator(ctx, as("eve"), "ada", pools(demo, demo), match, false)
	want(t, err, nil)
	_, err = w.ChangeOperator(ctx, as("eve"), "ada", scope(broker.OperatorRead), match, false)
	want(t, err, broker.ErrStale)
	if changed.Scope != broker.OperatorAdmin || len(changed.Pools) != 1 {
		t.Errorf("changed to %+v", changed)
	}
	now, err := w.Authenticate(ctx, secret)
	if err != nil || now.Unbound() || now.Reaches(pool(t, "other")) {
		t.Errorf("the next request is let in as %+v, %v", now, err)
	}
	if _, err := w.ChangeOperator(ctx, as("eve"), "eve", scope(broker.OperatorRead), nil, true); err == nil {
		t.Error("the last admin of all pools is none any more")
	}
	_, err = w.ChangeOperator(ctx, as("eve"), "ada", pools(), nil, false)
	want(t, err, nil)
	_, err = w.ChangeOperator(ctx, as("eve"), "eve", scope(broker.OperatorRead), nil, true)
	want(t, err, nil)
}

// TestTheLastAdminsEndIsSaid: while there is time to make another, and after; other operators,
// and admins of some pools, change nothing of that.
func TestTheLastAdminsEndIsSaid(t *testing.T) {
	w, demo := world(t), pool(t, "demo")
	day := 24 * time.Hour
	make := func(name string, life time.Duration, scope broker.OperatorScope, pools ...ident.Pool) {
		_, _, err := w.CreateOperator(t.Context(), by(), control.NewOperator{Name: name, Life: life, Scope: scope, Pools: pools})
		want(t, err, nil)
	}
	says := func(name, warning string) {
		t.Helper()
		last, got, err := w.AdminsEnd(t.Context())
		if err != nil || last.Name != name || !strings.Contains(got, warning) || (warning == "") != (got == "") {
			t.Errorf("%q, %q, %v, want %q and %q", last.Name, got, err, name, warning)
		}
	}
	says("", "signetd operator create NAME")
	make("writer", 700*day, broker.OperatorWrite)
	make("bound", 700*day, broker.OperatorAdmin, demo)
	make("ada", 30*day, broker.OperatorAdmin)
	make("eve", 90*day, broker.OperatorAdmin)
	says("eve", "")
	w.Clock.Advance(75 * day)
	says("eve", "")
	w.Clock.Advance(2 * day)
	says("eve", "token of eve, the last admin of all pools, expires on 2026-04-01T00:00:00Z")
	make("ann", time.Hour, broker.OperatorAdmin)
	says("eve", "token of eve")
	make("bob", 90*day, broker.OperatorAdmin)
	says("bob", "")
	w.Clock.Advance(100 * day)
	says("", "there is no admin of all pools")
}
