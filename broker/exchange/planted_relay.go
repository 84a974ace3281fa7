//go:build bug_relay

package exchange

const bugRelay = true
