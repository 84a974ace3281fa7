//go:build !bug_will

package mqttd

// bugWill is true only in the planted bug that the tests must catch: a last will may go anywhere.
const bugWill = false
