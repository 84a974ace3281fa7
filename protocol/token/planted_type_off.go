//go:build !bug_type

package token

// bugType is true only in the planted bug that the tests must catch: a token of one type passes for another.
const bugType = false
