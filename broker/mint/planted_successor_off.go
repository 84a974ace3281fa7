//go:build !bug_successor

package mint

// bugSuccessor is true only in the planted bug that the tests must catch: a refresh token gets a second successor within its grace.
const bugSuccessor = false
