// Package build says which Signet a program is: all of its programs the same.
//
// It asks nobody and writes nothing, and is small, for the agent carries it.
package build

import (
	"fmt"
	"runtime"
	"runtime/debug"
)

// next is the version that the source is on its way to.
const next = "v0.1.0-dev"

// Version is what Go recorded when it built the program: the module's version, or in
// a git working tree its tag or commit. Where Go recorded none it is the version that
// the source is on its way to.
func Version() string {
	if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" && info.Main.Version != "(devel)" {
		return info.Main.Version
	}
	return next
}

// Line is what a program says of itself when asked for its version.
func Line(program string) string {
	return fmt.Sprintf("%s %s (%s, %s/%s)", program, Version(), runtime.Version(), runtime.GOOS, runtime.GOARCH)
}
