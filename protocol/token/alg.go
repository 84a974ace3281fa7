package token

import "fmt"

// An Alg is a signature algorithm, by its COSE number (RFC 9053; RFC 8812).
type Alg int64

// The algorithms. Devices have ES256 or EdDSA keys; RS256 is for pools whose
// tokens old validators must read. HMAC256 is COSE_Mac0's and no key's.
const (
	ES256   Alg = -7
	EdDSA   Alg = -8 // with Ed25519 only
	RS256   Alg = -257
	HMAC256 Alg = 5 // HMAC 256/256
)

// String gives the JOSE name (RFC 7518, RFC 8037).
func (a Alg) String() string {
	switch a {
	case ES256:
		return "ES256"
	case EdDSA:
		return "EdDSA"
	case RS256:
		return "RS256"
	case HMAC256:
		return "HMAC 256/256"
	}
	return fmt.Sprintf("alg(%d)", int64(a))
}

// ParseAlg reads the JOSE name of a signature algorithm.
func ParseAlg(s string) (Alg, error) {
	for _, a := range []Alg{ES256, EdDSA, RS256} {
		if s == a.String() {
			return a, nil
		}
	}
	return 0, fmt.Errorf("%w: %q is none of ES256, EdDSA, RS256", ErrAlgorithm, s)
}
