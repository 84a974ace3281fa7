//go:build bug_skew

package broker

const bugSkew = true
