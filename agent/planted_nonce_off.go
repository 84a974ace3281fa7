//go:build !bug_nonce

package agent

// bugNonce is true only in the planted bug that the tests must catch: the ID token's nonce is not looked at.
const bugNonce = false
