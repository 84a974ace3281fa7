package core_test

import (
	"bytes"
	"context"
	"errors"
	"net/netip"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/broker/atrest"
	"github.com/signetd/signet/broker/boltstore"
	"github.com/signetd/signet/broker/core"
	"github.com/signetd/signet/broker/exchange"
	"github.com/signetd/signet/protocol"
	"github.com/signetd/signet/protocol/ident"
	"github.com/signetd/signet/protocol/ident/identtest"
)

func parts(t *testing.T) core.Parts {
	t.Helper()
	dir := t.TempDir()
	kek, err := atrest.LoadOrCreate(filepath.Join(dir, "kek"))
	if err != nil {
		t.Fatal(err)
	}
	s, err := boltstore.Open(t.Context(), filepath.Join(dir, "db"), boltstore.Options{UnsafeNoSync: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return core.Parts{Store: s, Sealer: kek, Issuer: "https://signet.example"}
}

func TestPartsAreRequired(t *testing.T) {
	for what, leave := range map[string]func(*core.Parts){
		"store": func(p *core.Parts) { p.Store = nil }, "sealer": func(p *core.Parts) { p.Sealer = nil }, "issuer": func(p *core.Parts) { p.Issuer = "" },
	} {
		p := parts(t)
		leave(&p)
		if _, err := core.New(t.Context(), p); err == nil {
			t.Errorf("without %s: made", what)
		}
	}
}

// TestReplicasShareSecrets: the first of a cluster makes its secrets, the others find
// them, and none starts that could not open them: its refresh tokens and sealed
// exchanges would be no other's.
func TestReplicasShareSecrets(t *testing.T) {
	p := parts(t)
	var found [][]byte
	for range 2 {
		c, err := core.New(t.Context(), p)
		if err != nil {
			t.Fatal(err)
		}
		c.Close()
		for _, name := range []string{"session", "refresh"} {
			sealed, err := p.Store.SecretOnce(t.Context(), broker.By{Actor: broker.ActorBroker}, name, func() ([]byte, error) { return nil, errors.New("not made") })
			if err != nil {
				t.Fatal(err)
			}
			found = append(found, sealed)
		}
	}
	if !bytes.Equal(found[0], found[2]) || !bytes.Equal(found[1], found[3]) || bytes.Equal(found[0], found[1]) {
		t.Error("the second replica made secrets of its own, or both are one")
	}
	other, err := atrest.New(make([]byte, atrest.KeyLen))
	if err != nil {
		t.Fatal(err)
	}
	p.Sealer = other
	if _, err := core.New(t.Context(), p); !errors.Is(err, atrest.ErrOpen) {
		t.Errorf("with another key-encryption key: %v", err)
	}
}

// TestKeysAreForgotten: what happens to a pool's keys is felt by the broker's key ring:
// at once where nobody follows the journal, and soon where Run does.
func TestKeysAreForgotten(t *testing.T) {
	c, err := core.New(t.Context(), parts(t))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	by := broker.By{Actor: broker.ActorLocal}
	made := func(name string) ident.Pool {
		t.Helper()
		pool := identtest.Pool(t, name)
		if _, err := c.Control.CreatePool(t.Context(), by, pool); err != nil {
			t.Fatal(err)
		}
		if _, err := c.Keys.Ring(t.Context(), pool); err != nil {
			t.Fatal(err)
		}
		return pool
	}
	one := made("one")
	if err := c.Control.DeletePool(t.Context(), by, one, true); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Keys.Ring(t.Context(), one); !errors.Is(err, broker.ErrNotFound) {
		t.Errorf("the keys of a deleted pool: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { c.Run(ctx) })
	defer running.Wait()
	defer cancel()
	for !c.Tail.Fresh() {
		time.Sleep(time.Millisecond)
	}
	two := made("two")
	if err := c.Control.DeletePool(t.Context(), by, two, true); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(time.Minute); !errors.Is(err, broker.ErrNotFound); time.Sleep(time.Millisecond) {
		if _, err = c.Keys.Ring(t.Context(), two); time.Now().After(end) {
			t.Fatalf("the keys of a deleted pool: %v", err)
		}
	}
}

// TestRefusalsAreKept: what is refused is counted, and in the journal when Run returns.
func TestRefusalsAreKept(t *testing.T) {
	p := parts(t)
	reg := prometheus.NewRegistry()
	p.Metrics = reg
	c, err := core.New(t.Context(), p)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	id, err := ident.ParseDevice("demo:lamp")
	if err != nil {
		t.Fatal(err)
	}
	start := &protocol.Start{Request: protocol.Request{Pool: id.Pool, Name: id.Name, Nonce: make([]byte, 16)}} // unsealed, by nobody's connection
	raw, err := protocol.Encode(start)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		c.Run(ctx)
	}()
	for range 3 {
		m, err := protocol.Decode(c.Exchange.Respond(t.Context(), exchange.Caller{Remote: netip.MustParseAddrPort("192.0.2.1:9")}, raw).Message)
		if refusal, ok := m.(*protocol.Refusal); err != nil || !ok || refusal.Problem.Signet.Code != protocol.CodeDenied {
			t.Fatalf("%+v, %v", m, err)
		}
	}
	stop()
	<-ended
	records, err := p.Store.Since(t.Context(), 0, 1000)
	if err != nil {
		t.Fatal(err)
	}
	last := records[len(records)-1]
	if last.Kind != broker.RecordRefusal || last.Pool != id.Pool || last.Subject != "lamp" || last.What != "denied" || last.Count != 3 {
		t.Errorf("the journal ends with %+v", last)
	}
	told, err := reg.Gather()
	at := -1
	for i, f := range told {
		if f.GetName() == "signet_exchange_messages_total" {
			at = i
		}
	}
	if err != nil || at < 0 {
		t.Fatal(told, err)
	}
	if m := told[at].GetMetric(); len(m) != 1 || m[0].GetCounter().GetValue() != 3 {
		t.Errorf("counted: %v", told)
	}
}
