// Package interop holds Signet against other people's code: a client written in
// Python and the beginning of one in C from docs/protocol.md and the vectors alone,
// and token libraries of JavaScript and Python.
//
// It holds tests only, and drives real programs.
package interop
