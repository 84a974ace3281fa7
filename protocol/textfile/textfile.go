// Package textfile reads text that people hand over in files and on standard input: tokens, keys,
// certificates, settings.
package textfile

import (
	"bytes"
	"fmt"
	"os"

	"github.com/signetd/signet/protocol/exit"
)

// ErrUTF16 is the error of text in UTF-16, which a shell of Windows writes where others write UTF-8.
var ErrUTF16 = exit.Usagef("text in UTF-16: save it in UTF-8")

// Plain gives text as it is meant: without the mark (U+FEFF) that editors of Windows put before
// UTF-8. What has no such mark is given as it is, be it text or not.
func Plain(raw []byte) ([]byte, error) {
	if bytes.HasPrefix(raw, []byte{0xff, 0xfe}) || bytes.HasPrefix(raw, []byte{0xfe, 0xff}) {
		return nil, ErrUTF16
	}
	return bytes.TrimPrefix(raw, []byte("\ufeff")), nil
}

// Read reads a file, and gives it as Plain does. Its errors name the file.
func Read(path string) ([]byte, error) {
	raw, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	if raw, err = Plain(raw); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return raw, nil
}
