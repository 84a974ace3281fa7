package topic

import (
	"strings"
	"testing"

	"github.com/signetd/signet/protocol/ident/identtest"
)

// By hand: what a device of pool p named n might ask for, and whether its
// default grant lets it. These are the words of the threat; TestGrantAgainstOracle
// has the numbers.
func TestWildcardAbuse(t *testing.T) {
	d := identtest.Device(t, "p:n")
	grant := Own(d)
	deep := strings.Repeat("/x", MaxDepth-3)
	for _, c := range []struct {
		ask  string
		want bool
	}{
		// Its own, in every shape.
		{"devices/p/n", true}, {"devices/p/n/#", true}, {"devices/p/n/+", true}, {"devices/p/n/+/+", true}, {"devices/p/n/+/#", true},
		{"devices/p/n/a", true}, {"devices/p/n/a/b/c", true}, {"devices/p/n/", true}, {"devices/p/n//", true}, {"devices/p/n//a", true},
		{"devices/p/n/$SYS", true}, {"devices/p/n/$share/g/x", true}, {"devices/p/n/signet/v1", true}, {"devices/p/n" + deep, true},
		{"$share/g/devices/p/n/#", true}, {"$share/g/devices/p/n", true}, {"$share/G-1/devices/p/n/+/x", true},
		// Everything, or everything at some level.
		{"#", false}, {"+", false}, {"/#", false}, {"+/#", false}, {"/+", false}, {"+/+", false}, {"+/+/+", false}, {"+/+/+/#", false},
		{"devices/#", false}, {"devices/+", false}, {"devices/+/#", false}, {"devices/+/+/#", false}, {"devices/p/#", false},
		{"devices/p/+", false}, {"devices/p/+/#", false}, {"devices/p/+/x", false}, {"devices/+/n/#", false}, {"devices/+/n", false},
		{"+/p/n/#", false}, {"+/p/n", false}, {"+/+/n/x", false}, {"devices/p", false}, {"devices", false}, {"devices/p/", false},
		// Another's, near and far.
		{"devices/p/m", false}, {"devices/p/m/#", false}, {"devices/p/nn", false}, {"devices/p/nn/#", false}, {"devices/p/N/#", false},
		{"devices/q/n/#", false}, {"devices/P/n/#", false}, {"Devices/p/n/#", false}, {"/devices/p/n/#", false}, {"devices//p/n/#", false},
		{"devices/p//n/#", false}, {"devices/p/n2", false}, {" devices/p/n", false}, {"devices/p/n ", false}, {"devices/p/%6e", false},
		{"devices/p/../p/n", false}, {"devices/p/./n", false}, {"devices/p/m/../n", false}, {"devices/p/ｎ", false}, {"devices/p:n/#", false},
		// The server's and the protocol's.
		{"$SYS", false}, {"$SYS/#", false}, {"$SYS/+", false}, {"$SYS/broker/clients/connected", false}, {"$sys/#", false}, {"$/devices/p/n", false},
		{"signet/#", false}, {"signet/v1/#", false}, {"signet/v1/+/rq", false}, {"signet/v1/+/rs", false}, {"signet/v1/p:n/rs", false},
		{"signet/v1/p:n/ev", false}, {"signet/v1/p:n/rq", false}, {"signet/v1/p:m/rs", false}, {"signet/+/p:n/rs", false}, {"+/v1/p:n/rs", false},
		// Shared, around it and inside it.
		{"$share/g/#", false}, {"$share/g/+", false}, {"$share/g/+/#", false}, {"$share/g/devices/#", false}, {"$share/g/devices/p/#", false},
		{"$share/g/devices/p/m/#", false}, {"$share/g/$SYS/#", false}, {"$share/g/signet/#", false}, {"$share/g/signet/v1/+/rq", false},
		{"$share/g/signet/v1/p:n/rs", false}, {"$share/devices/p/n/#", false}, {"$share/g//devices/p/n", false},
		// Not even a filter.
		{"", false}, {"$share", false}, {"$share/", false}, {"$share/g", false}, {"$share/g/", false}, {"$share//devices/p/n/#", false},
		{"$share/+/devices/p/n/#", false}, {"$share/#/devices/p/n", false}, {"$share/g/$share/h/devices/p/n/#", false},
		{"$SHARE/g/devices/p/n/#", false}, {"$Share/g/devices/p/n/#", false}, {"$queue/devices/p/n/#", false}, {"devices/p/n/#/x", false},
		{"devices/p/n/a#", false}, {"devices/p/n/#a", false}, {"devices/p/n/a+", false}, {"devices/p/n/+a", false}, {"devices/p/n/##", false},
		{"devices/p/n\x00", false}, {"devices/p/n/\x00", false}, {"devices/p/n/\xff", false}, {"devices/p/n/\xc0\xaf", false},
		{"devices/p/n" + deep + "/x", false}, {"devices/p/n/" + strings.Repeat("x", MaxLen), false},
	} {
		s, err := ParseSubscription(c.ask)
		got := err == nil && !IsReserved(s.Filter) && grant.AllowsSubscribe(s.Filter)
		if got != c.want {
			t.Errorf("subscribing %q: %v, want %v (%v)", c.ask, got, c.want, err)
		}
		// What one may subscribe to without wildcards one may publish to, and nothing else.
		n, err := ParseName(c.ask)
		want := c.want && !strings.ContainsAny(c.ask, "+#") && !strings.HasPrefix(c.ask, "$share")
		if got := err == nil && !IsReserved(n.Filter()) && grant.AllowsPublish(n); got != want {
			t.Errorf("publishing %q: %v, want %v (%v)", c.ask, got, want, err)
		}
	}
}
