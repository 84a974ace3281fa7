package command

import (
	"bytes"
	"errors"
	"testing"
	"unicode"

	"github.com/signetd/signet/protocol/output"
)

// TestLogWritesNothingRaw: what a broker says, or a name has, does nothing to a terminal.
func TestLogWritesNothingRaw(t *testing.T) {
	for _, s := range []string{"\x1b]0;owned\x07", "a\u202egnp.exe", "a\rb\u2028c\u200bd\u009be", "\U000e0041", "\xff\xfe", "\x7f"} {
		var out bytes.Buffer
		p := &program{err: output.To(&out)} // as main has it: slog's text leaves U+007F as it is
		p.log().Warn(s, "path", s, "err", errors.New(s), "k"+s, 1)
		for _, r := range out.String() {
			if !unicode.IsGraphic(r) && r != '\n' {
				t.Errorf("%q has %q", &out, r)
			}
		}
	}
}
