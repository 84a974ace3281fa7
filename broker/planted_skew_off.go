//go:build !bug_skew

package broker

// bugSkew is true only in the planted bug that the tests must catch: sessions are ended by the replicas' clocks alone.
const bugSkew = false
