package core

import (
	"bytes"
	"log/slog"
	"net/netip"
	"strings"
	"testing"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/broker/hook"
	"github.com/signetd/signet/protocol/ident/identtest"
)

// TestHooksThatAreNotCalledAreLogged: which and for whom, each cause by its first and then in sums.
func TestHooksThatAreNotCalledAreLogged(t *testing.T) {
	var said bytes.Buffer
	told, err := observeHooks(nil, slog.New(slog.NewTextHandler(&said, nil)))
	if err != nil {
		t.Fatal(err)
	}
	h := &broker.Hook{Pool: identtest.Pool(t, "demo"), Name: "door"}
	for range 100 {
		told.Refused(hook.CauseSource, h, hook.Whom{Source: netip.MustParsePrefix("192.0.2.7/32")})
		told.Refused(hook.CauseFailing, h, hook.Whom{})
		told.Refused(hook.CauseDevice, h, hook.Whom{Device: "lamp-1"})
	}
	for _, want := range []string{"cause=source pool=demo hook=door source=192.0.2.7/32\n", "cause=failing pool=demo hook=door\n", "cause=device pool=demo hook=door device=lamp-1\n"} {
		if strings.Count(said.String(), want) != 1 {
			t.Errorf("not once %q: %s", want, said.String())
		}
	}
	if n := strings.Count(said.String(), "\n"); n != 3 {
		t.Errorf("%d lines at once", n)
	}
}
