package auth

import (
	"bytes"
	crand "crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/protocol"
	"github.com/signetd/signet/protocol/detcbor"
	"github.com/signetd/signet/protocol/ident"
)

func noon() time.Time { return time.Date(2026, 5, 4, 11, 59, 0, 0, time.UTC) }

func sealed(t testing.TB, s *sealer, change func(*pending)) (*pending, []byte) {
	t.Helper()
	v := &pending{
		Exchange: ident.UUID{1}, Opening: [32]byte{4},
		Transcript: protocol.Transcript{2}, Issued: noon().UnixMilli(), Kind: "door", Results: []Result{
			{Name: "key", OK: true, Claims: map[string]string{"firmware": "1.2"}}, {Name: "pin", OK: true, Hook: "doors"}, {Name: "gate", Hook: "doors"}, {Name: "bell", Hook: "bell"}, {Name: "pin", Hook: "bell"}, {Name: "totp"}, {Name: "pin", Hook: "doors"},
		},
		Private: map[string]string{"answer": "PRIVATE-CANARY"}, Call: protocol.CallID{3}, Meta: "m",
	}
	if change != nil {
		change(v)
	}
	raw, err := s.seal(v)
	if err != nil {
		t.Fatal(err)
	}
	return v, raw
}

// TestSessions: a session opens at every replica with the secret, whole, for its
// life and no longer, on either side of an hour.
func TestSessions(t *testing.T) {
	secret := bytes.Repeat([]byte{7}, 32)
	one, other := newSealer(secret, crand.Reader), newSealer(secret, crand.Reader)
	want, raw := sealed(t, one, nil)
	if bytes.Contains(raw, []byte("CANARY")) {
		t.Error("a session can be read")
	}
	for _, after := range []time.Duration{-SessionLife, 0, 2 * time.Minute, SessionLife} {
		got, err := other.open(raw, noon().Add(after))
		if err != nil {
			t.Errorf("after %v: %v", after, err)
		} else if diff := cmp.Diff(want, got, cmp.Exporter(func(reflect.Type) bool { return true })); diff != "" {
			t.Errorf("after %v (-sealed +opened):\n%s", after, diff)
		}
	}
	for _, after := range []time.Duration{-SessionLife - time.Millisecond, SessionLife + time.Millisecond, time.Hour, 3 * time.Hour, -3 * time.Hour, 100 * 365 * 24 * time.Hour} {
		if _, err := other.open(raw, noon().Add(after)); !errors.Is(err, protocol.CodeExpired) {
			t.Errorf("after %v: %v, want expired", after, err)
		}
	}
	if _, err := newSealer(bytes.Repeat([]byte{8}, 32), crand.Reader).open(raw, noon()); !errors.Is(err, protocol.CodeDenied) {
		t.Errorf("another cluster's: %v, want denied", err)
	}
	if _, again := sealed(t, one, nil); bytes.Equal(again, raw) {
		t.Error("two sessions were sealed with one nonce")
	}
}

// TestTriesOutliveTheirExchange: what was guessed at in an exchange is known for as long as it can
// be answered, wherever the clocks are that sealed it, count, and forget.
func TestTriesOutliveTheirExchange(t *testing.T) {
	c, of := &broker.TryCount{}, broker.TryOf{Exchange: ident.UUID{1}}
	c.Try(broker.TryMark{1}, noon())
	if until, ever := c.Until(of); !ever || until.Before(noon().Add(2*SessionLife+broker.ClocksApart)) {
		t.Errorf("forgotten at %v (%v), counted at %v", until, ever, noon())
	}
}

// TestNoBitOfASessionCanBeChanged: every bit flipped, every length cut.
func TestNoBitOfASessionCanBeChanged(t *testing.T) {
	s := newSealer(bytes.Repeat([]byte{7}, 32), crand.Reader)
	_, raw := sealed(t, s, nil)
	for i := range raw {
		if _, err := s.open(raw[:i], noon()); !errors.Is(err, protocol.CodeDenied) && !errors.Is(err, protocol.CodeExpired) {
			t.Errorf("cut to %d bytes: %v", i, err)
		}
		for bit := range 8 {
			changed := bytes.Clone(raw)
			changed[i] ^= 1 << bit
			if _, err := s.open(changed, noon()); !errors.Is(err, protocol.CodeDenied) && !errors.Is(err, protocol.CodeExpired) {
				t.Errorf("bit %d of byte %d: %v", bit, i, err)
			}
		}
	}
}

