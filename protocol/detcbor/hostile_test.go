package detcbor_test

import (
	"bytes"
	"encoding/hex"
	"runtime"
	"strings"
	"testing"

	"github.com/signetd/signet/protocol/detcbor"
)

// notWellFormed is RFC 8949, appendix F.1.
const notWellFormed = `
18 19 1a 1b 1901 1a0102 1b01020304050607 38 58 78 98 9a01ff00 b8 d8 f8 f900 fa0000 fb000000
41 61 5affffffff00 5bffffffffffffffff010203 7affffffff00 7b7fffffffffffffff010203
81 818181818181818181 8200 a1 a20102 a100 a2000000
c0
5f4100 7f6100
9f 9f0102 bf bf01020102 819f 9f8000 9f9f9f9f9fffffffff 9f819f819f9fffffff
1c 1d 1e 3c 3d 3e 5c 5d 5e 7c 7d 7e 9c 9d 9e bc bd be dc dd de fc fd fe
f800 f801 f818 f81f
5f00ff 5f21ff 5f6100ff 5f80ff 5fa0ff 5fc000ff 5fe0ff 7f4100ff
5f5f4100ffff 7f7f6100ffff
ff
81ff 8200ff a1ff a1ff00 a100ff a20000ff 9f81ff 9f829f819f9fffffffff
bf00ff bf000000ff
1f 3f df`

// wellFormedNotOurs is from appendix A: good CBOR, but none of what Signet uses,
// or not deterministic.
const wellFormedNotOurs = `
1bffffffffffffffff c249010000000000000000 3bffffffffffffffff c349010000000000000000
f90000 f98000 f93c00 fb3ff199999999999a f93e00 f97bff fa47c35000 f97c00 f97e00 f9fc00 fa7f800000 fb7ff0000000000000
f7 f0 f8ff c074323031332d30332d32315432303a30343a30305a c11a514b67b0 d74401020304 d818456449455446
5f42010243030405ff 7f657374726561646d696e67ff 9fff 9f018202039f0405ffff 83018202039f0405ff bf61610161629f0203ffff`

// ours is the rest of appendix A.
const ours = `
00 01 0a 17 1818 1819 1864 1903e8 1a000f4240 1b000000e8d4a51000 20 29 3863 3903e7 f4 f5 f6 40 4401020304
60 6161 6449455446 62225c 62c3bc 63e6b0b4 64f0908591 80 83010203 8301820203820405
98190102030405060708090a0b0c0d0e0f101112131415161718181819
a0 a201020304 a26161016162820203 826161a161626163 a56161614161626142616361436164614461656145`

func TestAppendices(t *testing.T) {
	for list, ok := range map[string]bool{notWellFormed: false, wellFormedNotOurs: false, ours: true} {
		for _, item := range strings.Fields(list) {
			data, err := hex.DecodeString(item)
			if err != nil {
				t.Fatal(err)
			}
			if err := detcbor.Check(data); (err == nil) != ok {
				t.Errorf("%s: %v, want accepted %v", item, err, ok)
			}
			// As the last value of a map, as it may stand in a message.
			if err := detcbor.Check(append([]byte{0xa1, 0x01}, data...)); (err == nil) != ok {
				t.Errorf("a101%s: %v, want accepted %v", item, err, ok)
			}
		}
	}
}

// TestBombsCostNothing: however much is claimed, refusing allocates a few hundred bytes,
// for the error.
func TestBombsCostNothing(t *testing.T) {
	for name, data := range map[string][]byte{
		"deep arrays":   bytes.Repeat([]byte{0x81}, 16<<10),
		"deep maps":     bytes.Repeat([]byte{0xa1, 0x00}, 8<<10),
		"wide array":    append([]byte{0x99, 0xff, 0xff}, make([]byte, 16<<10)...),
		"long string":   append([]byte{0x5b, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff}, make([]byte, 16<<10)...),
		"many in many":  append([]byte{0x98, 0xff}, bytes.Repeat(append([]byte{0x98, 0xff}, make([]byte, 255)...), 64)...),
		"huge map":      {0xbb, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff},
		"nested shrink": bytes.Repeat([]byte{0x98, 0xff}, 8<<10),
	} {
		const runs = 100
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		for range runs {
			if detcbor.Check(data) == nil {
				t.Fatalf("%s: accepted", name)
			}
		}
		runtime.ReadMemStats(&after)
		if n := (after.TotalAlloc - before.TotalAlloc) / runs; n > 1024 {
			t.Errorf("%s: %d bytes allocated", name, n)
		}
	}
}
