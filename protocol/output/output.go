// Package output keeps a program from saying that all went well when what it printed
// went nowhere: a full disk, a closed pipe. Each program writes its data through one
// Writer and asks it before it exits.
package output

import (
	"fmt"
	"io"
	"sync"
)

// A Writer passes on what is written and remembers the first error. It is safe for
// concurrent use.
type Writer struct {
	to io.Writer

	mu  sync.Mutex // guards err, and keeps writes whole
	err error
}

// To makes a Writer of w.
func To(w io.Writer) *Writer { return &Writer{to: w} }

// Write writes to the writer below. After an error it writes nothing more and gives that
// error again.
func (w *Writer) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.err != nil {
		return 0, w.err
	}
	n, err := w.to.Write(b)
	if err == nil && n < len(b) {
		err = io.ErrShortWrite
	}
	if err != nil {
		w.err = fmt.Errorf("write the output: %w", err)
	}
	return n, w.err
}

// Err is the first error, nil if all that was written is out.
func (w *Writer) Err() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.err
}
