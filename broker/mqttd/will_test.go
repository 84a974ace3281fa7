package mqttd

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/signetd/signet/broker/mqttd/packet"
)

// A will is kept with the session (MQTT-3.1.2-7), sent when the connection was lost and its delay is over, or the session
// if that comes first (MQTT-3.1.2-8), once (MQTT-3.1.2-10), and not when its client is back before (MQTT-3.1.3-9) or said goodbye (MQTT-3.14.4-3).
func TestWillDelay(t *testing.T) {
	for name, tt := range map[string]struct {
		expiry, delay uint32
		after         time.Duration // when it comes; 0: at once
		leave         func(c *client)
		back          time.Duration // when its client comes back; 0: never
		clean         bool
		never         bool
	}{
		"at once":                  {expiry: 100, leave: (*client).cut},
		"after its delay":          {expiry: 100, delay: 10, after: 10 * time.Second, leave: (*client).cut},
		"with the session":         {expiry: 5, delay: 10, after: 5 * time.Second, leave: (*client).cut},
		"no session":               {expiry: 0, delay: 10, leave: (*client).cut},
		"as asked at the goodbye":  {expiry: 100, delay: 10, after: 10 * time.Second, leave: func(c *client) { c.bye(packet.DisconnectWithWill) }},
		"taken back at a goodbye":  {expiry: 100, delay: 10, never: true, leave: func(c *client) { c.bye(0) }},
		"taken back by being back": {expiry: 100, delay: 10, never: true, leave: (*client).cut, back: 9 * time.Second},
		"back too late":            {expiry: 100, delay: 10, after: 10 * time.Second, leave: (*client).cut, back: 11 * time.Second},
		"dropped by a clean start": {expiry: 100, delay: 10, after: 9 * time.Second, leave: (*client).cut, back: 9 * time.Second, clean: true},
	} {
		t.Run(name, func(t *testing.T) {
			inBubble(t, nil, func(b *bubble) {
				watch := b.join("p:b", nil)
				watch.subscribe(1, "t/w")
				c := b.join("p:a", both(stays(tt.expiry), leaves("t/w", tt.delay)))
				begin := time.Now()
				tt.leave(c)
				var at time.Duration
				seen := 0
				for time.Since(begin) < 300*time.Second {
					for _, s := range watch.took() {
						if s != "t/w=gone q1 #1" {
							t.Error(s)
						}
						at = time.Since(begin)
						seen++
					}
					if tt.back > 0 && time.Since(begin) == tt.back {
						tt.back = 0
						again := b.join("p:a", func(p *packet.Connect) { p.CleanStart, p.SessionExpiry, p.HasSessionExpiry = tt.clean, 100, true })
						if synctest.Wait(); tt.clean {
							continue
						}
						again.bye(0)
					}
					time.Sleep(time.Second)
				}
				if tt.never && seen > 0 || !tt.never && (seen != 1 || at != tt.after) {
					t.Errorf("the will came %d times, at %v", seen, at)
				}
				b.leavesNothing()
			})
		})
	}
}

// Whoever takes the session over takes its will back if that has a delay, else the will is sent (MQTT-3.1.3-9).
func TestWillAtTakeover(t *testing.T) {
	inBubble(t, nil, func(b *bubble) {
		watch := b.join("p:b", nil)
		watch.subscribe(0, "t/w")
		b.join("p:a", both(stays(100), leaves("t/w", 10)))
		b.resume("p:a", true, leaves("t/w", 0))
		watch.want()
		b.resume("p:a", true, nil)
		watch.want("t/w=gone q0")
		time.Sleep(time.Hour)
		watch.want()
	})
}

// A will is retained, or not, as it says (MQTT-3.1.2-14, MQTT-3.1.2-15), lives from when it is sent, and has its properties (MQTT-3.1.3-10).
func TestWillIsAMessage(t *testing.T) {
	inBubble(t, nil, func(b *bubble) {
		properties := []byte{3, 0, 1, 'c', 38, 0, 1, 'b', 0, 1, '1', 38, 0, 1, 'a', 0, 1, '2'}
		for _, retain := range []bool{false, true} {
			c := b.join("p:a", both(stays(1000), func(p *packet.Connect) {
				p.Will = &packet.Will{Topic: "t/w", Payload: []byte("gone"), QoS: 2, Retain: retain, Delay: 100, HasExpiry: true, Expiry: 50, Forward: properties}
			}))
			c.cut()
			time.Sleep(120 * time.Second)
			watch := b.join("p:b", nil)
			watch.subscribe(0, "t/#")
			if !retain {
				watch.want()
			} else {
				watch.want("t/w=gone q0 retained for=30 props=0300016326000162000131260001610001" + "32")
			}
			watch.cut()
		}
		time.Sleep(30 * time.Second)
		watch := b.join("p:b", nil)
		watch.subscribe(0, "t/#")
		watch.want()
	})
}

// The grant of the moment when it is sent decides, be its client there or away.
func TestWillByGrant(t *testing.T) {
	inBubble(t, nil, func(b *bubble) {
		watch := b.join("p:b", nil)
		watch.subscribe(0, "t/w")
		for _, tt := range []struct {
			before, while bool
		}{{false, false}, {true, false}, {false, true}} {
			b.grant("p:a", "t/#", "t/#")
			c := b.join("p:a", both(stays(100), leaves("t/w", 10)))
			if tt.before {
				b.review("p:a", "t/other", "t/#")
			}
			c.cut()
			if tt.while {
				b.review("p:a", "t/other", "t/#")
			}
			time.Sleep(11 * time.Second)
			if tt.before || tt.while {
				watch.want()
			} else {
				watch.want("t/w=gone q0")
			}
		}
	})
}
