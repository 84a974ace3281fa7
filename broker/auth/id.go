package auth

import (
	"encoding/binary"
	"fmt"
	"io"
	"time"

	"github.com/google/uuid"
	"github.com/signetd/signet/protocol/ident"
)

// newID makes a version 7 UUID (RFC 9562, 5.7) of the caller's clock and
// randomness. uuid.NewV7FromReader takes its time from a counter that the whole
// process shares.
func newID(now time.Time, random io.Reader) (ident.UUID, error) {
	id, err := uuid.NewRandomFromReader(random)
	if err != nil {
		return ident.UUID{}, fmt.Errorf("random UUID: %w", err)
	}
	var ms [8]byte
	binary.BigEndian.PutUint64(ms[:], uint64(now.UnixMilli()))
	copy(id[:6], ms[2:])
	id[6] = id[6]&0x0f | 0x70
	return ident.UUID(id), nil
}
