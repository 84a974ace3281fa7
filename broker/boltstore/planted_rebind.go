//go:build bug_rebind

package boltstore

const bugRebind = true
