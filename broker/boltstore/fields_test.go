package boltstore

import (
	"errors"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/protocol/detcbor"
	"github.com/signetd/signet/protocol/ident"
	"github.com/signetd/signet/protocol/ident/identtest"
)

// A session's members as the library would write and read them.
type sessionRecord struct {
	Pool       ident.Pool `cbor:"1,keyasint"`
	Name       ident.Name `cbor:"2,keyasint"`
	Subject    []byte     `cbor:"3,keyasint"`
	Client     string     `cbor:"4,keyasint,omitempty"`
	Created    int64      `cbor:"5,keyasint,omitempty"`
	Expires    int64      `cbor:"6,keyasint,omitempty"`
	Generation uint32     `cbor:"7,keyasint,omitempty"`
	Handle     []byte     `cbor:"8,keyasint,omitempty"`
	Previous   []byte     `cbor:"9,keyasint,omitempty"`
	Rotated    int64      `cbor:"10,keyasint,omitempty"`
	Requests   []byte     `cbor:"11,keyasint,omitempty"`
	DeviceRev  uint64     `cbor:"12,keyasint,omitempty"`
	Last       []byte     `cbor:"13,keyasint,omitempty"`

	ClientSince int64  `cbor:"14,keyasint,omitempty"`
	From        string `cbor:"15,keyasint,omitempty"`
}

// TestRowsAreReadAsTheLibraryReadsThem holds the reading of rows by hand to record.go's
// types, by which they are written: of whole rows and of damaged ones.
func TestRowsAreReadAsTheLibraryReadsThem(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	at := time.Date(1960, 1, 2, 3, 4, 5, 6, time.UTC)
	id := identtest.Device(t, "demo:lamp-1")
	a := testKey("a")
	a.Added = at
	sealed := broker.Authenticator{ID: broker.KeyID{1}, Kind: "psk", Sealed: []byte("sealed"), Added: at}
	device, err := encodeDevice(&broker.Device{ID: id, Subject: newUUID(), Status: broker.StatusActive, Created: at, Updated: time.Unix(1e9, 1),
		SessionsAfter: at, SessionsRev: 300, ClonedSince: at, Rev: 1 << 40, Attributes: map[string]string{"site": "berlin", "x": ""}, Groups: []string{"lamps", "doors"},
		Authenticators: []broker.Authenticator{a, sealed}})
	if err != nil {
		t.Fatal(err)
	}
	x := broker.Session{ID: newUUID(), Device: id, Subject: newUUID(), Client: "default", Created: time.Unix(1e9, 0), Expires: time.Unix(2e9, 0),
		Revoked: true, Generation: 1 << 31, Handle: []byte("handle"), Previous: []byte("previous"), Rotated: at, Requests: []byte("requests"), DeviceRev: 7,
		Last: newUUID(), Lost: true, Cloned: true, ClientSince: at, From: "192.0.2.7"}
	session, err := encodeSession(&x)
	if err != nil {
		t.Fatal(err)
	}
	asRecord, err := encode(sessionRecord{Pool: id.Pool, Name: id.Name, Subject: x.Subject[:], Client: x.Client, Created: nanos(x.Created), Expires: nanos(x.Expires),
		Generation: x.Generation, Handle: x.Handle, Previous: x.Previous, Rotated: nanos(at), Requests: x.Requests, DeviceRev: x.DeviceRev, Last: x.Last[:], ClientSince: nanos(at), From: x.From})
	if err != nil || !cmp.Equal(asRecord, session[sessionHeader:]) {
		t.Fatalf("by hand it is written\n%x, by the library\n%x, %v", session[sessionHeader:], asRecord, err)
	}
	if _, err := encodeSession(&broker.Session{Device: id, Client: "\xff"}); !errors.Is(err, broker.ErrInvalid) {
		t.Fatalf("a row that could not be read is written: %v", err)
	}
	if d, err := decodeDevice(device); err != nil {
		t.Fatal(err)
	} else if again, err := encodeDevice(&d); err != nil || !cmp.Equal(again, device) {
		t.Fatalf("a device is written again as\n%x, was\n%x, %v", again, device, err)
	}
	if x, err := decodeSession(ident.UUID{}, session); err != nil {
		t.Fatal(err)
	} else if again, err := encodeSession(&x); err != nil || !cmp.Equal(again, session) {
		t.Fatalf("a session is written again as\n%x, was\n%x, %v", again, session, err)
	}
	refused := 0
	for range 50_000 {
		row, header := device, deviceHeader
		if r.IntN(2) == 0 {
			row, header = session, sessionHeader
		}
		bad := append([]byte(nil), row...)
		for range 1 + r.IntN(2) {
			bad[header+r.IntN(len(bad)-header)] ^= 1 << r.IntN(8)
		}
		if r.IntN(8) == 0 {
			bad = bad[:header+r.IntN(len(bad)-header)]
		}
		var byHand, byLibrary error
		if header == deviceHeader {
			_, byHand = decodeDevice(bad)
			_, byLibrary = decode[deviceRecord](bad[header:])
		} else {
			_, byHand = decodeSession(ident.UUID{}, bad)
			_, byLibrary = decode[sessionRecord](bad[header:])
		}
		if byHand != nil {
			refused++
		}
		if byHand != nil && !errors.Is(byHand, ErrDamaged) {
			t.Fatalf("%x: %v, which is not ErrDamaged", bad, byHand)
		}
		// Lengths of ids are the conversion's, not the library's.
		if byHand == nil && byLibrary != nil {
			t.Fatalf("%x is read by hand; the library says %v", bad, byLibrary)
		}
		if byHand != nil && byLibrary == nil && !errors.Is(byHand, detcbor.ErrLength) {
			t.Fatalf("%x is read by the library; by hand it is %v", bad, byHand)
		}
	}
	if refused < 10_000 {
		t.Errorf("only %d of 50,000 damaged rows were refused", refused)
	}
}
