package boltstore

import (
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/protocol/ident"
)

func settingsStore(t *testing.T) (*Store, ident.Pool, broker.Client, broker.Flow) {
	t.Helper()
	s, err := Open(t.Context(), t.TempDir()+"/store.db", Options{SweepEvery: -1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	name, err := ident.ParsePool("demo")
	if err != nil {
		t.Fatal(err)
	}
	c := broker.Client{Pool: name, ID: "default", Audiences: []string{"a", "b"}, AccessLife: time.Hour, RefreshLife: time.Hour}
	f := broker.Flow{Pool: name, Name: "plain", Steps: []string{"key"}}
	p := broker.Pool{Name: name, Issuer: "https://example/pools/demo", Flow: "plain", Anchor: []byte{1, 2}}
	if err := s.CreatePool(t.Context(), by(), p, nil, []broker.Client{c}, []broker.Flow{f}); err != nil {
		t.Fatal(err)
	}
	return s, name, c, f
}

// What is remembered is never what was before the last acknowledged write.
func TestSettingsFollowWrites(t *testing.T) {
	s, pool, c, f := settingsStore(t)
	read := func() (broker.Client, broker.Flow) {
		t.Helper()
		gotC, errC := s.Client(t.Context(), pool, c.ID)
		gotF, errF := s.Flow(t.Context(), pool, f.Name)
		if errC != nil || errF != nil {
			t.Fatal(errC, errF)
		}
		return gotC, gotF
	}
	read()
	for n := range 3 {
		c.AccessLife += time.Minute
		f.Steps = append(f.Steps, "hook:h")
		if err := errors.Join(s.PutClient(t.Context(), by(), c), s.PutFlow(t.Context(), by(), f)); err != nil {
			t.Fatal(err)
		}
		gotC, gotF := read()
		if gotC.AccessLife != c.AccessLife || len(gotF.Steps) != n+2 {
			t.Fatalf("after write %d: %+v, %+v", n, gotC, gotF)
		}
	}
	if err := s.DeleteFlow(t.Context(), by(), pool, f.Name); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Flow(t.Context(), pool, f.Name); !errors.Is(err, broker.ErrNotFound) {
		t.Errorf("deleted flow: %v", err)
	}
	if _, err := s.Pool(t.Context(), pool); err != nil {
		t.Fatal(err)
	}
	if _, err := s.UpdatePool(t.Context(), by(), pool, func(p *broker.Pool) error { p.Flow = "other"; return nil }); err != nil {
		t.Fatal(err)
	}
	if p, err := s.Pool(t.Context(), pool); err != nil || p.Flow != "other" {
		t.Errorf("updated pool: %+v, %v", p, err)
	}
	if err := s.DeletePool(t.Context(), by(), pool); err != nil {
		t.Fatal(err)
	}
	_, errP := s.Pool(t.Context(), pool)
	_, errC := s.Client(t.Context(), pool, c.ID)
	if !errors.Is(errP, broker.ErrNotFound) || !errors.Is(errC, broker.ErrNotFound) {
		t.Errorf("deleted pool: %v, its client: %v", errP, errC)
	}
}

// A caller may do with what it got as it likes.
func TestSettingsAreTheCallersOwn(t *testing.T) {
	s, pool, c, f := settingsStore(t)
	for range 3 {
		gotP, err := s.Pool(t.Context(), pool)
		if err != nil || gotP.Anchor[0] != 1 {
			t.Fatal(gotP, err)
		}
		gotC, err := s.Client(t.Context(), pool, c.ID)
		if diff := cmp.Diff(c.Audiences, gotC.Audiences); err != nil || diff != "" {
			t.Fatal(err, diff)
		}
		gotF, err := s.Flow(t.Context(), pool, f.Name)
		if diff := cmp.Diff(f.Steps, gotF.Steps); err != nil || diff != "" {
			t.Fatal(err, diff)
		}
		gotP.Anchor[0], gotC.Audiences[0], gotF.Steps[0] = 9, "mine", "psk"
	}
}

// Readers beside a writer see each write once it was acknowledged.
func TestSettingsBesideAWriter(t *testing.T) {
	s, pool, c, _ := settingsStore(t)
	var acknowledged struct {
		sync.Mutex
		life time.Duration
	}
	acknowledged.life = c.AccessLife
	done := make(chan struct{})
	var readers sync.WaitGroup
	for range 4 {
		readers.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				acknowledged.Lock()
				least := acknowledged.life
				acknowledged.Unlock()
				got, err := s.Client(t.Context(), pool, c.ID)
				if err != nil || got.AccessLife < least {
					t.Errorf("read %v, %v after %v was acknowledged", got.AccessLife, err, least)
					return
				}
			}
		})
	}
	for range 100 {
		c.AccessLife += time.Second
		if err := s.PutClient(t.Context(), by(), c); err != nil {
			t.Fatal(err)
		}
		acknowledged.Lock()
		acknowledged.life = c.AccessLife
		acknowledged.Unlock()
	}
	close(done)
	readers.Wait()
}
