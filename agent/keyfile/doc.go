// Package keyfile keeps a device's key and state in a folder of its own: the
// folder 0700, the files 0600, each written beside its place, synced, renamed
// into it, and the folder synced. A power cut leaves the old file or the new.
//
// It never makes a second key for a device that has enrolled, and never reads a
// secret that others on the machine can read.
package keyfile
