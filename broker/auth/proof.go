package auth

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/hkdf"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"math/big"
	"time"

	"github.com/google/uuid"
	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/protocol"
	"github.com/signetd/signet/protocol/ident"
	"github.com/signetd/signet/protocol/token"
)

// decoys are keys that nobody has: an unknown device's proof is checked against
// one, so that refusing it costs what refusing a known one does.
type decoys struct {
	keys   [2]*token.Key
	secret token.Secret
}

func newDecoys(secret []byte) (decoys, error) {
	seed, err := hkdf.Key(sha256.New, secret, nil, "signet decoy v1", 32)
	if err != nil {
		return decoys{}, fmt.Errorf("decoy keys: %w", err)
	}
	ed, err := token.NewKey(ed25519.NewKeyFromSeed(seed).Public())
	if err != nil {
		return decoys{}, fmt.Errorf("decoy keys: %w", err)
	}
	curve := elliptic.P256()
	priv, err := ecdsa.ParseRawPrivateKey(curve, new(big.Int).Mod(new(big.Int).SetBytes(seed), new(big.Int).Sub(curve.Params().N, big.NewInt(1))).FillBytes(make([]byte, 32)))
	if err != nil {
		return decoys{}, fmt.Errorf("decoy keys: %w", err)
	}
	ec, err := token.NewKey(&priv.PublicKey)
	if err != nil {
		return decoys{}, fmt.Errorf("decoy keys: %w", err)
	}
	psk, err := token.NewSecret(seed)
	if err != nil {
		return decoys{}, fmt.Errorf("decoy keys: %w", err)
	}
	return decoys{keys: [2]*token.Key{ed, ec}, secret: psk}, nil
}

// errProof is the one answer to a wrong proof and to an unknown device.
var errProof = fmt.Errorf("proof does not fit: %w", protocol.CodeDenied)

// checkProof checks proof against d's authenticators of that kind, or, when d is
// nil or has none, against a decoy, and then refuses.
func (a *Authenticator) checkProof(d *broker.Device, kind string, input, proof []byte) error {
	checked := false
	if d != nil {
		for _, auth := range d.Authenticators {
			if auth.Kind != kind {
				continue
			}
			checked = true
			err := a.verifyWith(d.ID, &auth, input, proof)
			if err == nil {
				return nil
			}
			if !errors.Is(err, token.ErrSignature) {
				return err
			}
		}
	}
	if !checked {
		a.decoy(kind, input, proof)
	}
	return errProof
}

func (a *Authenticator) verifyWith(d ident.Device, auth *broker.Authenticator, input, proof []byte) error {
	if auth.Kind == protocol.KindPSK {
		raw, err := a.secrets.Open(broker.PSKPurpose(d), auth.Sealed)
		if err != nil {
			return fmt.Errorf("shared key: %w", err)
		}
		secret, err := token.NewSecret(raw)
		if err != nil {
			return fmt.Errorf("shared key: %w", err)
		}
		return secret.Verify(input, proof)
	}
	key, err := token.ParseCOSEKey(auth.Key)
	if err != nil {
		return fmt.Errorf("device key: %w", err)
	}
	return key.Verify(input, proof)
}

func (a *Authenticator) decoy(kind string, input, proof []byte) {
	if kind == protocol.KindPSK {
		_ = a.decoys.secret.Verify(input, proof)
		return
	}
	sum := sha256.Sum256(input)
	_ = a.decoys.keys[sum[0]&1].Verify(input, proof)
}

// finishEnrol checks both proofs of an enrolment and prepares what it will write.
// Whether the token has a use left is the store's to say, in the writing transaction.
func (a *Authenticator) finishEnrol(ctx context.Context, s *session, m *protocol.Answer, now time.Time) (*Proven, error) {
	key, err := token.ParseCOSEKey(s.Enrol.Key)
	if err != nil {
		return nil, fmt.Errorf("new key: %w: %w", err, protocol.CodeMalformed)
	}
	if err := key.Verify(protocol.ProofInput(protocol.PurposeEnrol, s.Transcript), m.Proof); err != nil {
		return nil, fmt.Errorf("proof of possession: %w: %w", err, protocol.CodeDenied)
	}
	by := broker.Authenticator{Kind: protocol.KindKey, Key: key.MarshalCOSE(), Added: now}
	e := &broker.Enrolment{Now: now}
	if s.Enrol.TokenID == nil {
		err = a.registered(ctx, s, key, e)
	} else {
		err = a.admitted(ctx, s, m, by, e)
	}
	if err != nil {
		return nil, err
	}
	p := &Proven{
		exchange: s.Exchange, wish: s.Wish, transcript: s.Transcript.Add(m.Bytes()),
		device: e.Device, by: by, at: now, call: s.Call, enrolment: e,
	}
	return p, nil
}

// registered enrols a device whose key an operator registered before.
func (a *Authenticator) registered(ctx context.Context, s *session, key *token.Key, e *broker.Enrolment) error {
	d, err := a.known(ctx, s)
	if err != nil {
		return err
	}
	if d != nil {
		for _, auth := range d.Authenticators {
			if k, err := token.ParseCOSEKey(auth.Key); err == nil && k.Equal(key) {
				e.Device = *d
				return active(d)
			}
		}
	}
	return fmt.Errorf("key is not registered and no enrolment token was given: %w", protocol.CodeDenied)
}

// admitted enrols a device by token.
func (a *Authenticator) admitted(ctx context.Context, s *session, m *protocol.Answer, by broker.Authenticator, e *broker.Enrolment) error {
	id := hex.EncodeToString(s.Enrol.TokenID)
	t, err := a.dir.EnrolToken(ctx, s.Wish.Pool, id)
	if err != nil {
		return fmt.Errorf("enrolment token %s: %w", id, deny(err))
	}
	key, err := token.NewKey(ed25519.PublicKey(t.Key))
	if err != nil {
		return fmt.Errorf("enrolment token %s: %w", id, err)
	}
	if err := key.Verify(protocol.ProofInput(protocol.PurposeEnrolToken, s.Transcript), m.TokenProof); err != nil {
		return fmt.Errorf("enrolment token %s: %w: %w", id, err, protocol.CodeDenied)
	}
	sub, err := uuid.NewV7FromReader(a.random)
	if err != nil {
		return fmt.Errorf("subject: %w", err)
	}
	status := broker.StatusActive
	if t.Approve {
		status = broker.StatusPending
	}
	e.TokenID = id
	e.Device = broker.Device{
		ID: s.Wish.Device(), Subject: ident.UUID(sub), Status: status, Authenticators: []broker.Authenticator{by},
		Attributes: merge(s.Enrol.Attributes, t.Attributes), Groups: t.Groups, Created: e.Now, Updated: e.Now,
	}
	if d, err := a.known(ctx, s); err != nil {
		return err
	} else if d != nil {
		e.Device.Subject = d.Subject // the store decides whether the key may be replaced
	}
	return nil
}

// merge lets what the token presets win over what the device states.
func merge(stated, preset map[string]string) map[string]string {
	out := make(map[string]string, len(stated)+len(preset))
	for k, v := range stated {
		out[k] = v
	}
	for k, v := range preset {
		out[k] = v
	}
	return out
}
