package certs

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"fmt"
)

// maxBundle bounds a list of certificates. Chosen arbitrarily.
const maxBundle = 10

// parseCertificates reads one or more CERTIFICATE blocks and nothing else. Text
// between blocks is passed over, as every tool does; a private key is not.
func parseCertificates(data []byte) ([]*x509.Certificate, error) {
	var list []*x509.Certificate
	for {
		block, rest := pem.Decode(data)
		if block == nil {
			break
		}
		data = rest
		if block.Type != "CERTIFICATE" {
			return nil, fmt.Errorf("%w: want CERTIFICATE blocks, found %q", ErrMalformed, block.Type)
		}
		if len(list) == maxBundle {
			return nil, fmt.Errorf("%w: more than %d certificates", ErrMalformed, maxBundle)
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("%w: certificate %d: %v", ErrMalformed, len(list)+1, err)
		}
		list = append(list, cert)
	}
	if len(list) == 0 {
		return nil, fmt.Errorf("%w: no certificate in it", ErrMalformed)
	}
	if bytes.Contains(data, []byte("-----BEGIN")) {
		return nil, fmt.Errorf("%w: a block after certificate %d does not end", ErrMalformed, len(list))
	}
	return list, nil
}

// encodeCertificates gives the PEM of a list.
func encodeCertificates(list []*x509.Certificate) []byte {
	var buf bytes.Buffer
	for _, c := range list {
		buf.Write(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw}))
	}
	return buf.Bytes()
}

// parseKey reads one unencrypted private key: PKCS #8, SEC 1 or PKCS #1. Its
// errors never hold a byte of the key.
func parseKey(data []byte) (crypto.Signer, error) {
	block, rest := pem.Decode(data)
	for block != nil && block.Type == "EC PARAMETERS" { // openssl writes it in front
		block, rest = pem.Decode(rest)
	}
	if block == nil {
		return nil, fmt.Errorf("%w: no private key in it", ErrMalformed)
	}
	if block.Type == "ENCRYPTED PRIVATE KEY" || block.Headers["DEK-Info"] != "" {
		return nil, fmt.Errorf("%w: the key is encrypted; decrypt it, say with `openssl pkey`, or open the authority with a signer of your own", ErrMalformed)
	}
	if extra, _ := pem.Decode(rest); extra != nil {
		return nil, fmt.Errorf("%w: more than one block", ErrMalformed)
	}
	signer, err := parsePrivate(block)
	if err != nil {
		return nil, err
	}
	if err := checkPublicKey(signer.Public()); err != nil {
		return nil, err
	}
	return signer, nil
}

func parsePrivate(block *pem.Block) (crypto.Signer, error) {
	var key any
	var err error
	switch block.Type {
	case "PRIVATE KEY":
		key, err = x509.ParsePKCS8PrivateKey(block.Bytes)
	case "EC PRIVATE KEY":
		key, err = x509.ParseECPrivateKey(block.Bytes)
	case "RSA PRIVATE KEY":
		key, err = x509.ParsePKCS1PrivateKey(block.Bytes)
	default:
		return nil, fmt.Errorf("%w: want a private key, found %q", ErrMalformed, block.Type)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: not a private key of a known form", ErrMalformed)
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("%w: a %T signs nothing", ErrMalformed, key)
	}
	return signer, nil
}
