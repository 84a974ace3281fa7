package mqttd

import (
	"context"
	"testing"
	"time"

	"github.com/signetd/signet/broker/mqttd/packet"
	"github.com/signetd/signet/protocol/ident"
)

// retaining is a will that is retained, beside another one's changes.
func retaining(p *packet.Connect) { p.Will.Retain = true }

// Whether a will is sent is asked when it is sent. A connection that the server ends leaves it, by what its device
// might until then: also when the device is disabled. A will that waits is one of a device that may nothing any more,
// and one that may less may not have it any more either.
func TestWillWhenStandingEnds(t *testing.T) {
	d := func(b *bubble) ident.Device { return device(b.t, "p:a") }
	revoked := func(b *bubble, left string) {
		p := b.grant("p:a", left, left)
		b.Review(d(b), func(s Standing) (Standing, bool) { return Standing{Device: s.Device, Permissions: p}, false }, ReasonAdministrative, nil)
	}
	superseded := func(b *bubble) { // by the device itself
		b.Review(d(b), func(s Standing) (Standing, bool) { s.Session[0] = 1; return s, false }, ReasonAdministrative, nil)
	}
	disabled := func(b *bubble) { b.End(d(b), ReasonAdministrative) }
	for name, tt := range map[string]struct {
		away   bool
		delay  uint32
		change func(b *bubble)
		sent   bool
		at     time.Duration
	}{
		"kicked":                      {change: func(b *bubble) { b.Kick(ReasonAdministrative, b.clients.ofDevice(d(b))[0].number) }, sent: true},
		"kicked, with a delay":        {change: func(b *bubble) { b.Kick(ReasonAdministrative, b.clients.ofDevice(d(b))[0].number) }, sent: true, delay: 10, at: 10 * time.Second},
		"revoked":                     {change: func(b *bubble) { revoked(b, "t/#") }, sent: true},
		"revoked, with a delay":       {change: func(b *bubble) { revoked(b, "t/#") }, delay: 10},
		"superseded, with a delay":    {change: superseded, sent: true, delay: 10, at: 10 * time.Second},
		"revoked, may less":           {change: func(b *bubble) { revoked(b, "t/other") }},
		"revoked, may less, delay":    {change: func(b *bubble) { revoked(b, "t/other") }, delay: 10},
		"revoked while away":          {away: true, delay: 10, change: func(b *bubble) { revoked(b, "t/#") }},
		"superseded while away":       {away: true, delay: 10, change: superseded, sent: true, at: 10 * time.Second},
		"superseded":                  {change: superseded, sent: true},
		"revoked away, may less":      {away: true, delay: 10, change: func(b *bubble) { revoked(b, "t/other") }},
		"nobody knows what it may":    {change: func(b *bubble) { b.Review(d(b), nobody, ReasonAdministrative, nil) }},
		"nor while it is away":        {away: true, delay: 10, change: func(b *bubble) { b.Review(d(b), nobody, ReasonAdministrative, nil) }},
		"disabled":                    {change: disabled, sent: true},
		"disabled, with a delay":      {change: disabled, delay: 10, sent: true},
		"disabled while away":         {away: true, delay: 10, change: disabled},
		"disabled after a lost role":  {change: func(b *bubble) { b.review("p:a", "t/other", "t/other"); disabled(b) }},
		"its pool deleted while away": {away: true, delay: 10, change: func(b *bubble) { b.EndPool(d(b).Pool, ReasonAdministrative, nil) }},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, nil, func(b *bubble) {
				b.grant("q:w", "t/#", "t/#")
				watch := b.join("q:w", nil)
				watch.subscribe(0, "t/w")
				c := b.join("p:a", both(stays(100), leaves("t/w", tt.delay)))
				if tt.away {
					c.cut()
				}
				tt.change(b)
				var want []string
				if tt.sent {
					want = []string{"t/w=gone q0"}
				}
				if time.Sleep(tt.at - time.Second); tt.at > 0 {
					watch.want()
				}
				time.Sleep(2 * time.Second)
				watch.want(want...)
				time.Sleep(200 * time.Second)
				watch.want()
				b.leavesNothing()
			})
		})
	}
}

