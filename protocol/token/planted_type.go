//go:build bug_type

package token

const bugType = true
