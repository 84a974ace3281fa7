package protocol_test

import (
	"bytes"
	"errors"
	"runtime"
	"testing"

	"github.com/signetd/signet/protocol"
	"github.com/signetd/signet/protocol/detcbor"
)

// most is what decoding one message may allocate, in bytes, whatever it claims.
const most = 64 << 10

// TestDecodeAllocatesLittle: the largest messages there are, and those that claim
// to be larger.
func TestDecodeAllocatesLittle(t *testing.T) {
	crowd := make(map[int64]any)
	for i := range int64(200) {
		crowd[100+i] = []int{1, 2, 3}
	}
	list := make([]any, detcbor.MaxItems)
	for i := range list {
		list[i] = []any{[]any{[]any{}}}
	}
	start := func() protocol.Message {
		return &protocol.Start{Head: protocol.Head{ID: protocol.CallID{5}}, Request: request(t)}
	}
	for name, data := range map[string][]byte{
		"16 KiB of nothing": make([]byte, protocol.MaxEnroll),
		"more than 16 KiB":  make([]byte, 1<<20),
		"deep":              bytes.Repeat([]byte{0x81}, protocol.MaxEnroll),
		"a crowd of keys": edit(t, start(), func(m map[int64]any) {
			for k, v := range crowd {
				m[k] = v
			}
		}),
		"a list of lists":      edit(t, start(), func(m map[int64]any) { m[100] = list }),
		"a long optional text": edit(t, start(), func(m map[int64]any) { m[100] = string(make([]byte, 7000)) }),
		"a long pool":          edit(t, start(), func(m map[int64]any) { m[3] = string(bytes.Repeat([]byte{'a'}, 7000)) }),
		"versions by the list": edit(t, protocol.Refuse(protocol.CallID{5}, protocol.ProblemDetail{}), func(m map[int64]any) { m[3] = map[int64]any{60001: map[int64]any{0: 2, 3: make([]int, 256)}} }),
	} {
		const runs = 20
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		for range runs {
			if _, err := protocol.Decode(data); err != nil {
				var d *protocol.DecodeError
				if !errors.As(err, &d) {
					t.Errorf("%s: untyped error %v", name, err)
				}
			}
		}
		runtime.ReadMemStats(&after)
		if n := (after.TotalAlloc - before.TotalAlloc) / runs; n > most {
			t.Errorf("%s: %d bytes allocated for %d received", name, n, len(data))
		}
	}
}
