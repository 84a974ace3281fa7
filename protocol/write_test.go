package protocol

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"io/fs"
	"math/rand/v2"
	"reflect"
	"strings"
	"testing"

	"github.com/signetd/signet/protocol/detcbor"
	"github.com/signetd/signet/protocol/vectors"
)

// asTheLibraryWrites fails unless what is written by hand is what the library makes of the
// same value, and fits the room that was made for it.
func asTheLibraryWrites(t *testing.T, v any) {
	t.Helper()
	var byHand []byte
	room := 0
	switch v := v.(type) {
	case writer:
		m := v.(Message)
		m.header().Version, m.header().Kind = Version, typeOf(m)
		byHand, room = written(v), v.room()
	case *ChallengeBody:
		byHand, room = v.Encode(), v.bodyRoom()
	case *GrantBody:
		byHand, room = v.Encode(), v.bodyRoom()
	}
	byLibrary, err := detcbor.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(byHand, byLibrary) {
		t.Fatalf("%+v:\nby hand        %x\nby the library %x", v, byHand, byLibrary)
	}
	if len(byHand) > room {
		t.Fatalf("%+v: %d bytes, room for %d", v, len(byHand), room)
	}
}

// TestWrittenAsTheLibraryWrites: whatever is in it, and whatever is left out.
func TestWrittenAsTheLibraryWrites(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	for range 3_000 {
		for _, v := range []any{new(Challenge), new(Grant), new(ChallengeBody), new(GrantBody)} {
			fillAny(r, reflect.ValueOf(v).Elem(), false)
			asTheLibraryWrites(t, v)
		}
		purpose, transcript := text(r), Transcript(some(r, len(Transcript{})))
		byLibrary, err := detcbor.Marshal([]any{proofContext, purpose, transcript[:]})
		if byHand := ProofInput(purpose, transcript); err != nil || !bytes.Equal(byHand, byLibrary) {
			t.Fatalf("proof of %q: by hand %x, by the library %x, %v", purpose, byHand, byLibrary, err)
		}
	}
}

// fillAny puts something into each field; optional ones may stay empty.
func fillAny(r *rand.Rand, v reflect.Value, optional bool) {
	if optional && r.IntN(2) == 0 {
		return
	}
	switch v.Kind() {
	case reflect.Struct:
		for i := range v.NumField() {
			if f := v.Type().Field(i); f.IsExported() {
				fillAny(r, v.Field(i), strings.Contains(f.Tag.Get("cbor"), "omitempty"))
			}
		}
	case reflect.Slice:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			v.SetBytes(some(r, size(r)))
			return
		}
		v.Set(reflect.MakeSlice(v.Type(), r.IntN(30), 30))
		for i := range v.Len() {
			fillAny(r, v.Index(i), false)
		}
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		for range r.IntN(MaxPairs) {
			v.SetMapIndex(reflect.ValueOf(text(r)), reflect.ValueOf(text(r)))
		}
	case reflect.Array:
		reflect.Copy(v, reflect.ValueOf(some(r, v.Len())))
	case reflect.String:
		v.SetString(text(r))
	case reflect.Bool:
		v.SetBool(r.IntN(2) == 0)
	case reflect.Uint8, reflect.Uint32, reflect.Uint64:
		v.SetUint(r.Uint64() >> r.IntN(64) & (1<<v.Type().Bits() - 1))
	default:
		panic("no idea of a " + v.Kind().String())
	}
}

func size(r *rand.Rand) int { return []int{0, 1, 23, 24, 32, 255, 256, 1100}[r.IntN(8)] }

func some(r *rand.Rand, n int) []byte {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(r.Uint32())
	}
	return b
}

// text is of letters that sort otherwise than by their length alone.
func text(r *rand.Rand) string {
	return strings.Repeat(string("abéz~"[r.IntN(2)]), r.IntN(3)) + strings.Repeat("é", size(r)%7) + hex.EncodeToString(some(r, r.IntN(14)))
}

// FuzzWrite: what was read is written by hand as the library writes it.
func FuzzWrite(f *testing.F) {
	raw, err := fs.ReadFile(vectors.Files(), "messages.json")
	if err != nil {
		f.Fatal(err)
	}
	var file struct{ Valid []struct{ What, Hex string } }
	if err := json.Unmarshal(raw, &file); err != nil {
		f.Fatal(err)
	}
	for _, v := range file.Valid {
		if b, err := hex.DecodeString(v.Hex); err == nil {
			f.Add(b)
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if c, err := DecodeChallengeBody(data); err == nil {
			asTheLibraryWrites(t, c)
		}
		if g, err := DecodeGrantBody(data); err == nil {
			asTheLibraryWrites(t, g)
		}
		if m, err := Decode(data); err == nil {
			if own, ok := m.(writer); ok {
				asTheLibraryWrites(t, own)
			}
		}
	})
}
