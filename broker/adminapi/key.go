package adminapi

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/broker/problem"
	"github.com/signetd/signet/protocol/ident"
	"github.com/signetd/signet/protocol/token"
)

// A Key is a pool's signing key, without its private half.
type Key struct {
	ID      string    `json:"id" doc:"The kid in JWTs: RFC 7638 thumbprint"`
	Alg     string    `json:"alg"`
	State   string    `json:"state" enum:"next,active,verifying,gone" doc:"next: verifiers know it, and it does not sign yet. active: it signs. verifying: it signed before. gone: no token of it verifies; only in the answer that retired it"`
	Created time.Time `json:"created"`
	Changed time.Time `json:"changed" doc:"When it came into this state"`
	// Retirable is set while it is verifying.
	Retirable *time.Time `json:"retirable,omitempty" doc:"While it is verifying: from when on it may be retired, because no token of it can be valid"`
}

// KeyRotation begins a rotation.
type KeyRotation struct {
	Alg      string `json:"alg,omitempty" enum:"ES256,EdDSA,RS256" doc:"ES256 if absent"`
	Activate bool   `json:"activate,omitempty" doc:"Sign with it at once"`
}

// KeyChoice names a key.
type KeyChoice struct {
	ID string `json:"id" maxLength:"64"`
}

// KeyRetirement names a key that is to leave the key set.
type KeyRetirement struct {
	ID    string `json:"id" maxLength:"64"`
	Force bool   `json:"force,omitempty" doc:"Even if tokens that it signed are still valid"`
}

func wireKey(k broker.SigningKey) Key {
	return Key{ID: k.ID, Alg: k.Alg, State: string(k.State), Created: k.Created, Changed: k.Changed, Retirable: optional(k.Retirable())}
}

func (s *service) keyRoutes(api huma.API) {
	const tag, path = "keys", "/pools/{pool}/keys"
	handle(s, api, route(broker.OperatorRead, http.MethodGet, path, "list-keys", "List signing keys by id", tag),
		func(ctx context.Context, in *poolList) (Page[Key], error) {
			pool, err := in.pool()
			if err != nil {
				return Page[Key]{}, err
			}
			all, err := s.dir.ListKeys(ctx, pool)
			return page(in.Paging, all, func(k broker.SigningKey) string { return k.ID }, wireKey), err
		})
	handle(s, api, route(broker.OperatorAdmin, http.MethodPost, path+"/rotate", "rotate-key", "Make the next signing key, for verifiers to know", tag),
		onKey(func(ctx context.Context, pool ident.Pool, in KeyRotation) (broker.SigningKey, error) {
			alg := token.ES256
			if in.Alg != "" {
				var err error
				if alg, err = token.ParseAlg(in.Alg); err != nil {
					return broker.SigningKey{}, problem.New(http.StatusUnprocessableEntity, err.Error())
				}
			}
			return s.dir.RotateKey(ctx, byOf(ctx), pool, alg, in.Activate)
		}))
	handle(s, api, action(broker.OperatorAdmin, path+"/activate", "activate-key", "Sign with the next key from now on", tag),
		onKey(func(ctx context.Context, pool ident.Pool, in KeyChoice) (broker.SigningKey, error) {
			return s.dir.ActivateKey(ctx, byOf(ctx), pool, in.ID)
		}))
	handle(s, api, action(broker.OperatorAdmin, path+"/retire", "retire-key", "Take a key out of the key set", tag),
		onKey(func(ctx context.Context, pool ident.Pool, in KeyRetirement) (broker.SigningKey, error) {
			return s.dir.RetireKey(ctx, byOf(ctx), pool, in.ID, in.Force)
		}))
}

// keyInput is a request about a pool's keys.
type keyInput[B any] struct {
	PoolPath
	Body B
}

func onKey[B any](do func(context.Context, ident.Pool, B) (broker.SigningKey, error)) func(context.Context, *keyInput[B]) (Key, error) {
	return func(ctx context.Context, in *keyInput[B]) (Key, error) {
		pool, err := in.pool()
		if err != nil {
			return Key{}, err
		}
		k, err := do(ctx, pool, in.Body)
		return wireKey(k), err
	}
}

// Keys lists the signing keys.
func (p PoolClient) Keys(ctx context.Context) ([]Key, error) {
	return all[Key](ctx, p.c, p.path+"/keys")
}

// RotateKey makes the next signing key.
func (p PoolClient) RotateKey(ctx context.Context, r KeyRotation) (Key, error) {
	return send[Key](ctx, p.c, http.MethodPost, p.path+"/keys/rotate", r)
}

// ActivateKey signs with the next key from now on.
func (p PoolClient) ActivateKey(ctx context.Context, id string) (Key, error) {
	return send[Key](ctx, p.c, http.MethodPost, p.path+"/keys/activate", KeyChoice{id})
}

// RetireKey takes a key out of the key set.
func (p PoolClient) RetireKey(ctx context.Context, r KeyRetirement) (Key, error) {
	return send[Key](ctx, p.c, http.MethodPost, p.path+"/keys/retire", r)
}
