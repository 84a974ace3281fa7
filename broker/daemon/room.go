package daemon

import (
	"context"
	"fmt"
	"time"

	"github.com/signetd/signet/broker"
)

// lookEvery is how often the log is told of a disk that is nearly full, or is not any more.
const lookEvery = 2 * time.Second

// room says whether there is room on the disk for another device.
func (d *Daemon) room() error {
	s, ok := d.store.(broker.Measured)
	if !ok {
		return nil
	}
	return s.Figures().Room(d.cfg.Limits.FreeBytes())
}

// watchRoom logs when the disk begins to be short of room, and when it ends, until ctx ends.
func (d *Daemon) watchRoom(ctx context.Context) error {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for short := false; ; {
		err := d.room()
		switch {
		case err != nil && !short:
			d.log.ErrorContext(ctx, "no room for new devices: make room on the disk of the data folder", "err", err, "data", d.cfg.Data)
		case err == nil && short:
			d.log.InfoContext(ctx, "there is room for new devices again")
		}
		short = err != nil
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// warnings are what the operators' API warns of.
func (d *Daemon) warnings() []string {
	if err := d.room(); err != nil {
		return []string{fmt.Sprintf("%v: make room on the disk of %s", err, d.cfg.Data)}
	}
	return nil
}
