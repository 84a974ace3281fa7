package keyfile

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io/fs"

	"github.com/signetd/signet/agent"
	"github.com/signetd/signet/protocol/detcbor"
	"github.com/signetd/signet/protocol/ident"
)

const stateName = "state"

// sumLen is how much of the SHA-256 of a state file's content stands before it.
const sumLen = 16

var _ agent.State = (*Dir)(nil)

// Load reads the record. If a power cut came between the two renames of Save, or
// the newest file is damaged, it is the one before.
func (d *Dir) Load(context.Context) (agent.Record, error) {
	r, err := d.read(stateName)
	if err == nil {
		return r, nil
	}
	if !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, ErrDamaged) {
		return agent.Record{}, err
	}
	old, oldErr := d.read(stateName + ".old")
	if oldErr == nil {
		return old, nil
	}
	if errors.Is(err, fs.ErrNotExist) && errors.Is(oldErr, fs.ErrNotExist) {
		return agent.Record{}, nil
	}
	return agent.Record{}, fmt.Errorf("read the device's state: %w", err)
}

// Enrolled tells whether the folder's state, if it can be read, is that of a device which
// the broker has let in.
func (d *Dir) Enrolled() bool {
	r, err := d.Load(context.Background()) // a file of its own disk
	return err == nil && r.Enrolled
}

func (d *Dir) read(name string) (agent.Record, error) {
	raw, err := d.ReadFile(name)
	if err != nil {
		return agent.Record{}, err
	}
	return parseState(raw)
}

func parseState(raw []byte) (agent.Record, error) {
	if len(raw) < sumLen {
		return agent.Record{}, fmt.Errorf("%w: state of %d bytes", ErrDamaged, len(raw))
	}
	if sum := sha256.Sum256(raw[sumLen:]); !bytes.Equal(sum[:sumLen], raw[:sumLen]) {
		return agent.Record{}, fmt.Errorf("%w: state does not fit its checksum", ErrDamaged)
	}
	var r agent.Record
	if err := detcbor.UnmarshalExtensible(raw[sumLen:], &r); err != nil {
		return agent.Record{}, fmt.Errorf("%w: %w", ErrDamaged, err)
	}
	if (ident.Device{Pool: r.Pool, Name: r.Name}).IsZero() {
		return agent.Record{}, fmt.Errorf("%w: state of no device", ErrDamaged)
	}
	return r, nil
}

// Save makes r durable and keeps the record before it as a second copy.
func (d *Dir) Save(_ context.Context, r agent.Record) error {
	body, err := detcbor.Marshal(r)
	if err != nil {
		return err
	}
	sum := sha256.Sum256(body)
	if err := d.prepare(stateName, append(sum[:sumLen:sumLen], body...)); err != nil {
		return err
	}
	if _, err := d.read(stateName); err == nil { // a damaged one must not push out the good old one
		if err := d.rename(stateName, stateName+".old"); err != nil {
			return err
		}
	}
	return d.place(stateName)
}
