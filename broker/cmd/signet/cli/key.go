package cli

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/signetd/signet/broker/adminapi"
	"github.com/signetd/signet/protocol/exit"
)

func keyShelf() shelf[adminapi.Key] {
	return shelf[adminapi.Key]{
		noun: "signing key", header: []string{"ID", "ALG", "STATE", "CREATED", "CHANGED", "RETIRABLE"},
		row: func(k adminapi.Key) []string {
			return []string{k.ID, k.Alg, k.State, stamp(&k.Created), stamp(&k.Changed), stamp(k.Retirable)}
		},
		all: adminapi.PoolClient.Keys, names: keyNames,
	}
}

func (a *app) keys() *cobra.Command {
	s := keyShelf()
	activate := s.one(a, "activate ID", "Sign with the next key from now on; the one before goes on verifying", "signet key activate rCtvOwkTlwPD1veHHhijcOQKxSccph9Iftt9_dY8mCI --pool demo", adminapi.PoolClient.ActivateKey)
	var retirement adminapi.KeyRetirement
	retire := s.one(a, "retire ID", "Take a key out of the key set: no token that it signed verifies any more", "signet key retire qyyaWrlhuDbRH3Su1qbmQVZDNZ3k55Zue6cgnVxS1xE --pool demo",
		func(p adminapi.PoolClient, ctx context.Context, id string) (adminapi.Key, error) {
			retirement.ID = id
			return p.RetireKey(ctx, retirement)
		})
	retire.Flags().BoolVar(&retirement.Force, "force", false, "even if tokens that it signed are still valid")
	k := a.inPool("key", "Signing keys of a pool, next, active or verifying", s.listing(a),
		s.showing(a, "ID", keyNamed), a.rotateKey(s), activate, retire, group("anchor", "The key that vouches for a pool's others", a.rotateAnchor()))
	k.Long = "Signing keys of a pool. A rotation has three steps, so that verifiers that cache the key set follow:\n\n" +
		"  rotate    makes a key that is next: in the key set, and not signing yet\n" +
		"  activate  makes it active; the one that signed before is verifying, for its last tokens\n" +
		"  retire    takes that one out of the key set: it is gone, and no token of it verifies\n\n" +
		"RETIRABLE says from when on the last token of a verifying key has expired."
	return k
}

// keyNames gives the ids of the few keys that a pool has.
func keyNames(p adminapi.PoolClient, ctx context.Context, _ string) (ids []string, err error) {
	keys, err := p.Keys(ctx)
	for _, k := range keys {
		ids = append(ids, k.ID)
	}
	return ids, err
}

// keyNamed finds a key among the few that a pool has.
func keyNamed(p adminapi.PoolClient, ctx context.Context, id string) (adminapi.Key, error) {
	keys, err := p.Keys(ctx)
	if err != nil {
		return adminapi.Key{}, err
	}
	for _, k := range keys {
		if k.ID == id {
			return k, nil
		}
	}
	return adminapi.Key{}, &hintedError{exit.With(exit.NotFound, fmt.Errorf("key %q: not found", id)), "signet key list"}
}

func (a *app) rotateKey(s shelf[adminapi.Key]) *cobra.Command {
	var rotation adminapi.KeyRotation
	cmd := a.leaf("rotate", "Put the next signing key into the key set", "signet key rotate --pool demo\nsignet key rotate --pool demo --alg EdDSA --activate",
		func(cmd *cobra.Command, _ []string) error {
			p, err := a.enter(cmd.Context())
			if err != nil {
				return err
			}
			k, err := p.RotateKey(cmd.Context(), rotation)
			if err != nil {
				return err
			}
			if k.State == "next" {
				a.note("next; when verifiers have fetched it: signet key activate %s", k.ID)
			}
			return a.show(k, s.header, s.row(k))
		})
	cmd.Flags().StringVar(&rotation.Alg, "alg", "", "`algorithm` ES256, EdDSA or RS256 (ES256 if not given)")
	cmd.Flags().BoolVar(&rotation.Activate, "activate", false, "sign with it at once; the old key goes on verifying")
	complete(cmd, "alg", cobra.FixedCompletions([]string{"ES256", "EdDSA", "RS256"}, cobra.ShellCompDirectiveNoFileComp))
	return cmd
}

func (a *app) rotateAnchor() *cobra.Command {
	var rotation adminapi.AnchorRotation
	cmd := a.leaf("rotate", "Give a pool another anchor, to which its devices follow by the old one's word",
		"signet key anchor rotate --pool demo\nsignet key anchor rotate --pool demo --revoke --force",
		func(cmd *cobra.Command, _ []string) error {
			p, err := a.enter(cmd.Context())
			if err != nil {
				return err
			}
			pool, err := p.RotateAnchor(cmd.Context(), rotation)
			if err != nil {
				return err
			}
			if rotation.Revoke {
				a.note("revoked; on each device, to enroll it again with its key: signet-agent enroll --anchor %s and the flags of the first time", pool.AnchorThumbprint)
			} else {
				a.note("rotated; devices follow when they are in next. Make a backup now: devices that followed believe no broker that is restored from an older one")
			}
			return a.detail(pool, append(poolHeader(), "ANCHOR"), append(poolRow(pool), pool.AnchorThumbprint))
		})
	cmd.Long = "Gives a pool another anchor: the key that vouches for all others of the pool, and that its devices pin. The old\n" +
		"anchor signs that the new one takes its place, so devices follow by themselves, also those that sleep through up\n" +
		"to 16 rotations; enrollment tokens from before work as well. A device that has followed believes the newest anchor\n" +
		"only.\n\n" +
		"Who stole an anchor can sign such a word, too, and lead devices that have not followed yet wherever he likes.\n" +
		"With --revoke the new anchor comes without it: no device follows anybody's word, all enrollment tokens of the\n" +
		"pool end, and each device must be enrolled again, for which its key is enough: signet-agent enroll --anchor."
	cmd.Flags().BoolVar(&rotation.Revoke, "revoke", false, "the old anchor was stolen: devices must not follow by its word")
	cmd.Flags().BoolVar(&rotation.Force, "force", false, "with --revoke, even if the pool has devices or enrollment tokens")
	return cmd
}
