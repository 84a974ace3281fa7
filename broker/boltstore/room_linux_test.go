package boltstore

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/test/kernel"
)

// TestReserve: on a disk that somebody has filled, devices write nothing and operators all
// they like, out of the room that was kept for them, which is kept again when there is room.
func TestReserve(t *testing.T) {
	const kept = 1 << 20
	dir := t.TempDir()
	kernel.SmallDisk(t, dir, "8m")
	path := filepath.Join(dir, "store")
	seedCrash(t, path)
	s := openStore(t, path, Options{SweepEvery: -1, Reserve: kept})
	if f := s.Figures(); f.Reserve != kept || f.Reserved || f.Free <= 0 || f.Size <= 0 || f.Size > 4<<20 {
		t.Errorf("at first %+v", f)
	}
	devices := addDevices(t, s, 50)
	disk := narrowed(dir)
	disk.fill(t)
	acked, refused := loginsUntil(t, s, devices, 1<<20)
	if len(refused) == 0 {
		t.Fatal("there is room for ever")
	}
	if f := s.Figures(); f.Reserve != kept {
		t.Errorf("devices took it: %+v", f)
	}
	for i, d := range devices {
		_, err := s.UpdateDevice(t.Context(), by(), d.ID, func(d *broker.Device) error { d.Status = broker.StatusDisabled; return nil })
		if err != nil {
			t.Fatalf("disable device %d: %v", i, err)
		}
	}
	disk.fill(t) // whoever filled it goes on
	login := testLogin(devices[0])
	if _, err := s.RecordLogin(t.Context(), bySelf(login), login); !errors.Is(err, broker.ErrFull) {
		t.Errorf("a device writes: %v", err)
	}
	if f := s.Figures(); f.Reserve != 0 || !f.Reserved {
		t.Errorf("then %+v", f)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	s = openStore(t, path, Options{SweepEvery: -1, Reserve: kept})
	if _, err := s.RecordLogin(t.Context(), bySelf(login), login); !errors.Is(err, errReserved) {
		t.Errorf("a device writes after a restart: %v", err)
	}
	disk.free(t)
	for s.Figures().Reserved { // until housekeeping has looked
		if t.Context().Err() != nil {
			t.Fatal("room again, and it is not noticed")
		}
		time.Sleep(time.Millisecond)
	}
	if f := s.Figures(); f.Reserve != kept {
		t.Errorf("with room again %+v", f)
	}
	holdLogins(t, s, acked, refused)
	for _, d := range devices {
		if got, err := s.Device(t.Context(), d.ID); err != nil || got.Status != broker.StatusDisabled {
			t.Fatalf("%v: %v, %v", d.ID, got.Status, err)
		}
	}
}

// TestNoReserve: where there is hardly room for it, or none is wanted, none is kept, and
// devices write until the disk is full.
func TestNoReserve(t *testing.T) {
	dir := t.TempDir()
	kernel.SmallDisk(t, dir, "4m")
	path := filepath.Join(dir, "store")
	seedCrash(t, path)
	for _, want := range []int64{0, 2 << 20} {
		s := openStore(t, path, Options{SweepEvery: -1, Reserve: want})
		d := addDevice(t, s, "d")
		if _, err := s.RecordLogin(t.Context(), bySelf(testLogin(d)), testLogin(d)); err != nil {
			t.Error(err)
		}
		if f := s.Figures(); f.Reserve != 0 || f.Reserved {
			t.Errorf("%d wanted: %+v", want, f)
		}
		if err := s.DeleteDevice(t.Context(), by(), d.ID); err != nil {
			t.Error(err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := os.Stat(path + reserveSuffix); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a file: %v", err)
	}
}
