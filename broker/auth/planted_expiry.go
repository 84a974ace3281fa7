//go:build bug_expiry

package auth

const bugExpiry = true
