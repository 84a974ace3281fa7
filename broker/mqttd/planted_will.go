//go:build bug_will

package mqttd

const bugWill = true
