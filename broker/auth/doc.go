// Package auth decides whether a device is what it says: it opens an exchange with
// a challenge, checks answers, and gives Proven, the evidence without which nobody
// mints a token.
//
// Between two messages of an exchange it keeps nothing: what must survive travels
// sealed in the challenge's session, so any replica can take the next message.
//
// It imports broker's domain and protocol. It never touches a transport, a token
// or a private signing key, and it never logs: errors carry the cause to the caller.
package auth
