// Package auth decides whether a device is what it says: it opens an exchange with
// a challenge, checks answers, and gives Proven, the evidence without which nobody
// mints a token.
//
// It keeps nothing between two messages of an exchange. What must survive travels
// sealed in the challenge's session, so any replica can take the next message.
//
// How a challenge is asked and its answer checked is a Method's to know (package
// proof); which follows, and how often one may guess, is decided here. It never
// touches a transport, a token or a private signing key, and it never logs: errors
// carry the cause to the caller.
package auth
