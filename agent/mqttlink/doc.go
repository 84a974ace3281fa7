// Package mqttlink carries an agent's messages over MQTT 3.1.1 with paho: requests
// to signet/v1/{client-id}/rq, replies from .../rs, pushes from .../ev.
//
// It repeats lost requests itself (paho's file store does not survive a power cut),
// refuses packets that are too large before they are buffered, and ignores retained
// messages. It keeps nothing on disk, and never looks at the device's clock to judge
// a certificate.
package mqttlink
