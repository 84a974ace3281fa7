package main

import (
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// A group is an object of a collection's files. What is left out has the value that the
// collection's own runner gives it.
type group struct {
	Name     string     `json:"group"`
	Disabled bool       `json:"disable"`
	Version  *byte      `json:"ver"`               // of the protocol; 4
	Connect  *bool      `json:"connect"`           // begin with a CONNECT; true
	Ends     *bool      `json:"expect_disconnect"` // the server closes the connection; true
	Tests    []sequence `json:"tests"`
}

// A sequence is what is sent and what is to come, in order.
type sequence struct {
	Name    string `json:"name"`
	Version *byte  `json:"ver"`
	Connect *bool  `json:"connect"`
	Ends    *bool  `json:"expect_disconnect"`
	Steps   []step `json:"msgs"`
}

// A step's type is "send", "recv" or "external_publish".
type step struct {
	Type    string `json:"type"`
	Payload string `json:"payload"` // of a publication as it is, else in the notation of bytesOf
	Topic   string `json:"topic"`
	QoS     byte   `json:"qos"`
	Retain  bool   `json:"retain"`
}

// readCollection reads all files of a folder, in the order of their names.
func readCollection(folder string) (all []group, err error) {
	files, err := filepath.Glob(filepath.Join(folder, "*.json")) // sorted
	if err != nil {
		return nil, fmt.Errorf("reading the collection: %w", err)
	}
	if len(files) == 0 {
		return nil, fmt.Errorf("no *.json files in %q: name the folder of the collection", folder)
	}
	for _, name := range files {
		raw, err := os.ReadFile(name)
		if err != nil {
			return nil, fmt.Errorf("reading the collection: %w", err)
		}
		var groups []group
		if err := json.Unmarshal(raw, &groups); err != nil {
			return nil, fmt.Errorf("reading %s: %w", name, err)
		}
		for _, g := range groups {
			if !g.Disabled {
				all = append(all, g)
			}
		}
	}
	return all, nil
}

// bytesOf reads the collection's notation: hexadecimal bytes, 'text', and numbers with a letter
// for their form: i one byte, H k m s two, L four, v r of variable length (whatever it takes).
func bytesOf(notation string) (b []byte, err error) {
	for rest := strings.TrimLeft(notation, " "); rest != ""; rest = strings.TrimLeft(rest, " ") {
		if rest[0] == '\'' {
			text, after, ok := strings.Cut(rest[1:], "'")
			if !ok {
				return nil, fmt.Errorf("%q: a text without an end", notation)
			}
			b, rest = append(b, text...), after
			continue
		}
		var part string
		part, rest, _ = strings.Cut(rest, " ")
		bits, ok := map[byte]int{'i': 8, 'H': 16, 'k': 16, 'm': 16, 's': 16, 'L': 32, 'v': 63, 'r': 63}[part[0]]
		if !ok {
			raw, err := hex.DecodeString(part)
			if err != nil {
				return nil, fmt.Errorf("%q: %w", notation, err)
			}
			b = append(b, raw...)
			continue
		}
		n, err := strconv.ParseUint(part[1:], 10, bits)
		if err != nil {
			return nil, fmt.Errorf("%q: %w", notation, err)
		}
		switch bits {
		case 8:
			b = append(b, byte(n))
		case 16:
			b = binary.BigEndian.AppendUint16(b, uint16(n))
		case 32:
			b = binary.BigEndian.AppendUint32(b, uint32(n))
		default:
			b = binary.AppendUvarint(b, n&math.MaxInt64)
		}
	}
	return b, nil
}

// or gives what p points to, or else what stands for it.
func or[T any](p *T, otherwise ...*T) T {
	for _, q := range append([]*T{p}, otherwise...) {
		if q != nil {
			return *q
		}
	}
	var none T
	return none
}
