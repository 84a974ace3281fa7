//go:build !bug_disabled

package boltstore

// bugDisabled is true only in the planted bug that the tests must catch: a login is recorded without a look at the device's status.
const bugDisabled = false
