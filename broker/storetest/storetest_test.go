package storetest_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/broker/storetest"
	"github.com/signetd/signet/protocol/ident"
)

// counter is a store of one concept.
type counter struct {
	mu sync.Mutex // guards n
	n  map[ident.UUID]int
}

func (c *counter) CountTry(_ context.Context, _ broker.By, exchange ident.UUID, _ time.Time) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.n[exchange]++
	return c.n[exchange], nil
}

// TestPart: a store that has one concept can be held to that concept.
func TestPart(t *testing.T) {
	storetest.Tries(t, func(*testing.T) func() *counter {
		c := &counter{n: map[ident.UUID]int{}}
		return func() *counter { return c }
	})
}
