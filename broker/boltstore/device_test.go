package boltstore

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/protocol/ident"
	"github.com/signetd/signet/protocol/ident/identtest"
)

// TestAsRead: what UpdateDevice returns is what the next reader sees, though it is not
// decoded from the row, and is the caller's own.
func TestAsRead(t *testing.T) {
	id := identtest.Device(t, "demo:lamp-1")
	r := rand.New(rand.NewPCG(1, 2))
	at := func() time.Time {
		return []time.Time{{}, time.Now(), time.Date(1200, 1, 1, 0, 0, 0, 0, time.UTC), time.Date(2999, 1, 1, 0, 0, 0, 0, time.UTC),
			time.Unix(r.Int64N(4e9), 1).In(time.FixedZone("", 3600))}[r.IntN(5)]
	}
	for range 200 {
		d := broker.Device{ID: id, Subject: newUUID(), Status: broker.StatusActive, Created: at(), Updated: at(), SessionsAfter: at(),
			SessionsRev: r.Uint64() >> 1, Rev: r.Uint64() >> 1, Attributes: map[string]string{}, Groups: []string{}, Authenticators: []broker.Authenticator{}}
		for n := range r.IntN(3) {
			d.Attributes[string(rune('a'+n))] = "x"
			d.Groups = append(d.Groups, string(rune('a'+n)))
			a := testKey(string(rune('a' + n)))
			a.Added = at()
			d.Authenticators = append(d.Authenticators, a)
		}
		row, err := encodeDevice(&d)
		if err != nil {
			t.Fatal(err)
		}
		want, err := decodeDevice(row)
		if err != nil {
			t.Fatal(err)
		}
		got := asRead(&d)
		if diff := cmp.Diff(want, got, cmp.AllowUnexported(ident.Pool{}, ident.Name{})); diff != "" {
			t.Fatalf("-read +returned:\n%s", diff)
		}
		if got.Created != want.Created || got.Updated != want.Updated { // to the zone
			t.Fatalf("%#v, %#v; want %#v, %#v", got.Created, got.Updated, want.Created, want.Updated)
		}
	}
}
