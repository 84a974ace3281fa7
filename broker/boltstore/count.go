package boltstore

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	bolt "go.etcd.io/bbolt"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/protocol/detcbor"
	"github.com/signetd/signet/protocol/ident"
)

// lookEvery is after how many rows a long read asks whether anybody still waits for it.
const lookEvery = 1024

// maxLooked is how many sessions one count looks at: about half a second's worth.
const maxLooked = 2_000_000

// CountSessions counts a client's live sessions: see broker.Sessions. There is no index by
// client, which each login would pay for; the newest are looked at first, because they live, and
// those are passed over unread that are over or in which the client's name is not.
func (s *Store) CountSessions(ctx context.Context, pool ident.Pool, client string, now time.Time) (n broker.SessionCount, err error) {
	err = s.view(ctx, "count sessions", func(tx *bolt.Tx) error {
		n, err = countSessions(ctx, tx, pool, client, now, maxLooked)
		return err
	})
	return n, err
}

func countSessions(ctx context.Context, tx *bolt.Tx, pool ident.Pool, client string, now time.Time, most int) (n broker.SessionCount, err error) {
	devices, name := map[ident.UUID]bool{}, detcbor.AppendText(nil, client)
	cur, rows := tx.Bucket([]byte(bucketSessions)).Cursor(), 0
	for k, v := cur.Last(); k != nil; k, v = cur.Prev() {
		if rows++; rows%lookEvery == 0 && ctx.Err() != nil {
			return n, ctx.Err()
		}
		if rows > most {
			n.More = true
			return n, nil
		}
		if len(v) >= sessionHeader && (isRevoked(v) || !bytes.Contains(v[sessionHeader:], name)) {
			continue
		}
		if len(k) != len(ident.UUID{}) {
			return n, fmt.Errorf("%w: session's id has %d bytes", ErrDamaged, len(k))
		}
		x, err := decodeSession(ident.UUID(k), v)
		if err != nil {
			return n, err
		}
		if x.Device.Pool != pool || x.Client != client {
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
