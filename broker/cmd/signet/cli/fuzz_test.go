package cli

import (
	"testing"
	"time"
)

// FuzzTokens puts bytes where a token and a key are read.
func FuzzTokens(f *testing.F) {
	const key = `{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}`
	for _, s := range []string{"", "a.b.c", "d28443a10126a04043616263", "\xd2\x84\x40\xa0\x40\x40", "sgne_x", "e30.e30.e30"} {
		f.Add(s, key)
	}
	f.Add("d1", `{"kty":"oct","k":"c3Nzc3Nzc3Nzc3Nzc3Nzc3Nzc3Nzc3Nzc3Nzc3Nzc3M"}`)
	f.Add("d2", "a3010120062158200000000000000000000000000000000000000000000000000000000000000000")
	f.Fuzz(func(t *testing.T, in, key string) {
		if s, err := look([]byte(in)); err == nil {
			_ = s.line(time.Unix(1<<30, 0))
		}
		keys, err := parseKeys([]byte(key))
		if err != nil {
			return
		}
		for _, format := range []string{"jws", "cwt", "cose"} {
			if (verification{format: format, audience: "demo"}).check([]byte(in), keys, time.Unix(1<<30, 0)) == nil {
				t.Fatalf("%s accepted %q under key %q", format, in, key)
			}
		}
	})
}
