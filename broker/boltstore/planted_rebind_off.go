//go:build !bug_rebind

package boltstore

// bugRebind is true only in the planted bug that the tests must catch: an enrolment's key is not compared with the one that is there.
const bugRebind = false
