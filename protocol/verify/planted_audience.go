//go:build bug_audience

package verify

const bugAudience = true
