package protocol

import (
	"errors"
	"fmt"

	"github.com/signetd/signet/protocol/detcbor"
)

// MaxConnect is how long a password in CONNECT may be, a ConnectProof or an MQTT password,
// in bytes: CONNECT fits one packet of 8 KiB.
const MaxConnect = 7 << 10

// AuthMethod is the name of the method by which the exchange goes on in the packets of MQTT 5's
// enhanced authentication (section 4.12 there): a message in the Authentication Data of each.
const AuthMethod = "SIGNET"

// A ConnectProof is the password with which a device that has an access token connects
// to MQTT again (signet.cddl, connect-proof): the token, and a proof by the device's key
// that it is the device that shows it, on this very TLS connection. Who gets to see it
// can do nothing with it on any other.
type ConnectProof struct {
	Access  []byte `cbor:"1,keyasint"` // the access token: a CWT, or a JWT's text
	Channel []byte `cbor:"2,keyasint"` // name of the TLS connection that the device is on (package channel)
	Proof   []byte `cbor:"3,keyasint"` // signature or HMAC of Input, by the key that the token is bound to
}

// Input is what the proof covers: the name of the TLS connection, the client id as
// CONNECT has it, and the access token. Both sides call it.
func (p *ConnectProof) Input(clientID string) []byte {
	return ProofInput(PurposeConnect, Transcript{}.Add(p.Channel).Add([]byte(clientID)).Add(p.Access))
}

// EncodeConnectProof gives the password.
func EncodeConnectProof(p *ConnectProof) ([]byte, error) {
	if err := p.check(); err != nil {
		return nil, err
	}
	b, err := detcbor.Marshal(p)
	if err != nil {
		return nil, fmt.Errorf("encode connect proof: %w", err)
	}
	if len(b) > MaxConnect {
		return nil, fmt.Errorf("encode connect proof: %d bytes, at most %d", len(b), MaxConnect)
	}
	return b, nil
}

// IsConnectProof tells a ConnectProof from a token in any of its forms, by its first
// byte: that of a CBOR map, which begins neither a text nor a COSE object.
func IsConnectProof(password []byte) bool {
	return len(password) > 0 && detcbor.Major(password[0]>>5) == detcbor.Map
}

// DecodeConnectProof reads a password, strictly: all members and no other, because the
// proof covers no other. It checks no proof.
func DecodeConnectProof(password []byte) (*ConnectProof, error) {
	if len(password) > MaxConnect {
		return nil, fmt.Errorf("decode connect proof: %d bytes, at most %d", len(password), MaxConnect)
	}
	r, err := detcbor.NewReader(password)
	if err != nil {
		return nil, fmt.Errorf("decode connect proof: %w", err)
	}
	if err := shapes.connect.Check(r); err != nil {
		return nil, fmt.Errorf("decode connect proof: %w", err)
	}
	var p ConnectProof
	if err := r.Unmarshal(&p); err != nil {
		return nil, fmt.Errorf("decode connect proof: %w", err)
	}
	return &p, p.check()
}

// Lengths of a proof by a key, in bytes.
const (
	macLen = 32 // HMAC-SHA-256
	sigLen = 64 // ES256 as r and s, or Ed25519
)

func (p *ConnectProof) check() error {
	if len(p.Access) == 0 {
		return errors.New("connect proof without an access token")
	}
	if len(p.Channel) != ChannelLen {
		return fmt.Errorf("connect proof: channel of %d bytes, want %d", len(p.Channel), ChannelLen)
	}
	if n := len(p.Proof); n != macLen && n != sigLen {
		return fmt.Errorf("connect proof: a proof of %d bytes, want %d or %d", n, macLen, sigLen)
	}
	return nil
}