// TestTheLargestSessionFitsItsField seals all that an exchange may have to remember:
// whatever devices, flows and hooks may legally say fits.
func TestTheLargestSessionFitsItsField(t *testing.T) {
	s := newSealer(bytes.Repeat([]byte{7}, 32), crand.Reader)
	name := strings.Repeat("n", broker.MaxChallengeName)
	var spend func(*pending) // spends MaxDetail
	largest := func(v *pending) {
		*v = pending{
			Exchange: ident.UUID{1}, Opening: [32]byte{4}, Transcript: protocol.Transcript{2}, Issued: noon().UnixMilli(),
			Kind: name, Hook: strings.Repeat("h", 64), Prover: bytes.Repeat([]byte{5}, 32), Call: protocol.CallID{3}, Private: map[string]string{},
		}
		for range MaxRounds - 1 { // the last challenge's result is never sealed
			v.Results = append(v.Results, Result{Name: name, OK: true, AMR: strings.Repeat("a", maxAMR), Hook: v.Hook})
		}
		spend(v)
		for i := range protocol.MaxPairs {
			v.Private[fmt.Sprintf("%02d", i)] = strings.Repeat("p", MaxPrivate/protocol.MaxPairs-2)
		}
	}
	metadata := func(v *pending) { // spread over all results, and the challenge that waits
		for i := range v.Results {
			v.Results[i].Meta = strings.Repeat("m", (MaxDetail-detailLen(v.Results[:i+1]))/MaxRounds)
		}
		v.Meta = strings.Repeat("m", MaxDetail-detailLen(v.Results))
	}
	claims := func(v *pending) { // many small ones
		for i := range v.Results {
			v.Results[i].Claims = map[string]string{}
		}
		for n := 0; ; n++ {
			of := v.Results[n%len(v.Results)].Claims
			of[fmt.Sprint(n)] = ""
			if detailLen(v.Results) > MaxDetail {
				delete(of, fmt.Sprint(n))
				break
			}
		}
		v.Meta = strings.Repeat("m", MaxDetail-detailLen(v.Results))
	}
	one := func(v *pending) { // and one large
		v.Results[0].Claims = map[string]string{"c": ""}
		v.Results[0].Claims["c"] = strings.Repeat("c", MaxDetail-detailLen(v.Results))
	}
	hooks := func(v *pending) { // of several define hooks, one after the other
		for i := range v.Results {
			v.Results[i].Hook = strings.Repeat(string(rune('a'+i)), 64)
			if detailLen(v.Results) > MaxDetail {
				v.Results[i].Hook = ""
			}
		}
		v.Meta = strings.Repeat("m", MaxDetail-detailLen(v.Results))
	}
	for what, fill := range map[string]func(*pending){"metadata": metadata, "claims": claims, "one claim": one, "hooks": hooks} {
		spend = fill
		v, raw := sealed(t, s, largest)
		if n := detailLen(v.Results) + len(v.Meta); n != MaxDetail {
			t.Errorf("%s: details of %d bytes, want the most, %d", what, n, MaxDetail)
		}
		if n := pairsLen(v.Private); n != MaxPrivate {
			t.Errorf("%s: %d bytes of private parameters, want the most, %d", what, n, MaxPrivate)
		}
		t.Logf("%s: %d of %d bytes", what, len(raw), protocol.MaxSession)
	}
}

// TestSessionsAreWrittenAsTheLibraryWrites: what is written and read by hand is what the tags
// of a session's members say.
func TestSessionsAreWrittenAsTheLibraryWrites(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 8))
	text := func() string { return strings.Repeat("x", r.IntN(3)*r.IntN(30)) }
	texts := func() map[string]string {
		all := map[string]string{}
		for range r.IntN(4) {
			all[fmt.Sprint(r.IntN(1000))] = text()
		}
		if len(all) == 0 {
			return nil
		}
		return all
	}
	for range 2_000 {
		want := pending{Kind: text(), Private: texts(), Hook: text(), Meta: text(), Seen: r.Uint64() >> (1 + r.IntN(64))}
		if r.IntN(2) == 0 {
			want.Prover = bytes.Repeat([]byte{byte(r.Uint32())}, 32)
		}
		for range r.IntN(MaxRounds) {
			want.Results = append(want.Results, Result{Name: text(), OK: r.IntN(2) == 0, Meta: text(), AMR: text(), Claims: texts(), Hook: text()})
		}
		packed := want
		packed.Results = packHooks(want.Results)
		library, err := detcbor.Marshal(&packed)
		if err != nil {
			t.Fatal(err)
		}
		if got := want.write(nil); !bytes.Equal(got, library) {
			t.Fatalf("%+v is written\n%x, by the library\n%x", want, got, library)
		}
		var got pending
		if err := got.read(library); err != nil || !reflect.DeepEqual(got, want) {
			t.Fatalf("read %+v, %v, want %+v", got, err, want)
		}
	}
	for _, bad := range []string{"80", "a10102", "a201600281a102f6", "a201600281a10700", "a201600900", "a201600560"} {
		data, err := hex.DecodeString(bad)
		if err == nil {
			err = detcbor.Check(data)
		}
		if err != nil {
			t.Fatal(err)
		}
		if new(pending).read(data) == nil {
			t.Errorf("%s was read", bad)
		}
	}
}

func FuzzOpenSession(f *testing.F) {
	// Fuzzing's worker processes must seal to the same bytes.
	s := newSealer(bytes.Repeat([]byte{7}, 32), bytes.NewReader(make([]byte, nonceLen)))
	_, raw := sealed(f, s, nil)
	f.Add(raw)
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		if bytes.Equal(b, raw) {
			return
		}
		if v, err := s.open(b, noon()); err == nil {
			t.Errorf("%x opened as %+v", b, v)
		}
	})
}
