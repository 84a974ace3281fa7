// Package vectors holds the protocol's golden vectors: JSON files that a client
// in any language can be checked with, each invalid one with the failure that it
// must cause. README.md says how to read them.
//
// The files are generated from the real code with fixed keys by this package's
// test (go test -update) and compared with it by default.
package vectors

import (
	"embed"
	"io/fs"
)

//go:embed *.json
var files embed.FS

// Files gives messages.json, exchanges.json, connect.json, enrollment.json, keys.json,
// tokens.json and grants.json, by these names.
func Files() fs.FS { return files }
