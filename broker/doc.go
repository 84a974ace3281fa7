// Package broker holds the domain words of Signet's server side: pools, devices,
// clients, flows, hooks, sessions, and the store calls that the use cases need.
//
// It holds no
// technology: stores, transports and signers implement or use what is here.
package broker
