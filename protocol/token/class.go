package token

import "fmt"

// A Class is what a signed object is for. It travels in the protected header as
// typ, so that no object can stand in for another (RFC 8725, 3.11; RFC 9596).
type Class uint8

// The classes. The zero value names none.
const (
	Access           Class = iota + 1 // a device's right to use something
	ID                                // who a device is, said to the device or a client
	KeyStatement                      // a pool's statement about its keys; COSE only
	AnchorSuccession                  // an anchor's word that another takes its place; COSE only
	MQTTPassword                      // a bearer secret to connect to the issuer's MQTT server with, and nothing else
)

// Numbers of the classes in COSE's typ header, from the range for experimental
// use of CoAP content formats (RFC 7252, 12.3).
const (
	TypeAccess           = 65001
	TypeID               = 65002
	TypeKeyStatement     = 65003
	TypeAnchorSuccession = 65004
	TypeMQTTPassword     = 65005
)

// A classRow is all that tells one class from another.
type classRow struct {
	name     string
	coseType uint64
	coseText string // media type, accepted in place of the number
	jwtType  string // "" if the class has no JWT form
	use      string // token_use
}

func (c Class) row() classRow {
	switch c {
	case Access:
		return classRow{"access", TypeAccess, "application/signet-at+cwt", "at+jwt", "access"}
	case ID:
		return classRow{"ID", TypeID, "application/signet-id+cwt", "JWT", "id"}
	case KeyStatement:
		return classRow{"key statement", TypeKeyStatement, "application/signet-keys+cwt", "", "keys"}
	case AnchorSuccession:
		return classRow{"anchor succession", TypeAnchorSuccession, "application/signet-anchor+cwt", "", "anchor"}
	case MQTTPassword:
		return classRow{"MQTT password", TypeMQTTPassword, "application/signet-mqtt+cwt", "mqtt+jwt", "mqtt"}
	}
	return classRow{name: "unknown"}
}

// String names the class for messages.
func (c Class) String() string  { return c.row().name }
func (c Class) jwtType() string { return c.row().jwtType }
func (c Class) use() string     { return c.row().use }

// ClassOf gives the class that names an object by its typ: a JWT's, or a COSE object's as
// text or number. It gives 0 for any other typ; number 0 and empty text stand for none.
func ClassOf(typ string, number uint64) Class {
	for _, c := range []Class{Access, ID, KeyStatement, AnchorSuccession, MQTTPassword} {
		if row := c.row(); typ != "" && (typ == row.jwtType || typ == row.coseText) || typ == "" && number == row.coseType {
			return c
		}
	}
	return 0
}

// checkCOSE compares a COSE typ header with the class.
func (c Class) checkCOSE(number uint64, text string) error {
	row := c.row()
	if row.coseType != 0 && (number == row.coseType && text == "" || number == 0 && text == row.coseText) {
		return nil
	}
	return fmt.Errorf("%w: COSE typ is %d %q, want that of %s", ErrType, number, text, c)
}

// checkJWT compares a JWS typ header with the class.
func (c Class) checkJWT(typ string) error {
	if want := c.jwtType(); want == "" || typ != want {
		return fmt.Errorf("%w: JWT typ is %q, want %q for %s", ErrType, typ, want, c)
	}
	return nil
}
