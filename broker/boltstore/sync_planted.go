//go:build planted_fsync_skipped

package boltstore

const syncSkipped = true
