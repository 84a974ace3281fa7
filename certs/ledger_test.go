package certs

import (
	"errors"
	"fmt"
	"testing"
	"time"
)

// A ledger that knows every serial but the n-th, and keeps that one.
type takenLedger struct {
	left int
	kept []Issued
}

func (l *takenLedger) Record(c Issued) error {
	if l.left > 0 {
		l.left--
		return fmt.Errorf("row: %w", ErrSerialTaken)
	}
	l.kept = append(l.kept, c)
	return nil
}

func TestTakenSerialsAreReplaced(t *testing.T) {
	c := newClock()
	ledger := &takenLedger{left: serialTries - 1}
	a := openTest(t, newDir(t, Options{Now: c.now}), Config{Now: c.now, Ledger: ledger})
	chain, err := a.IssueDevice(t.Context(), newKey(t).Public(), device(t, "lab:pump-1"), subject(t), time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	if len(ledger.kept) != 1 || ledger.kept[0].Serial != chain[0].SerialNumber.String() || string(ledger.kept[0].DER) != string(chain[0].Raw) {
		t.Errorf("ledger holds %v", ledger.kept)
	}
	ledger.left = serialTries
	if _, err := a.IssueDevice(t.Context(), newKey(t).Public(), device(t, "lab:pump-1"), subject(t), time.Hour); !errors.Is(err, ErrSerialTaken) {
		t.Errorf("every serial taken: %v", err)
	}
}

func TestMemoryLedger(t *testing.T) {
	c := newClock()
	l := newMemoryLedger(c.now)
	one := Issued{Serial: "1", NotAfter: c.now().Add(time.Hour)}
	if err := l.Record(one); err != nil {
		t.Fatal(err)
	}
	if err := l.Record(one); !errors.Is(err, ErrSerialTaken) {
		t.Errorf("second time: %v", err)
	}
	c.add(2 * time.Hour)
	for i := range firstSweep {
		if err := l.Record(Issued{Serial: fmt.Sprint("x", i), NotAfter: c.now().Add(time.Hour)}); err != nil {
			t.Fatal(err)
		}
	}
	if _, kept := l.expires["1"]; kept || len(l.expires) != firstSweep {
		t.Errorf("%d kept, the expired one: %t", len(l.expires), kept)
	}
}
