package mqttlink

import (
	"bytes"
	"io"
	"net"
	"testing"
)

// pieces is a connection that hands out its bytes a few at a time.
type pieces struct {
	net.Conn
	left []byte
	size int
}

func (p *pieces) Read(b []byte) (int, error) {
	if len(p.left) == 0 {
		return 0, io.EOF
	}
	n := copy(b[:min(p.size, len(b))], p.left)
	p.left = p.left[n:]
	return n, nil
}

func (p *pieces) Close() error { return nil }

// longest walks over whole packets, slowly, and gives the longest body that a
// header announces; -1 for a length that does not end (MQTT 3.1.1, section 2.2.3).
func longest(raw []byte) (most int) {
	for len(raw) > 1 {
		length, at := 0, 1
		for shift := 0; ; shift += 7 {
			if at == len(raw) {
				return max(most, length) // it can only grow
			}
			b := raw[at]
			at++
			length |= int(b&0x7f) << shift
			if b&0x80 == 0 {
				break
			}
			if shift == 21 {
				return -1
			}
		}
		if most = max(most, length); length > len(raw)-at {
			return most
		}
		raw = raw[at+length:]
	}
	return most
}

// FuzzCapped holds the cap against a slow walk over the same bytes, however they arrive.
func FuzzCapped(f *testing.F) {
	f.Add([]byte{0x20, 2, 0, 0, 0x30, 3, 0, 1, 'a'}, 1)
	f.Add([]byte{0x30, 0xff, 0xff, 0xff, 0x7f}, 2)
	f.Add([]byte{0x30, 0x80, 0x80, 0x80, 0x80, 1}, 3)
	f.Add([]byte{0x30, 0x80, 0x20}, 4)
	f.Fuzz(func(t *testing.T, raw []byte, size int) {
		const limit = 1000
		if size < 1 || size > 4096 {
			return
		}
		got, err := io.ReadAll(&capped{Conn: &pieces{left: raw, size: size}, limit: limit})
		most := longest(raw)
		if refused := most < 0 || most > limit; refused != (err != nil) {
			t.Errorf("longest packet %d, limit %d: %v", most, limit, err)
		}
		if !bytes.HasPrefix(raw, got) || err == nil && len(got) != len(raw) {
			t.Errorf("%d of %d bytes came through", len(got), len(raw))
		}
	})
}
