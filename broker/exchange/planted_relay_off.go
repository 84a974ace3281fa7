//go:build !bug_relay

package exchange

// bugRelay is true only in the planted bug that the tests must catch: a connection becomes the device's whoever passes its messages on.
const bugRelay = false
