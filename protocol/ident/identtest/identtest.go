// Package identtest has names for tests, which know that theirs are good: each
// function parses one, and ends the test if it is not.
package identtest

import (
	"testing"

	"github.com/signetd/signet/protocol/ident"
)

// Pool parses a pool's name.
func Pool(t testing.TB, s string) ident.Pool {
	t.Helper()
	return must(t, s, ident.ParsePool)
}

// Name parses a device's name within its pool.
func Name(t testing.TB, s string) ident.Name {
	t.Helper()
	return must(t, s, ident.ParseName)
}

// Device parses {pool}:{name}.
func Device(t testing.TB, s string) ident.Device {
	t.Helper()
	return must(t, s, ident.ParseDevice)
}

func must[T any](t testing.TB, s string, parse func(string) (T, error)) T {
	t.Helper()
	v, err := parse(s)
	if err != nil {
		t.Fatal(err)
	}
	return v
}
