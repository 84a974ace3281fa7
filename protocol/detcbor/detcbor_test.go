package detcbor_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"testing"

	"github.com/fxamacker/cbor/v2"
	"github.com/signetd/signet/protocol/detcbor"
)

func TestCheck(t *testing.T) {
	for _, tt := range []struct {
		name, hex string
		want      error
	}{
		{"integer", "05", nil},
		{"map", "a2014102614101", nil},
		{"null and booleans", "83f4f5f6", nil},
		{"largest", "1b7fffffffffffffff", nil},
		{"long integer", "1805", detcbor.ErrNotDeterministic},
		{"long key", "a1180101", detcbor.ErrNotDeterministic},
		{"long length", "580101", detcbor.ErrNotDeterministic},
		{"long 16 bit", "1900ff", detcbor.ErrNotDeterministic},
		{"unsorted", "a202010101", detcbor.ErrNotDeterministic},
		{"duplicate", "a201010102", detcbor.ErrMalformed},
		{"indefinite", "9fff", detcbor.ErrMalformed},
		{"tag", "c100", detcbor.ErrMalformed},
		{"float", "f93c00", detcbor.ErrMalformed},
		{"undefined", "f7", detcbor.ErrMalformed},
		{"trailing", "0505", detcbor.ErrMalformed},
		{"empty", "", detcbor.ErrMalformed},
		{"bad UTF-8", "61ff", detcbor.ErrMalformed},
		{"length lie", "5b7fffffffffffffff00", detcbor.ErrMalformed},
		{"array bomb", "9b7fffffffffffffff", detcbor.ErrMalformed},
		{"map bomb", "bb7fffffffffffffff", detcbor.ErrMalformed},
		{"beyond int64", "1b8000000000000000", detcbor.ErrMalformed},
		{"depth 9", "818181818181818180", detcbor.ErrMalformed},
	} {
		t.Run(tt.name, func(t *testing.T) {
			data, err := hex.DecodeString(tt.hex)
			if err != nil {
				t.Fatal(err)
			}
			if got := detcbor.Check(data); !errors.Is(got, tt.want) {
				t.Errorf("Check(%s) = %v, want %v", tt.hex, got, tt.want)
			}
		})
	}
}

// FuzzCheck holds Check against its oracle: what it accepts, the library decodes
// and encodes back to the same bytes.
func FuzzCheck(f *testing.F) {
	for _, s := range []string{"05", "a2014102614101", "1805", "a202010101", "9fff", "83f4f5f6", "1b7fffffffffffffff"} {
		data, _ := hex.DecodeString(s)
		f.Add(data)
	}
	det, err := cbor.CoreDetEncOptions().EncMode()
	if err != nil {
		f.Fatal(err)
	}
	lax, err := cbor.DecOptions{MaxNestedLevels: 64}.DecMode()
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if detcbor.Check(data) != nil {
			return
		}
		var v any
		if err := lax.Unmarshal(data, &v); err != nil {
			t.Fatalf("Check accepted %x, the library did not: %v", data, err)
		}
		again, err := det.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(again, data) {
			t.Fatalf("Check accepted %x, deterministic form is %x", data, again)
		}
	})
}

func TestCheckAllocatesNothing(t *testing.T) {
	data, _ := hex.DecodeString("a2014102614101")
	if n := testing.AllocsPerRun(100, func() { _ = detcbor.Check(data) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// TestReader goes through each kind of item.
func TestReader(t *testing.T) {
	data, err := hex.DecodeString("a6" + "00" + "1903e8" + "01" + "3863" + "02" + "43010203" + "03" + "626162" + "04" + "83f4f5f6" + "05" + "a1414100")
	if err != nil {
		t.Fatal(err)
	}
	r, err := detcbor.NewReader(data)
	if err != nil {
		t.Fatal(err)
	}
	want := func(major detcbor.Major, n uint64) {
		t.Helper()
		if next := r.Next(); next != major {
			t.Errorf("next is %d, want %d", next, major)
		}
		if got, arg := r.Head(); got != major || arg != n {
			t.Errorf("head %d of %d, want %d of %d", got, arg, major, n)
		}
	}
	want(detcbor.Map, 6)
	want(detcbor.Uint, 0)
	want(detcbor.Uint, 1000)
	want(detcbor.Uint, 1)
	want(detcbor.Nint, 99) // -100
	want(detcbor.Uint, 2)
	want(detcbor.Bytes, 3)
	if got := r.Take(3); !bytes.Equal(got, []byte{1, 2, 3}) {
		t.Errorf("took %x", got)
	}
	want(detcbor.Uint, 3)
	r.Skip()
	want(detcbor.Uint, 4)
	want(detcbor.Array, 3)
	want(detcbor.Simple, 20)
	r.Skip()
	r.Skip()
	want(detcbor.Uint, 5)
	r.Skip()
	want(detcbor.Simple, 0) // the end
	if got := r.Take(9); len(got) != 0 {
		t.Errorf("took %x past the end", got)
	}
	r.Skip()
	if _, err := detcbor.NewReader(data[:20]); !errors.Is(err, detcbor.ErrMalformed) {
		t.Errorf("half an item: %v, want ErrMalformed", err)
	}
}

// FuzzReader holds it against decoding the item: it skips exactly all of it, and
// the keys that it meets in a map are the map's.
func FuzzReader(f *testing.F) {
	for _, s := range []string{"a2014102614101", "a0", "a201410202a12001", "a2010020f6", "a1414100", "80", "8301820203a0", "1b0000000100000000"} {
		data, _ := hex.DecodeString(s)
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := detcbor.NewReader(data)
		if err != nil {
			return
		}
		whole := r
		whole.Skip()
		if major, n := whole.Head(); major != detcbor.Simple || n != 0 || len(whole.Take(1)) != 0 {
			t.Fatalf("%x goes on after its end", data)
		}
		var top map[int64]detcbor.RawMessage
		if r.Next() != detcbor.Map || r.UnmarshalExtensible(&top) != nil {
			return
		}
		_, pairs := r.Head()
		if pairs != uint64(len(top)) {
			t.Fatalf("%x has %d pairs, decoding it says %d", data, pairs, len(top))
		}
		for range pairs {
			major, arg := r.Head()
			key := int64(arg)
			if major == detcbor.Nint {
				key = -1 - key
			}
			if _, ok := top[key]; !ok || major > detcbor.Nint {
				t.Fatalf("%x: decoding it has no key %d", data, key)
			}
			r.Skip()
		}
	})
}
