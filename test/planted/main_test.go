package main

import (
	"strings"
	"testing"
)

// TestVerdicts: only a test that passes without a bug, and fails because of it, has
// found it.
func TestVerdicts(t *testing.T) {
	t.Chdir("../..")
	var out strings.Builder
	g := garden{out: &out, dir: t.TempDir(), sound: map[plant]bool{}}
	for _, c := range []struct {
		plant plant
		want  string
	}{
		{plant{"type", "./protocol/token", "^TestTypes$", "read as CWT ID: <nil>"}, "caught  type "},
		{plant{"type", "./protocol/token", "^TestTypes$", "something else"}, "but not because of it"},
		{plant{"audience", "./protocol/token", "^TestTypes$", "any"}, "MISSED  audience "},
		{plant{"type", "./protocol/token", "^TestNobodyWrote$", "any"}, "does not run"},
		{plant{"type", "./protocol/nowhere", "^TestTypes$", "any"}, "fails without type"},
		{plant{"no-such-bug", "./protocol/token", "^TestTypes$", "any"}, "BROKEN  no-such-bug, "},
	} {
		out.Reset()
		before := g.missed
		if err := g.tryAll(t.Context(), c.plant.bug, []plant{c.plant}); err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(out.String(), c.want) || (g.missed == before) != strings.HasPrefix(c.want, "caught") {
			t.Errorf("%v: %s(%d missed), want %q", c.plant, out.String(), g.missed-before, c.want)
		}
	}
}
