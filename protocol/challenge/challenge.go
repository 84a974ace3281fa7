// Package challenge names the challenges that the protocol itself knows, and says what
// is true of each. Flows, messages, methods and stored authenticators use these names; a
// challenge of any other name is custom, and an operator's hook asks it.
//
// It asks and checks nothing.
package challenge

// The names. An authenticator that answers a challenge has the same name.
const (
	Key    = "key"    // a signature by the device's key
	PSK    = "psk"    // an HMAC under the key that the device shares with the broker
	TOTP   = "totp"   // a one-time code by time, of a generator that a person or program has (RFC 6238)
	Enroll = "enroll" // possession of a new key, and of the enrollment token
)

// A Kind is what is true of a challenge.
type Kind struct {
	Name string
	// Step: flows may have it as a step. The others are asked by themselves.
	Step bool
	// Possession: the answer proves that the device has a key.
	Possession bool
	// AfterKey: a flow asks it only after a step that proves possession. Otherwise
	// anybody could use up a device's tries.
	AfterKey bool
	// Guessable: answers can be found by trying, so tries are counted.
	Guessable bool
	// PublicKey and Secret: what the broker keeps of an authenticator of this name, a
	// secret sealed. Neither: there are no such authenticators.
	PublicKey, Secret bool
}

// Kinds gives all of them.
func Kinds() []Kind {
	return []Kind{
		{Name: Key, Step: true, Possession: true, PublicKey: true},
		{Name: PSK, Step: true, Possession: true, Secret: true},
		{Name: TOTP, Step: true, AfterKey: true, Guessable: true, Secret: true},
		{Name: Enroll, Possession: true},
	}
}

// Of gives the kind of that name. ok is false for every other name: it is a custom
// challenge's.
func Of(name string) (k Kind, ok bool) {
	for _, k := range Kinds() {
		if k.Name == name {
			return k, true
		}
	}
	return Kind{}, false
}
