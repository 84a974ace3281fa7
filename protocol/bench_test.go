package protocol_test

import (
	"encoding/hex"
	"encoding/json"
	"io/fs"
	"testing"

	"github.com/signetd/signet/protocol"
	"github.com/signetd/signet/protocol/vectors"
)

// BenchmarkDecode reads the first good message of each kind that a broker gets.
func BenchmarkDecode(b *testing.B) {
	raw, err := fs.ReadFile(vectors.Files(), "messages.json")
	if err != nil {
		b.Fatal(err)
	}
	var file struct{ Valid []struct{ What, Hex string } }
	if err := json.Unmarshal(raw, &file); err != nil {
		b.Fatal(err)
	}
	done := map[string]bool{}
	for _, v := range file.Valid {
		if done[v.What] || v.What != "start" && v.What != "answer" && v.What != "refresh" && v.What != "enroll" {
			continue
		}
		done[v.What] = true
		data, err := hex.DecodeString(v.Hex)
		if err != nil {
			b.Fatal(err)
		}
		b.Run(v.What, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := protocol.Decode(data); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
