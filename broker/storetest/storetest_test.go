package storetest_test

import (
	"context"
	"sync"
	"testing"
	"time"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/broker/storetest"
)

// counter is a store of one concept.
type counter struct {
	mu sync.Mutex // guards n
	n  map[string]*broker.TryCount
}

func (c *counter) account(of broker.TryOf) *broker.TryCount {
	key := string(of.Key())
	if c.n[key] == nil {
		c.n[key] = new(broker.TryCount)
	}
	return c.n[key]
}

func (c *counter) Try(_ context.Context, _ broker.By, of broker.TryOf, mark broker.TryMark, now time.Time) (broker.Tried, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	t, _ := c.account(of).Try(mark, now)
	return t, nil
}

func (c *counter) Accept(_ context.Context, _ broker.By, of broker.TryOf, mark broker.TryMark, step uint64) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if step > 0 {
		if _, err := c.account(of.Owner()).Use(mark, step); err != nil {
			return err
		}
	}
	c.account(of).TakeBack(mark)
	return nil
}

func (c *counter) Settle(_ context.Context, _ broker.By, of []broker.TryOf) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, of := range of {
		c.account(of).Settle()
	}
	return nil
}

// TestPart: a store that has one concept can be held to that concept.
func TestPart(t *testing.T) {
	storetest.Tries(t, func(*testing.T) func() *counter {
		c := &counter{n: map[string]*broker.TryCount{}}
		return func() *counter { return c }
	})
}
