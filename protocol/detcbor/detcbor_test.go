package detcbor_test

import (
	"bytes"
	"encoding/hex"
	"errors"
	"reflect"
	"strings"
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

// A record is what the library makes of what MapWriter writes.
type record struct {
	Bytes []byte            `cbor:"0,keyasint"`
	Some  []byte            `cbor:"1,keyasint,omitempty"`
	Name  string            `cbor:"2,keyasint"`
	Note  string            `cbor:"23,keyasint,omitempty"`
	Far   int64             `cbor:"24,keyasint,omitempty"`
	Rev   uint64            `cbor:"300,keyasint,omitempty"`
	Tags  []string          `cbor:"-1,keyasint,omitempty"`
	More  map[string]string `cbor:"-25,keyasint,omitempty"`
	Inner *struct {
		Key []byte `cbor:"3,keyasint"`
	} `cbor:"-65537,keyasint,omitempty"`
}

func (r *record) write(b []byte) []byte {
	w := detcbor.BeginMap(b)
	w.Bytes(0, r.Bytes)
	w.SomeBytes(1, r.Some)
	w.Text(2, r.Name)
	w.SomeText(23, r.Note)
	w.SomeInt(24, r.Far)
	w.SomeUint(300, r.Rev)
	w.SomeTexts(-1, r.Tags)
	w.SomeTextMap(-25, r.More)
	if r.Inner != nil {
		in := w.Map(-65537)
		in.Bytes(3, r.Inner.Key)
		w.End(in)
	}
	return w.Done()
}

func (r *record) read(data []byte) error {
	in, err := detcbor.NewItems(data)
	if err != nil {
		return err
	}
	in.Each(func(key int64) {
		switch key {
		case 0:
			r.Bytes = in.Bytes()
		case 1:
			r.Some = in.Bytes()
		case 2:
			r.Name = in.Text()
		case 23:
			r.Note = in.Text()
		case 24:
			r.Far = in.Int()
		case 300:
			r.Rev = in.UpTo(1000)
		case -1:
			r.Tags = in.Texts()
		case -25:
			r.More = in.TextMap()
		case -65537:
			r.Inner = &struct {
				Key []byte `cbor:"3,keyasint"`
			}{make([]byte, 2)}
			in.Each(func(int64) { in.Fixed(r.Inner.Key) })
		default:
			in.Fail(errUnknown)
		}
	})
	return in.Err()
}

var errUnknown = errors.New("unknown")

// TestMapWriter: a map that is written and read member by member is what the library makes of it.
func TestMapWriter(t *testing.T) {
	full := record{Bytes: []byte{1}, Some: []byte{2}, Name: "a", Note: "b", Far: -7, Rev: 999, Tags: []string{"y", "x"}, More: map[string]string{"z": "1", "aa": "2", "b": ""}}
	full.Inner = &struct {
		Key []byte `cbor:"3,keyasint"`
	}{[]byte{8, 9}}
	for name, want := range map[string]record{"full": full, "least": {Bytes: []byte{}}} {
		library, err := detcbor.Marshal(want)
		if err != nil {
			t.Fatal(err)
		}
		if got := want.write([]byte("head")); !bytes.Equal(got[4:], library) {
			t.Errorf("%s: written %x, by the library %x", name, got[4:], library)
		}
		var again record
		if err := again.read(library); err != nil || !reflect.DeepEqual(again, want) {
			t.Errorf("%s: read %+v, %v, want %+v", name, again, err, want)
		}
	}
}

// TestItemsOfOtherKinds: what is not as it should be is an error that names its key.
func TestItemsOfOtherKinds(t *testing.T) {
	for text, want := range map[string]error{
		"80": detcbor.ErrMalformed, "a1416100": detcbor.ErrMalformed, "a10000": detcbor.ErrMalformed, "a1024161": detcbor.ErrMalformed,
		"a1181843010203": detcbor.ErrMalformed, "a119012c1903e9": detcbor.ErrMalformed, "a119012c20": detcbor.ErrMalformed, "a12061" + "61": detcbor.ErrMalformed,
		"a1208100": detcbor.ErrMalformed, "a13818a10000": detcbor.ErrMalformed, "a13818a1616100": detcbor.ErrMalformed,
		"a13a00010000a1034108": detcbor.ErrLength, "a105f6": errUnknown,
	} {
		data, err := hex.DecodeString(text)
		if err != nil {
			t.Fatal(err)
		}
		var r record
		if err := r.read(data); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", text, err, want)
		}
	}
	var r record
	if err := r.read([]byte{0xa2, 0x00, 0x00, 0x02, 0x00}); err == nil || !strings.HasPrefix(err.Error(), "key 0: ") {
		t.Errorf("of two errors %v", err)
	}
}
