package broker

import "github.com/signetd/signet/protocol/ident"

// The purposes that secrets are sealed for at rest. Who opens one asks for the same:
// what was sealed for one pool, device, key or hook opens for no other.

// AnchorPurpose is that of a pool's anchor key: PKCS #8.
func AnchorPurpose(pool ident.Pool) string { return "pool-anchor:" + pool.String() }

// AnswerPurpose is that of a pool's answer key: 32 bytes, X25519.
func AnswerPurpose(pool ident.Pool) string { return "pool-answer:" + pool.String() }

// SigningKeyPurpose is that of a signing key, by its id: PKCS #8.
func SigningKeyPurpose(pool ident.Pool, id string) string {
	return "signing-key:" + pool.String() + ":" + id
}

// HookPurpose is that of a hook's secret: the text "whsec_...".
func HookPurpose(pool ident.Pool, name string) string { return "hook:" + pool.String() + ":" + name }

// PSKPurpose is that of a device's shared key: its bytes.
func PSKPurpose(id ident.Device) string { return "psk:" + id.String() }

// TOTPPurpose is that of a device's generator of one-time codes.
func TOTPPurpose(id ident.Device) string { return "totp:" + id.String() }

// ClusterPurpose is that of a secret of the cluster itself, by name.
func ClusterPurpose(name string) string { return "cluster:" + name }
