//go:build !bug_tries

package auth

// bugTries is true only in the planted bug that the tests must catch: tries at guessable answers are not counted.
const bugTries = false
