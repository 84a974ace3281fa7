//go:build bug_nonce

package agent

const bugNonce = true
