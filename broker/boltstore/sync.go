//go:build !planted_fsync_skipped

package boltstore

// syncSkipped is true only in the planted bug that the durability tests must catch.
const syncSkipped = false
