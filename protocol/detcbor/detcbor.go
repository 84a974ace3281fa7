// Package detcbor is the one home of Signet's CBOR rules: deterministic encoding
// (RFC 8949, section 4.2.1) and strict decoding. Bytes that any other encoder
// would have written differently are refused, so equal values have equal bytes,
// hashes and signatures.
//
// It is the one importer of fxamacker/cbor, and never guesses at bad input.
package detcbor

import (
	"errors"
	"fmt"
	"reflect"

	"github.com/fxamacker/cbor/v2"
)

// RawMessage is one encoded data item, kept as it came.
type RawMessage = cbor.RawMessage

// ErrNotDeterministic is wrapped by Check's errors about well-formed CBOR that
// RFC 8949, 4.2.1 would have encoded differently; ErrMalformed by all others.
var (
	ErrMalformed        = errors.New("malformed CBOR")
	ErrNotDeterministic = errors.New("CBOR is not deterministic")
)

// Limits on one item, chosen to be far above what Signet sends.
const (
	MaxDepth = 8
	MaxItems = 256 // elements of an array, pairs of a map
)

var enc, dec, decLax = modes()

func modes() (cbor.EncMode, cbor.DecMode, cbor.DecMode) {
	e, err := cbor.CoreDetEncOptions().EncMode()
	if err != nil {
		panic("detcbor: encoding options: " + err.Error()) // our own constants
	}
	opts := cbor.DecOptions{
		DupMapKey: cbor.DupMapKeyEnforcedAPF, IndefLength: cbor.IndefLengthForbidden, TagsMd: cbor.TagsForbidden,
		ExtraReturnErrors: cbor.ExtraDecErrorUnknownField, MaxNestedLevels: MaxDepth, MaxArrayElements: MaxItems, MaxMapPairs: MaxItems,
		NaN: cbor.NaNDecodeForbidden, Inf: cbor.InfDecodeForbidden, BignumTag: cbor.BignumTagForbidden, IntDec: cbor.IntDecConvertSignedOrFail,
		FieldNameMatching: cbor.FieldNameMatchingCaseSensitive, DefaultMapType: reflect.TypeFor[map[int64]any](),
	}
	d, err := opts.DecMode()
	if err != nil {
		panic("detcbor: decoding options: " + err.Error())
	}
	opts.ExtraReturnErrors = cbor.ExtraDecErrorNone
	lax, err := opts.DecMode()
	if err != nil {
		panic("detcbor: decoding options: " + err.Error())
	}
	return e, d, lax
}

// Marshal encodes v deterministically.
func Marshal(v any) ([]byte, error) {
	b, err := enc.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("encode CBOR: %w", err)
	}
	return b, nil
}

// Unmarshal checks that data is exactly one deterministic item within the limits
// and decodes it. A map key that v has no field for is an error.
func Unmarshal(data []byte, v any) error { return unmarshal(dec, data, v) }

// UnmarshalExtensible is Unmarshal for maps that later versions may extend:
// keys that v has no field for are passed over. All else is as strict.
func UnmarshalExtensible(data []byte, v any) error { return unmarshal(decLax, data, v) }

func unmarshal(m cbor.DecMode, data []byte, v any) error {
	if err := Check(data); err != nil {
		return err
	}
	return decode(m, data, v)
}
