package protocol

import (
	"math/rand/v2"
	"reflect"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/signetd/signet/protocol/detcbor"
	"github.com/signetd/signet/protocol/ident"
	"github.com/signetd/signet/protocol/ident/identtest"
)

// TestReadAsTheLibraryReads holds what is read by hand to what the library makes of the
// same bytes, of whole messages and of damaged ones.
func TestReadAsTheLibraryReads(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	some := func(n int) []byte {
		b := make([]byte, n)
		for i := range b {
			b[i] = byte(r.Uint32())
		}
		return b
	}
	id := identtest.Device(t, "demo:lamp-1")
	start := &Start{Request: Request{Pool: id.Pool, Name: id.Name, Client: "default", Nonce: some(NonceLen), SealTo: some(32), Format: FormatJWT, Audience: "x",
		Scope: "a b", Metadata: map[string]string{"site": "berlin", "y": "z"}, Statement: some(StatementIDLen), Newer: some(40), Channel: some(32), Want: WantMQTTPassword, Last: some(16)}}
	for i, all := 0, reflect.ValueOf(start.Request); i < all.NumField(); i++ {
		if all.Field(i).IsZero() {
			t.Errorf("the request of this test lacks its %s", all.Type().Field(i).Name)
		}
	}
	opening, err := Encode(start)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := Encode(&Answer{Session: some(90), Proof: some(64), Secret: some(70), TokenProof: some(64), Opening: opening})
	if err != nil {
		t.Fatal(err)
	}
	small, err := Encode(&Start{Request: Request{Pool: id.Pool, Name: id.Name, Nonce: some(NonceLen)}})
	if err != nil {
		t.Fatal(err)
	}
	read, refused := 0, 0
	for i := range 5_000 {
		whole := [][]byte{opening, answer, small}[i%3]
		data := append([]byte(nil), whole...)
		for range r.IntN(3) {
			data[r.IntN(len(data))] ^= 1 << r.IntN(8)
		}
		rd, err := detcbor.NewReader(data)
		if err != nil {
			continue
		}
		h, err := readEnvelope(rd)
		if err != nil || h.critical || h.kind != TypeStart && h.kind != TypeAnswer || shapes.of[h.kind].Check(rd) != nil {
			continue
		}
		byHand, byLibrary := newMessage(h.kind), newMessage(h.kind)
		errHand, errLibrary := byHand.(reader).read(rd), rd.UnmarshalExtensible(byLibrary)
		if (errHand == nil) != (errLibrary == nil) {
			t.Fatalf("%x: by hand %v, by the library %v", data, errHand, errLibrary)
		}
		if errHand != nil {
			refused++
			continue
		}
		read++
		if d := cmp.Diff(byLibrary, byHand, cmp.AllowUnexported(ident.Pool{}, ident.Name{}), cmpopts.IgnoreUnexported(Head{}, Answer{}), cmpopts.EquateEmpty()); d != "" {
			t.Fatalf("%x: -library +by hand\n%s", data, d)
		}
	}
	if read < 2_000 || refused < 2 {
		t.Errorf("only %d were read and %d refused", read, refused)
	}
}
