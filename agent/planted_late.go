//go:build bug_late

package agent

const bugLate = true
