package spelling_test

import (
	"testing"

	"github.com/signetd/signet/broker/spelling"
)

func TestNearest(t *testing.T) {
	known := []string{"clients", "flows", "hooks", "accessLife"}
	for in, want := range map[string]string{"client": "clients", "flow": "flows", "accesslife": "accessLife", "devices": "", "": "", "x": ""} {
		if got := spelling.Nearest(in, known); got != want {
			t.Errorf("%q: got %q, want %q", in, got, want)
		}
	}
	if d := spelling.Distance("kitten", "sitting"); d != 3 {
		t.Errorf("got %d", d)
	}
}
