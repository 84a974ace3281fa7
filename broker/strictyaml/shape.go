package strictyaml

import (
	"bytes"
	"fmt"
)

// Bounds on a file's shape, far above what ours has. The YAML parser has none: a
// megabyte of "[" costs it all memory there is.
const (
	maxNesting   = 16   // open brackets, or "- " and "? " in a row
	maxIndent    = 64   // spaces
	maxLineBytes = 4096 // of one line
	maxQuoted    = 4096 // brackets in quotes, of the whole file
)

// CheckShape refuses, with an *Error, what nests too deep. It reads no YAML: brackets
// in comments and in quotes that end on another line count too.
func CheckShape(raw []byte) error {
	open, quoted := 0, 0
	for i, line := range bytes.Split(raw, []byte("\n")) {
		text := bytes.TrimLeft(line, " ")
		if bytes.HasPrefix(text, []byte("#")) {
			continue
		}
		indent := len(line) - len(text)
		refuse := func(column int, why string) error { return &Error{Place{i + 1, column}, why} }
		if len(line) > maxLineBytes {
			return refuse(maxLineBytes+1, fmt.Sprintf("a line of more than %d bytes", maxLineBytes))
		}
		if indent > maxIndent {
			return refuse(maxIndent+1, "nested too deep")
		}
		row := 0
		for at := 0; at < len(text); at++ {
			c := text[at]
			if end := quoteEnd(text, at); end > at {
				quoted += bytes.Count(text[at:end], []byte("[")) + bytes.Count(text[at:end], []byte("{"))
				at, row = end, 0
				continue
			}
			switch c {
			case '[', '{':
				open++
			case ']', '}':
				open = max(0, open-1)
			case '-', '?':
				row++
			}
			if c != '-' && c != '?' && c != ' ' && c != '\t' {
				row = 0
			}
			if open > maxNesting || row > maxNesting || quoted > maxQuoted {
				return refuse(indent+at+1, "nested too deep")
			}
		}
	}
	return nil
}

// quoteEnd gives where the quoted text that begins at at ends on its line; at itself
// if none begins there or it does not end.
func quoteEnd(text []byte, at int) int {
	q := text[at]
	if q != '"' && q != '\'' || at > 0 && bytes.IndexByte([]byte(" \t[{,"), text[at-1]) < 0 {
		return at
	}
	for i := at + 1; i < len(text); i++ {
		switch {
		case q == '"' && text[i] == '\\':
			i++
		case text[i] == q && q == '\'' && i+1 < len(text) && text[i+1] == q:
			i++
		case text[i] == q:
			return i
		}
	}
	return at
}
