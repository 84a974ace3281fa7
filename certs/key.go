package certs

import (
	"bytes"
	"crypto"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"fmt"

	"github.com/signetd/signet/protocol/token"
)

// maxCSR bounds a certificate request, in bytes: one message of the protocol.
const maxCSR = 8 << 10

// RequestKey takes the one thing that Signet wants from a PKCS #10 request in DER
// (RFC 2986): the public key, once the request's own signature shows that the
// sender has the private half. Names, extensions and attributes are dropped here.
// A request is at most 8 KiB. Errors wrap ErrRequest or ErrWeakKey.
func RequestKey(der []byte) (crypto.PublicKey, error) {
	if len(der) > maxCSR {
		return nil, fmt.Errorf("%w: %d bytes, at most %d", ErrRequest, len(der), maxCSR)
	}
	csr, err := x509.ParseCertificateRequest(der)
	if err != nil {
		return nil, fmt.Errorf("%w: %v", ErrRequest, err)
	}
	if !bytes.Equal(csr.Raw, der) {
		return nil, fmt.Errorf("%w: bytes after its end", ErrRequest)
	}
	if err := checkDeviceKey(csr.PublicKey); err != nil {
		return nil, err
	}
	if err := csr.CheckSignature(); err != nil {
		return nil, fmt.Errorf("%w: not signed by its own key: %v", ErrRequest, err)
	}
	return csr.PublicKey, nil
}

// checkDeviceKey lets pass what a device may prove itself with and no more: a
// certificate for another key would name a device that could not log in.
func checkDeviceKey(key crypto.PublicKey) error {
	k, err := token.NewKey(key)
	if err == nil {
		err = k.CheckDevice()
	}
	if err != nil {
		return fmt.Errorf("%w: %w", ErrWeakKey, err)
	}
	return nil
}

// checkPublicKey is for servers and authorities: it lets pass P-384 and P-521 too,
// which are usual there.
func checkPublicKey(key crypto.PublicKey) error {
	if err := token.CheckSound(key); err != nil {
		return fmt.Errorf("%w: %w", ErrWeakKey, err)
	}
	return nil
}

// keyID is RFC 7093's first method: the leading 160 bits of the SHA-256 of the
// key's bit string.
func keyID(key crypto.PublicKey) ([]byte, error) {
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		return nil, fmt.Errorf("%w: %v", ErrWeakKey, err)
	}
	var spki struct {
		Algorithm asn1.RawValue
		Key       asn1.BitString
	}
	if _, err := asn1.Unmarshal(der, &spki); err != nil {
		return nil, fmt.Errorf("%w: %v", ErrWeakKey, err)
	}
	sum := sha256.Sum256(spki.Key.Bytes)
	return sum[:20], nil
}
