package packet

import (
	"bytes"
	"reflect"
	"testing"
)

// seeds are whole packets: sound ones, and some that are not.
func seeds() (all [][]byte) {
	for from, packets := range sound() {
		for _, p := range packets {
			for _, v := range []Version{V311, V5} {
				if b := again(v, from, headerOf(p), p); b != nil {
					all = append(all, b, b[:len(b)-1], append(bytes.Clone(b), 0))
				}
			}
		}
	}
	return append(all, []byte{0x40, 3, 0, 1, 0x10}, []byte{0x40, 4, 0, 1, 0, 0}, []byte{0x62, 2, 0, 0}, []byte{0xc0, 0}, []byte{0xe0, 1, 0}, []byte{0x10, 0xff, 0xff, 0xff, 0x7f})
}

// FuzzPacket: nothing panics, what is refused has a code, and what is accepted comes out the same
// when it is written and read once more.
func FuzzPacket(f *testing.F) {
	for _, b := range seeds() {
		f.Add(byte(V311), false, b)
		f.Add(byte(V5), false, b)
		f.Add(byte(V5), true, b)
	}
	f.Fuzz(func(t *testing.T, version byte, fromServer bool, b []byte) {
		v, from := V311, side(fromServer)
		if version%2 == 1 {
			v = V5
		}
		h, n, err := ReadHeader(b)
		if codeOf(t, err) != 0 || n == 0 || len(b) < n+h.Length {
			return
		}
		PeekConnect(b[n:])
		b = b[:n+h.Length]
		before := bytes.Clone(b)
		d, wrong := Describe(v, fromServer, h, b[n:])
		codeOf(t, wrong) // which fails of any other error
		if len(d.Payload) > len(b) {
			t.Errorf("a payload of %d bytes in %d", len(d.Payload), len(b))
		}
		p, err := read(v, from, b)
		if err == nil && wrong != nil {
			t.Errorf("read, but not described: %v", wrong)
		}
		if code := codeOf(t, err); code != 0 {
			if !code.Failed() {
				t.Errorf("refused with %v", code)
			}
			return
		}
		if c, ok := p.(*Connect); ok {
			v = c.Version
			if has, ok := PeekConnect(b[n:]); !ok || has != c.HasPassword {
				t.Errorf("a password %v, %v", has, ok)
			}
		}
		if from == server && v == V311 && h.Type == DISCONNECT {
			return // there is no such packet to write
		}
		written := again(v, from, h, p)
		if !bytes.Equal(b, before) {
			t.Errorf("reading changed %x to %x", before, b)
		}
		q, err := read(v, from, written)
		if err != nil || !reflect.DeepEqual(plain(p), plain(q)) {
			t.Errorf("%x\nis %#v\nwritten as %x\nread as %#v, %v", b, p, written, q, err)
		}
	})
}
