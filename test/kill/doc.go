// Package kill ends the real signetd with kill -9 at random moments, while devices
// enroll, authenticate and refresh over MQTT and TLS and an operator disables,
// revokes and deletes, and holds the next life of it to all that the last one
// acknowledged.
//
// It uses the agent's library, the admin API's client and the built program; it
// never opens the store but to check the file between two lives. What kill -9
// cannot show, a write that is not on the disk yet, is boltstore's TestSynced.
package kill
