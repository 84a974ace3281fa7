package daemon

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/broker/durable"
	"github.com/signetd/signet/broker/mqttfront"
)

// mqttState is the file, in the data folder, in which MQTT sessions and retained messages
// wait for the next start. It is there between a planned end and that start only: what a
// killed process had was newer.
const mqttState = "mqtt.state"

// maxStateRecord bounds one record of it, sealed.
const maxStateRecord = 4 << 20

// The file is 16 random bytes, then records: their length in four bytes, and what is sealed
// for the file and the record's place in it.

// keepMQTT writes what the closed MQTT server held.
func (d *Daemon) keepMQTT() error {
	if err := durable.Replace(filepath.Join(d.cfg.Data, mqttState), d.writeMQTT); err != nil {
		return fmt.Errorf("keeping MQTT sessions: %w", err)
	}
	return nil
}

func (d *Daemon) writeMQTT(f *os.File) error {
	w := bufio.NewWriter(f)
	var id [16]byte
	_, _ = rand.Read(id[:]) // never fails
	if _, err := w.Write(id[:]); err != nil {
		return err
	}
	n := uint64(0)
	err := d.mqtt.Save(func(record []byte) error {
		sealed, err := d.sealer.Seal(statePurpose(id, n), record)
		if err != nil {
			return err
		}
		n++
		if _, err := w.Write(binary.BigEndian.AppendUint32(nil, uint32(len(sealed)))); err != nil {
			return err
		}
		_, err = w.Write(sealed)
		return err
	})
	return errors.Join(err, w.Flush())
}

// recallMQTT takes back what keepMQTT wrote, and takes the file away. What is damaged is said, and
// keeps nobody from starting: clients hear that their sessions are gone.
func (d *Daemon) recallMQTT(ctx context.Context, front *mqttfront.Front) {
	path := filepath.Join(d.cfg.Data, mqttState)
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	if err == nil {
		defer f.Close()       //nolint:errcheck // it is only read
		err = os.Remove(path) // first: no start reads it twice
	}
	var sessions, dropped int
	if err == nil {
		sessions, dropped, err = d.mqtt.Restore(ctx, d.stateRecords(f), front.Recall)
	}
	if err != nil {
		d.log.ErrorContext(ctx, "mqtt sessions and retained messages not restored, or not all of them", "file", path, "sessions", sessions, "err", err)
		return
	}
	d.log.InfoContext(ctx, "mqtt sessions restored", "sessions", sessions, "dropped", dropped)
}

// stateRecords reads the records of a file.
func (d *Daemon) stateRecords(f io.Reader) func() ([]byte, error) {
	r := bufio.NewReader(f)
	var id [16]byte
	_, begin := io.ReadFull(r, id[:])
	n := uint64(0)
	return func() ([]byte, error) {
		if begin != nil {
			return nil, begin
		}
		var size [4]byte
		if _, err := io.ReadFull(r, size[:]); err != nil {
			return nil, err
		}
		length := binary.BigEndian.Uint32(size[:])
		if length > maxStateRecord {
			return nil, fmt.Errorf("a record of %d bytes", length)
		}
		sealed := make([]byte, length)
		if _, err := io.ReadFull(r, sealed); err != nil {
			return nil, err
		}
		record, err := d.sealer.Open(statePurpose(id, n), sealed)
		n++
		return record, err
	}
}

func statePurpose(id [16]byte, n uint64) broker.Purpose {
	return broker.MQTTStatePurpose(hex.EncodeToString(id[:]), n)
}
