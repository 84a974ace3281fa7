package message_test

import (
	"bytes"
	"errors"
	"reflect"
	"testing"
	"time"

	"github.com/signetd/signet/broker/mqttd/message"
	"github.com/signetd/signet/protocol/detcbor"
	"github.com/signetd/signet/protocol/topic/topictest"
)

func examples(t testing.TB) []*message.Message {
	name := topictest.Name(t, "plant/1/état")
	return []*message.Message{
		{Topic: name, Payload: []byte{}, Properties: []byte{}},
		{Topic: name, Payload: []byte("on"), Properties: []byte{1, 1}, QoS: 2, Retain: true, Expires: time.UnixMilli(1800000000123)},
		{Topic: name, Payload: bytes.Repeat([]byte{7}, 70000), Properties: []byte{}, QoS: 1, Expires: time.UnixMilli(1)},
	}
}

func TestCodec(t *testing.T) {
	for _, m := range examples(t) {
		b := m.Append(nil)
		got, err := message.Decode(b)
		if err != nil || !reflect.DeepEqual(got, m) {
			t.Errorf("%+v, %v", got, err)
		}
		for i := range min(len(b), 40) {
			if got, err := message.Decode(b[:i]); !errors.Is(err, message.ErrMalformed) {
				t.Errorf("%d bytes of it: %+v, %v", i, got, err)
			}
		}
		for i := range b {
			b[i] ^= 0xff // nothing of m is the reader's
		}
		if got != nil && !reflect.DeepEqual(got, m) {
			t.Errorf("what was decoded is of the bytes that it was decoded from: %+v", got)
		}
	}
}

func TestDecodeRefuses(t *testing.T) {
	build := func(name string, flags, expires uint64, members uint64) []byte {
		b := detcbor.AppendText(detcbor.AppendHead(nil, detcbor.Array, members), name)
		b = detcbor.AppendBytes(detcbor.AppendBytes(b, []byte("x")), nil)
		b = detcbor.AppendHead(detcbor.AppendHead(b, detcbor.Uint, flags), detcbor.Uint, expires)
		for range members - 5 {
			b = append(b, 0)
		}
		return b
	}
	if _, err := message.Decode(build("a", 6, 9, 5)); err != nil {
		t.Fatal(err)
	}
	for what, b := range map[string][]byte{
		"QoS 3":         build("a", 3, 0, 5),
		"QoS 256":       build("a", 256, 0, 5),
		"other flags":   build("a", 8, 0, 5),
		"six members":   build("a", 0, 0, 6),
		"a wildcard":    build("a/+", 0, 0, 5),
		"no topic":      build("", 0, 0, 5),
		"a map":         {0xa0},
		"a number":      {5},
		"bytes as text": append([]byte{0x85, 0x41}, build("a", 0, 0, 5)[2:]...),
		"null":          {0x85, 0x61, 'a', 0x41, 'x', 0x40, 0, 0xf6},
		"two":           append(build("a", 0, 0, 5), build("a", 0, 0, 5)...),
	} {
		if m, err := message.Decode(b); !errors.Is(err, message.ErrMalformed) {
			t.Errorf("%s: %+v, %v", what, m, err)
		}
	}
}

// FuzzDecode: what is accepted is what Append writes.
func FuzzDecode(f *testing.F) {
	for _, m := range examples(f)[:2] {
		f.Add(m.Append(nil))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if m, err := message.Decode(b); err == nil && !bytes.Equal(m.Append(nil), b) {
			t.Errorf("%x is %+v, which is %x", b, m, m.Append(nil))
		}
	})
}
