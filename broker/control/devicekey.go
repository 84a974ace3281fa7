package control

import (
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"strings"

	"github.com/signetd/signet/protocol/token"
	"github.com/signetd/signet/protocol/verify"
)

// Bounds on keys that operators bring, in bytes.
const (
	maxKeyText = 8 << 10
	minPSK     = token.MinSecretLen
	maxPSK     = 64
)

// ParseDeviceKey reads a device's public key, Ed25519 or ECDSA P-256: a PEM block
// PUBLIC KEY, a JWK (RFC 7517) or a COSE_Key (RFC 9052, 7) in hex. Errors
// wrap broker.ErrInvalid and never repeat the text, which may be a private key.
func ParseDeviceKey(text string) (*token.Key, error) {
	text = strings.TrimSpace(text)
	if len(text) > maxKeyText {
		return nil, invalid("device key has %d bytes, at most %d", len(text), maxKeyText)
	}
	var key *token.Key
	var err error
	switch {
	case text == "":
		return nil, invalid("device key is empty")
	case strings.HasPrefix(text, "-----BEGIN "):
		key, err = parsePEM(text)
	case text[0] == '{':
		key, err = parseJWK([]byte(text))
	default:
		key, err = parseHex(text)
	}
	if err != nil {
		return nil, err
	}
	if err := key.CheckDevice(); err != nil {
		return nil, invalid("device key: %v", err)
	}
	return key, nil
}

func parsePEM(text string) (*token.Key, error) {
	block, rest := pem.Decode([]byte(text))
	if block == nil {
		return nil, invalid("device key: damaged PEM block")
	}
	if strings.Contains(block.Type, "PRIVATE") {
		return nil, invalid("device key: this is a PRIVATE key, which must not leave the device; give its public half")
	}
	if block.Type != "PUBLIC KEY" || len(strings.TrimSpace(string(rest))) != 0 {
		return nil, invalid("device key: want exactly one PEM block PUBLIC KEY, got %q", block.Type)
	}
	pub, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return nil, invalid("device key: %v", err)
	}
	return newDeviceKey(pub)
}

func parseHex(text string) (*token.Key, error) {
	raw, err := hex.DecodeString(text)
	if err != nil {
		return nil, invalid("device key: want PEM, a JWK or a COSE key in hex")
	}
	key, err := token.ParseCOSEKey(raw)
	if err != nil {
		return nil, invalid("device key: %v", err)
	}
	return key, nil
}

func parseJWK(text []byte) (*token.Key, error) {
	key, err := verify.ParseJWK(text)
	if err != nil {
		return nil, invalid("device key: %v", err)
	}
	return key, nil
}

func newDeviceKey(pub any) (*token.Key, error) {
	key, err := token.NewKey(pub)
	if err != nil {
		return nil, invalid("device key: %v", err)
	}
	return key, nil
}

// ParsePSK reads a shared key of 32 to 64 bytes in hex or base64. Errors wrap
// broker.ErrInvalid and never repeat the text.
func ParsePSK(text string) ([]byte, error) {
	text = strings.TrimSpace(text)
	if len(text) > maxKeyText {
		return nil, invalid("shared key has %d characters, at most %d", len(text), maxKeyText)
	}
	psk, err := hex.DecodeString(text)
	for _, enc := range []*base64.Encoding{base64.StdEncoding, base64.RawStdEncoding, base64.URLEncoding, base64.RawURLEncoding} {
		if err == nil {
			break
		}
		psk, err = enc.Strict().DecodeString(text)
	}
	if err != nil {
		return nil, invalid("shared key: want hex or base64")
	}
	if len(psk) < minPSK || len(psk) > maxPSK {
		return nil, invalid("shared key has %d bytes, want %d to %d", len(psk), minPSK, maxPSK)
	}
	return psk, nil
}
