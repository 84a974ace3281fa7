//go:build bug_disabled

package boltstore

const bugDisabled = true
