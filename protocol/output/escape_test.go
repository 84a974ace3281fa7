package output

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"unicode"
)

func TestNothingReachesTheTerminalRaw(t *testing.T) {
	for in, want := range map[string]string{
		"lamp-1\tläuft\n":           "lamp-1\tläuft\n",
		"\x1b]0;owned\x07":          `\u001b]0;owned\u0007`,
		"a\u202egnp.exe":            `a\u202egnp.exe`,
		"a\rb\u2028c\u200bd\u009be": `a\u000db\u2028c\u200bd\u009be`,
		"\U000e0041":                `\udb40\udc41`,
		"\xff\xfe":                  `\ufffd\ufffd`,
		"日本\u00a0語":                 "日本\u00a0語",
	} {
		var whole, pieces bytes.Buffer
		if n, err := To(&whole).Write([]byte(in)); n != len(in) || err != nil || whole.String() != want {
			t.Errorf("%q: %d, %v, %q, want %q", in, n, err, &whole, want)
		}
		w := To(&pieces)
		for i := range len(in) {
			if _, err := w.Write([]byte(in[i : i+1])); err != nil {
				t.Error(err)
			}
		}
		if in != "\xff\xfe" && pieces.String() != want {
			t.Errorf("%q byte by byte: %q, want %q", in, &pieces, want)
		}
		var line bytes.Buffer
		if n, err := Lines(&line).Write([]byte(in)); n != len(in) || err != nil || line.String() != want {
			t.Errorf("line %q: %d, %v, %q, want %q", in, n, err, &line, want)
		}
		if cell := Cell(in); strings.ContainsAny(cell, "\t\n") {
			t.Errorf("cell %q", cell)
		}
	}
}

// A disk takes so many bytes more.
type disk struct {
	on   bytes.Buffer
	room int
}

func (d *disk) Write(b []byte) (int, error) {
	if len(b) > d.room {
		n, _ := d.on.Write(b[:d.room])
		d.room = 0
		return n, errFull
	}
	d.room -= len(b)
	return d.on.Write(b)
}

var errFull = errors.New("full")

// TestLinesOutliveAFullDisk: a log goes on when there is room again, each line by itself.
func TestLinesOutliveAFullDisk(t *testing.T) {
	d := &disk{room: 6}
	w := Lines(d)
	for i, step := range []struct {
		line string
		room int
		want error
	}{{"one\n", 0, nil}, {"two\n", 0, errFull}, {"three\n", 0, errFull}, {"four\n", 100, nil}, {"five\n", 0, nil}} {
		d.room += step.room
		if _, err := w.Write([]byte(step.line)); !errors.Is(err, step.want) {
			t.Errorf("line %d: %v, want %v", i+1, err, step.want)
		}
	}
	if want := "one\ntw\nfour\nfive\n"; d.on.String() != want {
		t.Errorf("the log is %q, want %q", &d.on, want)
	}
	sticky := To(&disk{})
	if _, err := sticky.Write([]byte("x")); !errors.Is(err, errFull) || !errors.Is(sticky.Err(), ErrOutput) {
		t.Errorf("what a program prints: %v, %v", err, sticky.Err())
	}
}

// Within JSON the escapes mean what stood there.
func FuzzEscape(f *testing.F) {
	f.Add("lamp\u202e-1\x7f\U000e0041")
	f.Fuzz(func(t *testing.T, s string) {
		raw, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		var out bytes.Buffer
		if _, err := To(&out).Write(raw); err != nil {
			t.Fatal(err)
		}
		for _, r := range out.String() {
			if !unicode.IsGraphic(r) {
				t.Fatalf("%q has %q", &out, r)
			}
		}
		var before, after string
		if err := json.Unmarshal(raw, &before); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(out.Bytes(), &after); err != nil || after != before {
			t.Fatalf("%q became %q: %v", before, after, err)
		}
	})
}
