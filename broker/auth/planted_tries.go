//go:build bug_tries

package auth

const bugTries = true
