package textfile_test

import (
	"bytes"
	"errors"
	"testing"

	"github.com/signetd/signet/protocol/exit"
	"github.com/signetd/signet/protocol/textfile"
)

// TestPlain: a mark goes, once and from the front alone; UTF-16 is refused in either order of bytes.
func TestPlain(t *testing.T) {
	for in, want := range map[string]string{
		"\ufeffa\r\n": "a\r\n", "\ufeff\ufeffa": "\ufeffa", "a\ufeff": "a\ufeff", "": "", "\ufeff": "", "\xd2\x84\x43": "\xd2\x84\x43",
	} {
		if got, err := textfile.Plain([]byte(in)); err != nil || !bytes.Equal(got, []byte(want)) {
			t.Errorf("%q: %q, %v", in, got, err)
		}
	}
	for _, in := range []string{"\xff\xfea\x00", "\xfe\xff\x00a"} {
		if _, err := textfile.Plain([]byte(in)); !errors.Is(err, textfile.ErrUTF16) || exit.Of(err) != exit.Usage {
			t.Errorf("%q: %v", in, err)
		}
	}
}
