// Package agent is a device's half of Signet: it enrols, authenticates, refreshes,
// checks that the broker is the real one, learns the time from it, and keeps
// doing so for as long as the device lives. Firmware imports it.
//
// It imports the standard library and protocol, protocol/ident, protocol/token and
// protocol/detcbor. How messages travel is a Link's business (agent/mqttlink),
// where keys and state live a Prover's and a State's (agent/keyfile). It never
// trusts the device's clock, never keeps a grant that it could not check, and
// never writes a secret to its log.
package agent
