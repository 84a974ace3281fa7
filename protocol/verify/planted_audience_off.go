//go:build !bug_audience

package verify

// bugAudience is true only in the planted bug that the tests must catch: a token for anybody is accepted.
const bugAudience = false
