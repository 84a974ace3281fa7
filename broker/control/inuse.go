package control

import (
	"context"
	"fmt"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/protocol/ident"
)

// What may be taken away, one rule for everything that operators end or delete:
//
//   - What makes no sense without it stays, whatever is said: settings that others refer to,
//     the default client, the key that signs, the last admin (broker.Conflict).
//   - What devices or people live by at this moment goes with force, and the refusal says
//     what would break (broker.InUse): a client with live sessions, a pool with devices, or
//     its anchor when it is revoked, a signing key whose tokens are valid, one's own access.
//   - All else goes at once: a device, a session, an enrollment token, what a group means.
//     Ending it is what the command is for, and it ends nothing of anybody else's.

// unlessForced refuses what would break something, unless it is forced. breaks says what, as
// a sentence about what is to go; empty: nothing.
func unlessForced(force bool, breaks string) error {
	if force || breaks == "" {
		return nil
	}
	return broker.InUse("%s", breaks)
}

// clientInUse says which sessions end with a client.
func (p *Plane) clientInUse(ctx context.Context, pool ident.Pool, id string) (string, error) {
	n, err := p.Store.CountSessions(ctx, pool, id, p.Now())
	switch {
	case err != nil || n.Sessions == 0 && !n.More:
		return "", err
	case n.Sessions < broker.MaxCounted && n.More:
		return fmt.Sprintf("client %s may have live sessions, of which %d were found before there were too many to look at: their connections end, and they cannot be renewed", id, n.Sessions), nil
	case n.More:
		return fmt.Sprintf("client %s has more than 1,000 live sessions: their connections end, and they cannot be renewed", id), nil
	}
	return fmt.Sprintf("client %s has %s of %s: their connections end, and they cannot be renewed", id,
		counted(n.Sessions, "live session"), counted(n.Devices, "device")), nil
}

// poolInUse says what a pool takes with it.
func (p *Plane) poolInUse(ctx context.Context, name ident.Pool) (string, error) {
	return p.holding(ctx, name, "which go with it for good")
}

// anchorInUse says what an anchor takes with it that is revoked.
func (p *Plane) anchorInUse(ctx context.Context, name ident.Pool) (string, error) {
	return p.holding(ctx, name, "and no device believes it until it is enrolled again; the tokens end")
}

// holding says what a pool has, and what comes of it; empty if it has nothing.
func (p *Plane) holding(ctx context.Context, name ident.Pool, then string) (string, error) {
	devices, err := p.Store.CountDevices(ctx, name)
	if err != nil {
		return "", err
	}
	tokens, err := p.Store.ListSettings(ctx, name, broker.EnrollTokenKind().Name, "", broker.MaxList)
	if err != nil || devices == 0 && len(tokens) == 0 {
		return "", err
	}
	return fmt.Sprintf("pool %s has %s and %s, %s", name, counted(devices, "device"), counted(len(tokens), "enrollment token"), then), nil
}

// counted writes a number with its noun.
func counted(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
