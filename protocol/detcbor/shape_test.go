package detcbor_test

import (
	"encoding/hex"
	"errors"
	"testing"

	"github.com/signetd/signet/protocol/detcbor"
)

type inner struct {
	Code uint8 `cbor:"0,keyasint"`
}

type shaped struct {
	Count uint64            `cbor:"1,keyasint"`
	Exact [2]byte           `cbor:"2,keyasint"`
	Bytes []byte            `cbor:"3,keyasint,omitempty"`
	Text  string            `cbor:"4,keyasint,omitempty"`
	List  []string          `cbor:"5,keyasint,omitempty"`
	Pairs map[string]string `cbor:"6,keyasint,omitempty"`
	In    *inner            `cbor:"7,keyasint,omitempty"`
	Flag  bool              `cbor:"-1,keyasint,omitempty"`
}

func TestShape(t *testing.T) {
	shape := detcbor.ShapeOf(shaped{})
	for _, tt := range []struct {
		name, hex string
		ok        bool
	}{
		{"least", "a2010502420102", true},
		{"everything", "a8" + "0105" + "02420102" + "034100" + "046161" + "05816161" + "06a1616160" + "07a10005" + "20f5", true},
		{"unknown keys", "a40105024201020a80616180", true},
		{"text key as long as a known one", "a3010502420102626161f6", true},
		{"a required one is missing", "a10105", false},
		{"required, empty bytes", "a201050240", false},
		{"null", "a3010502420102" + "03f6", false},
		{"null in a list", "a3010502420102" + "0581f6", false},
		{"null in a map", "a3010502420102" + "06a16161f6", false},
		{"array for bytes", "a3010502420102" + "038101", false},
		{"array for exact bytes", "a2010502820102", false},
		{"a byte too few", "a20105024101", false},
		{"text for an integer", "a201616102420102", false},
		{"negative for unsigned", "a2012002420102", false},
		{"bytes for text", "a3010502420102" + "044161", false},
		{"empty bytes", "a3010502420102" + "0340", false},
		{"empty text", "a3010502420102" + "0460", false},
		{"empty list", "a3010502420102" + "0580", false},
		{"empty map", "a3010502420102" + "06a0", false},
		{"inner map without its key", "a3010502420102" + "07a10105", false},
		{"inner map is text", "a3010502420102" + "076161", false},
		{"integer for a flag", "a3010502420102" + "2001", false},
		{"flag", "a3010502420102" + "20f5", true},
		{"not a map", "80", false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			data, err := hex.DecodeString(tt.hex)
			if err != nil {
				t.Fatal(err)
			}
			r, err := detcbor.NewReader(data)
			if err != nil {
				t.Fatal(err)
			}
			if err := shape.Check(r); (err == nil) != tt.ok || err != nil && !errors.Is(err, detcbor.ErrMalformed) {
				t.Errorf("%v, want ok %v", err, tt.ok)
			}
		})
	}
}

// FuzzShape: of what has the shape and is decoded, the parts that matter are there.
func FuzzShape(f *testing.F) {
	for _, s := range []string{"a2010502420102", "a301050242010203f6", "a20105028201020", "a3010502420102076161"} {
		data, _ := hex.DecodeString(s)
		f.Add(data)
	}
	shape := detcbor.ShapeOf(shaped{})
	f.Fuzz(func(t *testing.T, data []byte) {
		r, err := detcbor.NewReader(data)
		if err != nil || shape.Check(r) != nil {
			return
		}
		var got struct {
			Exact []byte `cbor:"2,keyasint"`
			Bytes []byte `cbor:"3,keyasint"`
		}
		if detcbor.UnmarshalExtensible(data, &got) != nil {
			return // the library takes no byte strings for keys, the shape passes them over
		}
		if len(got.Exact) != 2 || got.Bytes != nil && len(got.Bytes) == 0 {
			t.Fatalf("%x has the shape, and is %+v", data, got)
		}
	})
}
