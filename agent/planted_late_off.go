//go:build !bug_late

package agent

// bugLate is true only in the planted bug that the tests must catch: a message heard before is taken for the next one.
const bugLate = false
