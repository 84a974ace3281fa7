//go:build !bug_expiry

package auth

// bugExpiry is true only in the planted bug that the tests must catch: a challenge may be answered at any time.
const bugExpiry = false
