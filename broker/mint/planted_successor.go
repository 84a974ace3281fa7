//go:build bug_successor

package mint

const bugSuccessor = true
