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

func TestOnlyUnsignedKeys(t *testing.T) {
	for _, tt := range []struct {
		name, hex string
		want      bool
	}{
		{"text", "a2014102614101", false},
		{"empty map", "a0", true},
		{"two", "a201410202a12001", true}, // negative ones further in are another map's
		{"long key", "a119010000", true},
		{"negative", "a2010020f6", false},
		{"only negative", "a12000", false},
		{"bytes", "a1414100", false},
		{"array", "80", false},
		{"integer", "05", false},
		{"cut short", "a101", false},
		{"nothing", "", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			data, err := hex.DecodeString(tt.hex)
			if err != nil {
				t.Fatal(err)
			}
			if got := detcbor.OnlyUnsignedKeys(data); got != tt.want {
				t.Errorf("OnlyUnsignedKeys(%s) = %v, want %v", tt.hex, got, tt.want)
			}
			if n := testing.AllocsPerRun(10, func() { detcbor.OnlyUnsignedKeys(data) }); n != 0 && tt.want {
				t.Errorf("%v allocations", n)
			}
		})
	}
}

// FuzzOnlyUnsignedKeys holds it against decoding the map.
func FuzzOnlyUnsignedKeys(f *testing.F) {
	for _, s := range []string{"a2014102614101", "a0", "a201410202a12001", "a2010020f6", "a1414100", "80"} {
		data, _ := hex.DecodeString(s)
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if detcbor.Check(data) != nil {
			return
		}
		var top map[int64]detcbor.RawMessage
		want := len(data) > 0 && data[0]>>5 == 5 && detcbor.UnmarshalExtensible(data, &top) == nil
		for k := range top {
			want = want && k >= 0
		}
		if got := detcbor.OnlyUnsignedKeys(data); got != want {
			t.Errorf("OnlyUnsignedKeys(%x) = %v, decoding it says %v", data, got, want)
		}
	})
}
