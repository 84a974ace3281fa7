package token

import (
	"encoding/base64"
	"encoding/binary"
	"fmt"
)

// jwkMembers gives the JWK with the required members only, in the order and form
// that RFC 7638, section 3 hashes.
func (k *Key) jwkMembers() []byte {
	b64 := base64.RawURLEncoding.EncodeToString
	switch k.alg {
	case ES256:
		x, y := k.coordinates()
		return fmt.Appendf(nil, `{"crv":"P-256","kty":"EC","x":"%s","y":"%s"}`, b64(x), b64(y))
	case EdDSA:
		return fmt.Appendf(nil, `{"crv":"Ed25519","kty":"OKP","x":"%s"}`, b64(k.ed))
	}
	return fmt.Appendf(nil, `{"e":"%s","kty":"RSA","n":"%s"}`, b64(k.exponent()), b64(k.rsa.N.Bytes()))
}

// MarshalJWK gives the key as a JWK for signatures, with alg, kid and use.
func (k *Key) MarshalJWK() []byte {
	members := k.jwkMembers()
	return fmt.Appendf(nil, `{"alg":"%s","kid":"%s","use":"sig",%s`, k.alg, k.kid, members[1:])
}

// MarshalJWKS gives a JWK set (RFC 7517, section 5).
func MarshalJWKS(keys []*Key) []byte {
	out := []byte(`{"keys":[`)
	for i, k := range keys {
		if i > 0 {
			out = append(out, ',')
		}
		out = append(out, k.MarshalJWK()...)
	}
	return append(out, `]}`...)
}

// coordinates gives the point of a P-256 key, 32 bytes each.
func (k *Key) coordinates() (x, y []byte) { return k.point[1:33], k.point[33:] }

// exponent gives an RSA key's exponent without leading zeros.
func (k *Key) exponent() []byte {
	e := binary.BigEndian.AppendUint32(nil, uint32(k.rsa.E))
	for e[0] == 0 {
		e = e[1:]
	}
	return e
}
