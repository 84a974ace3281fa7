//go:build !bug_replay

package exchange

// bugReplay is true only in the planted bug that the tests must catch: an exchange that was recorded before is granted again.
const bugReplay = false
