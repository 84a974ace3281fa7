package cli

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/signetd/signet/broker/adminapi"
	"github.com/signetd/signet/protocol/textfile"
)

// errPin: the broker is not the one whose fingerprint was given.
var errPin = errors.New("the broker shows no root certificate with that fingerprint: it is another broker, or its root was replaced")

// client makes the API's client, which believes the broker by the root's file, by
// its fingerprint or, without either, by the system's roots.
func (c connection) client() (*adminapi.Client, error) {
	transport := &http.Transport{Proxy: http.ProxyFromEnvironment, ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12}}
	if c.CA != "" {
		raw, err := textfile.Read(c.CA)
		if err != nil {
			return nil, fmt.Errorf("--ca: %w", err)
		}
		roots := x509.NewCertPool()
		if !roots.AppendCertsFromPEM(raw) {
			return nil, usagef("--ca: %s has no certificate in PEM", c.CA)
		}
		transport.TLSClientConfig.RootCAs = roots
	}
	if c.Fingerprint != "" {
		pin, err := parseFingerprint(c.Fingerprint)
		if err != nil {
			return nil, err
		}
		u, err := url.Parse(c.Server)
		if err != nil {
			return nil, usagef("--server: %q is not a URL", c.Server)
		}
		transport.TLSClientConfig.InsecureSkipVerify = true // for verifyPinned, which does it all
		transport.TLSClientConfig.VerifyConnection = func(s tls.ConnectionState) error {
			return verifyPinned(s.PeerCertificates, pin, u.Hostname())
		}
	}
	client, err := adminapi.NewClient(c.Server, c.Token, transport)
	if err != nil {
		return nil, usagef("%v", err)
	}
	return client, nil
}

// parseFingerprint reads a SHA-256 in hex, with or without colons.
func parseFingerprint(s string) ([32]byte, error) {
	var pin [32]byte
	raw, err := hex.DecodeString(strings.ReplaceAll(strings.TrimPrefix(strings.ToLower(s), "sha256:"), ":", ""))
	if err != nil || len(raw) != len(pin) {
		return pin, usagef("--ca-fingerprint: want a SHA-256 of 64 hex digits, as signetd serve --dev and signetd init print it")
	}
	return [32]byte(raw), nil
}

// verifyPinned judges a chain under that one of its certificates that is pinned.
func verifyPinned(chain []*x509.Certificate, pin [32]byte, host string) error {
	opts := x509.VerifyOptions{DNSName: host, Roots: x509.NewCertPool(), Intermediates: x509.NewCertPool()}
	found := false
	for _, c := range chain {
		if sha256.Sum256(c.Raw) == pin {
			opts.Roots.AddCert(c)
			found = true
			continue
		}
		opts.Intermediates.AddCert(c)
	}
	if !found {
		return errPin
	}
	_, err := chain[0].Verify(opts)
	return err
}
