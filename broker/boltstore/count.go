package boltstore

import (
	"context"
	"errors"
	"fmt"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/protocol/ident"
)

// lookEvery is after how many rows a long read asks whether anybody still waits for it.
const lookEvery = 1024

// CountSessions counts a client's live sessions: see broker.Sessions. There is no index by
// client, which each login would pay for; the newest are looked at first, because they live.
func (s *Store) CountSessions(ctx context.Context, pool ident.Pool, client string, now time.Time) (n broker.SessionCount, err error) {
	err = s.view(ctx, "count sessions", func(tx *bolt.Tx) error {
		n, err = countSessions(ctx, tx, pool, client, now)
		return err
	})
	return n, err
}

func countSessions(ctx context.Context, tx *bolt.Tx, pool ident.Pool, client string, now time.Time) (n broker.SessionCount, err error) {
	devices := map[ident.UUID]bool{}
	cur, rows := tx.Bucket([]byte(bucketSessions)).Cursor(), 0
	for k, v := cur.Last(); k != nil; k, v = cur.Prev() {
		if rows++; rows%lookEvery == 0 && ctx.Err() != nil {
			return n, ctx.Err()
		}
		if len(k) != len(ident.UUID{}) {
			return n, fmt.Errorf("%w: session's id has %d bytes", ErrDamaged, len(k))
		}
		x, err := decodeSession(ident.UUID(k), v)
		if err != nil {
			return n, err
		}
		if x.Device.Pool != pool || x.Client != client || x.Revoked {
			continue
		}
		d, err := deviceRows().get(tx, pool, x.Device.Name.String())
		if errors.Is(err, broker.ErrNotFound) || err == nil && !x.Live(&d, now) {
			continue
		}
		if err != nil {
			return n, err
		}
		if n.Sessions == broker.MaxCounted {
			n.More = true
			return n, nil
		}
		devices[x.Subject] = true
		n.Sessions, n.Devices = n.Sessions+1, len(devices)
	}
	return n, nil
}
