package config

import (
	"fmt"
	"io"
	"log/slog"

	"github.com/signetd/signet/protocol/output"
)

func (l Log) level() (slog.Level, error) {
	var v slog.Level
	if err := v.UnmarshalText([]byte(l.Level)); err != nil {
		return v, fmt.Errorf("log.level %q: want debug, info, warn or error", l.Level)
	}
	return v, nil
}

// Logger makes the logger that l describes. What strangers say of themselves, such as the
// path of a request, does nothing to the terminal of who reads it: slog's JSON leaves the
// control characters from U+0080 and those that turn the direction of writing as they are.
func (l Log) Logger(w io.Writer) (*slog.Logger, error) {
	level, err := l.level()
	if err != nil {
		return nil, Together(err)
	}
	w = output.Lines(w)
	opts := &slog.HandlerOptions{Level: level}
	if l.Format == "text" {
		return slog.New(slog.NewTextHandler(w, opts)), nil
	}
	return slog.New(slog.NewJSONHandler(w, opts)), nil
}
