// Package power has tests that end the real signet-agent with kill -9, wherever it
// happens to be, against the real signetd. What a power cut adds to that, writes
// that the disk had put off, is agent/keyfile's to test.
package power
