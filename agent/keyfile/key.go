package keyfile

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/asn1"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"strings"

	"github.com/signetd/signet/agent"
	"github.com/signetd/signet/protocol/challenge"
	"github.com/signetd/signet/protocol/textfile"
	"github.com/signetd/signet/protocol/token"
)

const keyName = "device.key"

// A Kind is an algorithm of device keys.
type Kind string

// The kinds of key that a device may make.
const (
	P256    Kind = "P-256"
	Ed25519 Kind = "Ed25519"
)

// A Key proves possession with a private key from a file.
type Key struct{ signer *token.Signer }

var _ agent.Prover = (*Key)(nil)

// Kind says that this is a signature key.
func (k *Key) Kind() string { return challenge.Key }

// PublicKey gives the COSE_Key.
func (k *Key) PublicKey() []byte { return k.signer.Key().MarshalCOSE() }

// Prove signs input.
func (k *Key) Prove(input []byte) ([]byte, error) { return k.signer.Sign(input) }

// Algorithm names the key's kind.
func (k *Key) Algorithm() Kind {
	if k.signer.Key().Alg() == token.EdDSA {
		return Ed25519
	}
	return P256
}

// Key reads the device's key (PKCS #8 in PEM). If there is none it makes one of
// the given kind, which is durable when Key returns; but a device that has
// enrolled gets ErrKeyLost, never a second key.
func (d *Dir) Key(ctx context.Context, kind Kind) (*Key, error) {
	raw, err := d.ReadFile(keyName)
	if err == nil {
		return parseKey(raw)
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("read the device's key: %w", err)
	}
	r, err := d.Load(ctx)
	if err != nil {
		return nil, err
	}
	if r.Enrolled {
		return nil, fmt.Errorf("%w: %s", ErrKeyLost, d.path)
	}
	return d.makeKey(kind)
}

// Public gives the device's public key as operators register it, a JWK (RFC 7517).
// It makes no key; errors wrap fs.ErrNotExist, ErrExposed or ErrKeyDamaged.
func (d *Dir) Public() ([]byte, error) {
	raw, err := d.ReadFile(keyName)
	if err != nil {
		return nil, fmt.Errorf("read the device's key: %w", err)
	}
	k, err := parseKey(raw)
	if err != nil {
		return nil, err
	}
	return k.signer.Key().MarshalJWK(), nil
}

func (d *Dir) makeKey(kind Kind) (*Key, error) {
	var private crypto.Signer
	var err error
	switch kind {
	case P256, "":
		private, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case Ed25519:
		_, private, err = ed25519.GenerateKey(rand.Reader)
	default:
		return nil, fmt.Errorf("make the device's key: %q is none of %s, %s", kind, P256, Ed25519)
	}
	if err != nil {
		return nil, fmt.Errorf("make the device's key: %w", err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return nil, fmt.Errorf("encode the device's key: %w", err)
	}
	if err := d.WriteFile(keyName, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})); err != nil {
		return nil, err
	}
	// The folder's own name too: a run that was killed may have made it just now.
	if err := d.syncDir(filepath.Dir(d.path)); err != nil && !errors.Is(err, fs.ErrPermission) {
		return nil, err
	}
	return newKey(private)
}

func parseKey(raw []byte) (*Key, error) {
	block, rest := pem.Decode(raw)
	if block == nil || block.Type != "PRIVATE KEY" || len(strings.TrimSpace(string(rest))) > 0 {
		return nil, fmt.Errorf("%w: want one PEM block PRIVATE KEY", ErrKeyDamaged)
	}
	var whole asn1.RawValue // crypto/x509 passes over what follows
	if rest, err := asn1.Unmarshal(block.Bytes, &whole); err != nil || len(rest) > 0 {
		return nil, fmt.Errorf("%w: not exactly one key", ErrKeyDamaged)
	}
	private, err := x509.ParsePKCS8PrivateKey(block.Bytes)
	if err != nil { // its text could hold bytes of the key
		return nil, fmt.Errorf("%w: not a private key in PKCS #8", ErrKeyDamaged)
	}
	signer, ok := private.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("%w: a %T signs nothing", ErrKeyDamaged, private)
	}
	// A bit that fell over in the usual form of a P-256 key makes it another key,
	// which no longer fits its public half; crypto/x509 does not compare them.
	if own, err := x509.MarshalPKCS8PrivateKey(private); err == nil && len(own) == len(block.Bytes) && !bytes.Equal(own, block.Bytes) {
		return nil, fmt.Errorf("%w: its public half is another key's", ErrKeyDamaged)
	}
	return newKey(signer)
}

func newKey(private crypto.Signer) (*Key, error) {
	s, err := token.NewSigner(private)
	if err != nil {
		return nil, fmt.Errorf("the device's key: %w", err)
	}
	if err := s.Key().CheckDevice(); err != nil {
		return nil, fmt.Errorf("the device's key: %w", err)
	}
	return &Key{s}, nil
}

// A SharedKey proves possession with an HMAC under a key that the broker has too.
type SharedKey struct{ secret token.Secret }

var _ agent.Prover = SharedKey{}

// ErrSharedKey is wrapped for a file that holds no shared key.
var ErrSharedKey = errors.New("no shared key")

// ReadSharedKey reads a shared key of at least 32 bytes, in hex or base64.
func ReadSharedKey(path string) (SharedKey, error) {
	raw, err := ReadSecret(path)
	if err != nil {
		return SharedKey{}, fmt.Errorf("read the shared key: %w", err)
	}
	if raw, err = textfile.Plain(raw); err != nil {
		return SharedKey{}, fmt.Errorf("%w: %s: %w", ErrSharedKey, path, err)
	}
	text := strings.TrimRight(strings.TrimSpace(string(raw)), "=")
	b, err := hex.DecodeString(text)
	if err != nil {
		b, err = base64.RawStdEncoding.DecodeString(strings.NewReplacer("-", "+", "_", "/").Replace(text))
	}
	if err != nil {
		return SharedKey{}, fmt.Errorf("%w: %s: neither hex nor base64", ErrSharedKey, path)
	}
	s, err := token.NewSecret(b)
	if err != nil {
		return SharedKey{}, fmt.Errorf("%w: %s: %w", ErrSharedKey, path, err)
	}
	return SharedKey{s}, nil
}

// Kind says that this is a shared key.
func (SharedKey) Kind() string { return challenge.PSK }

// PublicKey is nil: a shared key has none.
func (SharedKey) PublicKey() []byte { return nil }

// Prove gives the HMAC-SHA-256 of input.
func (k SharedKey) Prove(input []byte) ([]byte, error) { return k.secret.Sum(input), nil }
