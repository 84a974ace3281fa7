//go:build bug_replay

package exchange

const bugReplay = true
