// Package output is how programs print. It keeps them from saying that all went well when
// what they printed went nowhere: a full disk, a closed pipe. And it keeps what others said
// of themselves, devices and webhooks among them, from doing anything to a terminal: what is
// not graphic is shown as an escape, as JSON has it. Each program prints through a Writer, which
// it asks before it exits, and says the rest through Lines.
package output

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"unicode"
	"unicode/utf16"
	"unicode/utf8"
)

// ErrOutput is wrapped, with the system's error, when what a program prints goes nowhere:
// a full disk there is not one where the program keeps things.
var ErrOutput = errors.New("write the output")

// A Writer passes on what is written and remembers the first error. It is safe for
// concurrent use.
type Writer struct {
	to io.Writer

	mu   sync.Mutex // guards what follows, and keeps writes whole
	err  error
	part []byte // the beginning of a character that a write ended with
}

// To makes a Writer of w.
func To(w io.Writer) *Writer { return &Writer{to: w} }

// Write writes to the writer below, what is not graphic but for line ends and tabs as
// escapes. After an error it writes nothing more and gives that error again.
func (w *Writer) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	all := append(w.part, b...)
	whole := len(all)
	for i := 1; i < utf8.UTFMax && i <= len(all); i++ {
		if tail := all[len(all)-i:]; utf8.RuneStart(tail[0]) {
			if !utf8.FullRune(tail) {
				whole -= i
			}
			break
		}
	}
	w.part = append([]byte(nil), all[whole:]...)
	if err := w.write(escape(string(all[:whole]), "\n\t")); err != nil {
		return 0, err
	}
	return len(b), nil
}

// WriteRaw writes bytes as they are, for what is meant to move a terminal.
func (w *Writer) WriteRaw(b []byte) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.write(string(b))
}

func (w *Writer) write(s string) error {
	if w.err != nil {
		return w.err
	}
	n, err := io.WriteString(w.to, s)
	if err == nil && n < len(s) {
		err = io.ErrShortWrite
	}
	if err != nil {
		w.err = fmt.Errorf("%w: %w", ErrOutput, err)
	}
	return w.err
}

// Lines makes a writer to w for a log and for what is said beside the output, which nobody asks
// whether it is out, and which outlives a full disk: what is not graphic is shown as by a
// Writer, but an error is that of its own write only. Each write is whole, and begins on a line of
// its own when the one before was cut off. It is safe for concurrent use.
func Lines(w io.Writer) io.Writer { return &lines{to: w} }

type lines struct {
	to io.Writer

	mu  sync.Mutex // guards cut, and keeps writes whole
	cut bool       // the last write ended in the middle
}

func (l *lines) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := escape(string(b), "\n\t")
	if l.cut {
		s = "\n" + s
	}
	n, err := io.WriteString(l.to, s)
	if n > 0 {
		l.cut = n < len(s) && s[n-1] != '\n'
	}
	if err != nil {
		return 0, err
	}
	return len(b), nil
}

// Cell is s for one cell of a table, in which a line end or a tab would make another.
func Cell(s string) string { return escape(s, "") }

// escape shows what is not graphic as \uXXXX, two of them beyond the first 65,536
// characters, and a byte that is no character as \ufffd: within a string of JSON that
// means what it meant before.
func escape(s, but string) string {
	plain := func(r rune, size int) bool {
		return (r != utf8.RuneError || size > 1) && (unicode.IsGraphic(r) || strings.ContainsRune(but, r))
	}
	var b *strings.Builder
	for i := 0; i < len(s); {
		r, size := utf8.DecodeRuneInString(s[i:])
		switch {
		case plain(r, size):
			if b != nil {
				b.WriteString(s[i : i+size])
			}
		default:
			if b == nil {
				b = new(strings.Builder)
				b.WriteString(s[:i])
			}
			if high, low := utf16.EncodeRune(r); r > 0xffff {
				fmt.Fprintf(b, "\\u%04x\\u%04x", high, low)
			} else {
				fmt.Fprintf(b, "\\u%04x", r)
			}
		}
		i += size
	}
	if b == nil {
		return s
	}
	return b.String()
}

// Err is the first error, nil if all that was written is out.
func (w *Writer) Err() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.err
}