// nobody is a judge who knows of nobody what he may.
func nobody(Standing) (Standing, bool) { return Standing{}, false }

// What a device retained that may nothing any more is not there for who subscribes then, nor what it
// retained by its will at its end. It is known by that alone. What it sent to others, who may have it, they get.
func TestEndedDeviceRetainsNothing(t *testing.T) {
	inBubble(t, nil, func(b *bubble) {
		a := device(t, "p:a")
		there := b.join("p:b", stays(1000))
		there.subscribe(1, "t/x")
		there.cut()
		c := b.join("p:a", both(stays(100), leaves("t/w", 0), retaining))
		c.publish(1, 1, "t/x=1", keep)
		c.publish(1, 2, "t/y=2", keep, lives(1000))
		b.join("p:c", nil).publish(1, 1, "t/z=3", keep)
		watch := b.join("p:d", nil)
		watch.subscribe(0, "t/w r")
		b.End(a, ReasonAdministrative)
		watch.want("t/w=gone q0 retained")
		again := b.join("p:c", nil)
		again.subscribe(0, "t/#")
		again.want("t/z=3 q0 retained")
		b.resume("p:b", true, nil).want("t/x=1 q1 #1")

		c = b.join("p:a", nil)
		c.publish(0, 0, "t/x=4", keep)
		c.bye(0)
		if !b.Knows(a) || b.clients.knows(a) {
			t.Error("it is not known by what it retains")
		}
		b.End(a, ReasonAdministrative)
		if n, bytes := b.retained.Taken(); n != 1 || b.Knows(a) {
			t.Errorf("%d messages of %d bytes are retained", n, bytes)
		}
	})
}

// Over a planned restart: who may nothing any more then, or is another one of the name, leaves no will, and retains
// nothing if he is disabled. A session whose end came meanwhile has its will sent to all who are there again.
func TestWillsOverARestart(t *testing.T) {
	for name, tt := range map[string]struct {
		down   time.Duration
		delay  uint32
		recall func(Standing) (Standing, error)
		sent   bool
		at     time.Duration // after the start
		kept   int
	}{
		"back at once":          {delay: 10, sent: true, at: 10 * time.Second, kept: 1},
		"its session is over":   {delay: 1000, down: 200 * time.Second, sent: true, kept: 1},
		"the same, and no role": {delay: 1000, down: 200 * time.Second, recall: func(s Standing) (Standing, error) { return Standing{Device: s.Device}, nil }, kept: 1},
		"disabled":              {delay: 10, recall: func(s Standing) (Standing, error) { return s, ErrEnded }},
		"disabled, and over":    {delay: 1000, down: 200 * time.Second, recall: func(s Standing) (Standing, error) { return s, ErrEnded }},
		"another of its name":   {delay: 10, recall: func(s Standing) (Standing, error) { s.Subject[0] = 9; return s, nil }, kept: 1},
		"another, and over":     {delay: 1000, down: 200 * time.Second, recall: func(s Standing) (Standing, error) { s.Subject[0] = 9; return s, nil }, kept: 1},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, func(c *Config) { c.Outlive = true }, func(b *bubble) {
				c := b.join("p:a", both(stays(100), leaves("t/w", tt.delay)))
				c.publish(1, 1, "t/kept=1", keep)
				c.subscribe(1, "t/x")
				watch := b.join("p:b", stays(3600))
				watch.subscribe(1, "t/w")
				c.cut()
				watch.cut()
				b.restartAfter(tt.down, func(_ context.Context, d ident.Device) (Standing, error) {
					s := Standing{Device: d, Permissions: b.gate.grants[d]}
					if d == device(t, "p:a") && tt.recall != nil {
						return tt.recall(s)
					}
					return s, nil
				})
				if n, _ := b.retained.Taken(); n != tt.kept {
					t.Errorf("%d messages are retained, want %d", n, tt.kept)
				}
				watch = b.resume("p:b", true, nil)
				if tt.at > 0 {
					watch.want()
					time.Sleep(tt.at)
				}
				if time.Sleep(time.Second); tt.sent {
					watch.want("t/w=gone q1 #1")
				}
				time.Sleep(2000 * time.Second)
				watch.want()
				b.resume("p:a", false, nil)
			})
		})
	}
}
