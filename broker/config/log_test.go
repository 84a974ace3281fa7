package config

import (
	"bytes"
	"encoding/json"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"unicode"
)

// strange is what strangers may say of themselves.
var strange = []string{
	"lamp-1\tläuft\n", "\x1b]0;owned\x07", "a\u202egnp.exe", "a\rb\u2028c\u200bd\u009be", "\U000e0041", "\xff\xfe", "日本\u00a0語", "\x7f",
}

// TestLogWritesNothingRaw: neither a message nor an attribute, its key or its error brings
// a control character or one that turns the direction of writing onto a terminal, and in
// JSON the escapes mean what was said.
func TestLogWritesNothingRaw(t *testing.T) {
	for _, format := range []string{"json", "text"} {
		for _, s := range strange {
			var out bytes.Buffer
			log, err := Log{Level: "info", Format: format}.Logger(&out)
			if err != nil {
				t.Fatal(err)
			}
			log.With("with", s).Info(s, "path", s, "err", errors.New(s), "k"+s, 1, slog.Group(s, "in", s))
			line := strings.TrimSuffix(out.String(), "\n")
			for _, r := range line {
				if !unicode.IsGraphic(r) {
					t.Errorf("%s: %q has %q", format, line, r)
				}
			}
			if format != "json" {
				continue
			}
			var read struct{ Msg, Path string }
			want := strings.ToValidUTF8(strings.ReplaceAll(s, "\xff", "\ufffd"), "\ufffd")
			if err := json.Unmarshal(out.Bytes(), &read); err != nil || read.Msg != want || read.Path != want {
				t.Errorf("%q was logged as %+v, %v", s, read, err)
			}
		}
	}
}

// A fullThenFree writer fails once.
type fullThenFree struct {
	out    bytes.Buffer
	failed bool
}

func (w *fullThenFree) Write(b []byte) (int, error) {
	if !w.failed {
		w.failed = true
		return 0, errors.New("no space left on device")
	}
	return w.out.Write(b)
}

func TestLogGoesOnAfterAnError(t *testing.T) {
	var out fullThenFree
	log, err := Log{Level: "info", Format: "json"}.Logger(&out)
	if err != nil {
		t.Fatal(err)
	}
	log.Info("lost")
	log.Info("kept")
	if s := out.out.String(); !strings.Contains(s, "kept") || strings.Contains(s, "lost") {
		t.Errorf("logged %q", s)
	}
}
