package broker

import (
	"strconv"

	"github.com/signetd/signet/protocol/ident"
)

// A Purpose is what a secret is sealed for at rest, and whose it is. Whoever opens the
// secret names the same purpose: what was sealed for one pool, device, key or hook
// opens for no other. Only the functions below make one, so no other text gets in its
// place; the zero Purpose is none, and nothing is sealed for it.
type Purpose struct{ text string }

// String is the text that the seal is bound to. It holds no secret.
func (p Purpose) String() string { return p.text }

// IsZero reports whether p is no purpose.
func (p Purpose) IsZero() bool { return p.text == "" }

// AnchorPurpose is that of a pool's anchor key: PKCS #8.
func AnchorPurpose(pool ident.Pool) Purpose { return Purpose{"pool-anchor:" + pool.String()} }

// AnswerPurpose is that of a pool's answer key: 32 bytes, X25519.
func AnswerPurpose(pool ident.Pool) Purpose { return Purpose{"pool-answer:" + pool.String()} }

// SigningKeyPurpose is that of a signing key, by its id: PKCS #8.
func SigningKeyPurpose(pool ident.Pool, id string) Purpose {
	return Purpose{"signing-key:" + pool.String() + ":" + id}
}

// HookPurpose is that of a hook's secret: the text "whsec_...".
func HookPurpose(pool ident.Pool, name string) Purpose {
	return Purpose{"hook:" + pool.String() + ":" + name}
}

// AuthenticatorPurpose is that of the secret of a device's authenticator, by its kind: of
// challenge.PSK the shared key's bytes, of others what their method reads.
func AuthenticatorPurpose(kind string, id ident.Device) Purpose {
	return Purpose{"authenticator:" + kind + ":" + id.String()}
}

// MQTTStatePurpose is that of a record of what the MQTT server kept over a planned restart, by
// its file's id and its place in that.
func MQTTStatePurpose(file string, place uint64) Purpose {
	return Purpose{"mqtt-state:" + file + ":" + strconv.FormatUint(place, 10)}
}

// ClusterPurpose is that of a secret of the cluster itself, by name.
func ClusterPurpose(name string) Purpose { return Purpose{"cluster:" + name} }
