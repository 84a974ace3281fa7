package command

import (
	"bytes"
	"errors"
	"io"
	"strings"
	"testing"
	"unicode"

	"github.com/signetd/signet/protocol/output"
)

// TestLogWritesNothingRaw: what a broker says, or a name has, does nothing to a terminal.
func TestLogWritesNothingRaw(t *testing.T) {
	for _, s := range []string{"\x1b]0;owned\x07", "a\u202egnp.exe", "a\rb\u2028c\u200bd\u009be", "\U000e0041", "\xff\xfe", "\x7f"} {
		var out bytes.Buffer
		p := &program{err: output.Lines(&out)} // as main has it: slog's text leaves U+007F as it is
		p.log().Warn(s, "path", s, "err", errors.New(s), "k"+s, 1)
		for _, r := range out.String() {
			if !unicode.IsGraphic(r) && r != '\n' {
				t.Errorf("%q has %q", &out, r)
			}
		}
	}
}

// A flaky writer takes nothing while it is full.
type flaky struct {
	took bytes.Buffer
	full bool
}

func (f *flaky) Write(b []byte) (int, error) {
	if f.full {
		return 0, errors.New("full")
	}
	return f.took.Write(b)
}

// TestLogOutlivesAFullDisk: what could not be written does not silence what comes after it.
func TestLogOutlivesAFullDisk(t *testing.T) {
	to := &flaky{full: true}
	p := &program{out: io.Discard, err: to}
	p.main(t.Context(), nil)
	p.log().Warn("lost")
	to.full = false
	p.log().Warn("there is room again")
	if got := to.took.String(); !strings.Contains(got, "there is room again") || strings.Contains(got, "lost") {
		t.Errorf("the log is %q", got)
	}
}
