package certs

import (
	"context"
	"crypto"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/signetd/signet/protocol/ident"
)

// maxCommonName is the upper bound on a common name (RFC 5280, appendix A.1).
const maxCommonName = 64

// IssueDevice certifies a device's key. The certificate says what the directory
// says and nothing else:
//
//   - one SAN, the URI spiffe://{trust domain}/{pool}/{name} (see DeviceURI);
//   - subject serialNumber = sub, and CN = {pool}:{name} when that fits 64 bytes;
//   - key usage digitalSignature, extended key usage clientAuth, no authority.
//
// The life is MinLife to Config.MaxDeviceLife, and cut at the intermediate's end.
// The chain is the leaf first, without the root. The caller must have had a fresh
// proof that the device holds key. Errors wrap ErrWeakKey, ErrName, ErrLifetime,
// ErrExpired, ErrClosed, the context's error or the ledger's.
func (a *Authority) IssueDevice(ctx context.Context, key crypto.PublicKey, d ident.Device, sub ident.UUID, life time.Duration) ([]*x509.Certificate, error) {
	leaf, err := a.deviceLeaf(key, d, sub, life)
	if err != nil {
		return nil, fmt.Errorf("issuing a certificate to device %s: %w", d, err)
	}
	chain, err := a.sign(ctx, leaf)
	if err != nil {
		return nil, fmt.Errorf("issuing a certificate to device %s: %w", d, err)
	}
	return chain, nil
}

// IssueDeviceRequest is IssueDevice for the key of a PKCS #10 request in DER, of
// which it takes the key alone (see RequestKey). Its errors can wrap ErrRequest too.
// The broker does not call it yet: device certificates come with the other
// credentials that a device may be given, beside its tokens.
func (a *Authority) IssueDeviceRequest(ctx context.Context, csr []byte, d ident.Device, sub ident.UUID, life time.Duration) ([]*x509.Certificate, error) {
	key, err := RequestKey(csr)
	if err != nil {
		return nil, fmt.Errorf("issuing a certificate to device %s: %w", d, err)
	}
	return a.IssueDevice(ctx, key, d, sub, life)
}

func (a *Authority) deviceLeaf(key crypto.PublicKey, d ident.Device, sub ident.UUID, life time.Duration) (x509.Certificate, error) {
	if err := checkDeviceKey(key); err != nil {
		return x509.Certificate{}, err
	}
	if sub.IsZero() {
		return x509.Certificate{}, fmt.Errorf("%w: the device has no subject identifier", ErrName)
	}
	if life < MinLife || life > a.maxLife {
		return x509.Certificate{}, fmt.Errorf("%w: %s, want %s to %s", ErrLifetime, life, MinLife, a.maxLife)
	}
	uri, err := a.DeviceURI(d)
	if err != nil {
		return x509.Certificate{}, err
	}
	subject := pkix.Name{SerialNumber: sub.String()}
	if cn := d.String(); len(cn) <= maxCommonName {
		subject.CommonName = cn
	}
	leaf, err := a.leaf(key, subject, life)
	if err != nil {
		return x509.Certificate{}, err
	}
	leaf.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth}
	leaf.URIs = []*url.URL{uri}
	return leaf, nil
}

// leaf has the fields that devices and servers share. sign adds the serial number.
func (a *Authority) leaf(key crypto.PublicKey, subject pkix.Name, life time.Duration) (x509.Certificate, error) {
	from, to, err := a.validity(life)
	if err != nil {
		return x509.Certificate{}, err
	}
	id, err := keyID(key)
	if err != nil {
		return x509.Certificate{}, err
	}
	return x509.Certificate{
		PublicKey:             key,
		Subject:               subject,
		NotBefore:             from,
		NotAfter:              to,
		SubjectKeyId:          id,
		KeyUsage:              x509.KeyUsageDigitalSignature,
		BasicConstraintsValid: true,
	}, nil
}

// DeviceURI is the device's SPIFFE ID. SPIFFE allows no ':' in a path, so a ':'
// in the device's name is written '.', which no name holds: no two devices share
// an ID. Names that would become "." or ".." have none, and the error wraps ErrName.
func (a *Authority) DeviceURI(d ident.Device) (*url.URL, error) {
	if d.IsZero() {
		return nil, fmt.Errorf("%w: the device has no name", ErrName)
	}
	name := strings.ReplaceAll(d.Name.String(), ":", ".")
	if name == "." || name == ".." {
		return nil, fmt.Errorf("%w: device name %q cannot be a SPIFFE ID's segment", ErrName, d.Name)
	}
	return &url.URL{Scheme: "spiffe", Host: a.domain, Path: "/" + d.Pool.String() + "/" + name}, nil
}
