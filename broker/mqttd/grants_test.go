package mqttd

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/signetd/signet/broker/mqttd/packet"
)

// A Review that takes a topic away is felt by what waits, by what is in flight and is to be sent again, and by
// what is published meanwhile, whether its client is there, comes back, or is away.
func TestReviewIsFeltByWhatWaits(t *testing.T) {
	inBubble(t, nil, func(b *bubble) {
		from := b.join("p:b", nil)
		fill := func() {
			from.publish(1, 1, "t/secret=1")
			from.publish(1, 1, "t/open=2")
			from.publish(2, 2, "t/secret=3")
			from.ack(packet.PUBREL, 2, 0)
			from.publish(1, 1, "t/secret=4")
			from.publish(1, 1, "t/open=5")
			from.took()
		}
		// While it is there: what was sent is sent, what waits is not.
		c := b.join("p:a", both(stays(100), takes(3, 0, 0)))
		c.subscribe(2, "t/#")
		fill()
		c.want("t/secret=1 q1 #1", "t/open=2 q1 #2", "t/secret=3 q2 #3")
		b.review("p:a", "t/#", "t/open")
		c.ack(packet.PUBACK, 1, 0)
		c.want("t/open=5 q1 #4")
		// When it is back: nothing of it is sent again; the exchange of QoS 2 is ended.
		c.cut()
		c = b.resume("p:a", true, nil)
		c.want("t/open=2 q1 #2 dup", "pubrel #3", "t/open=5 q1 #4 dup")
		if n := b.drops(DropDenied); n != 2 {
			t.Errorf("%d were counted", n)
		}
		c.ack(packet.PUBCOMP, 3, 0)
		c.cut()
		b.End(device(t, "p:a"), ReasonAdministrative)

		// While it is away.
		b.grant("p:a", "t/#", "t/#")
		c = b.join("p:a", stays(100))
		c.subscribe(2, "t/#")
		c.cut()
		fill()
		b.review("p:a", "t/#", "t/open")
		from.publish(1, 1, "t/secret=6")
		from.publish(1, 1, "t/open=7")
		from.want("puback #1 0x10", "puback #1")
		b.resume("p:a", true, nil).want("t/open=2 q1 #1", "t/open=5 q1 #2", "t/open=7 q1 #3")
		b.End(device(t, "p:a"), ReasonAdministrative)

		// At the resume alone: the new grant comes with the connection.
		b.grant("p:a", "t/#", "t/#")
		c = b.join("p:a", stays(100))
		c.subscribe(2, "t/#")
		c.cut()
		fill()
		b.grant("p:a", "t/#", "t/open")
		b.resume("p:a", true, nil).want("t/open=2 q1 #1", "t/open=5 q1 #2")
		b.leavesNothing()
	})
}

// A Review that ends a device's connections leaves its session: who comes for it is admitted first.
func TestReviewEndsConnectionsOnly(t *testing.T) {
	inBubble(t, nil, func(b *bubble) {
		c := b.join("p:a", stays(100))
		c.subscribe(1, "t/x")
		n := b.Review(device(t, "p:a"), func(s Standing) (Standing, bool) { return s, false }, ReasonAdministrative, []byte("bye"))
		c.want("disconnect 0x98", "closed")
		from := b.join("p:b", nil)
		from.publish(1, 1, "t/x=1")
		c = b.resume("p:a", true, nil)
		if c.want("t/x=1 q1 #1"); n != 1 {
			t.Errorf("%d connections were ended", n)
		}
		b.leavesNothing()
	})
}

// A session whose end comes while its client is being admitted, and then is not, ends all the same.
func TestSessionEndsDuringAdmission(t *testing.T) {
	inBubble(t, nil, func(b *bubble) {
		watch := b.join("p:b", nil)
		watch.subscribe(0, "t/w")
		c := b.join("p:a", both(stays(10), leaves("t/w", 5)))
		c.cut()
		d := device(t, "p:a")
		// A claim as in admit, that comes to nothing after the session's time.
		st := b.clients.byKey[stateKey{id: "p:a"}]
		claimer := &conn{srv: b.Server, released: make(chan struct{}), takes: packet.Receiver{Version: packet.V5}}
		b.clients.begin()
		if got, present, err := b.clients.claim(t.Context(), claimer, st.key, *st.standing.Load(), b.clients.epoch, false); got != st || !present || err != nil {
			t.Fatal(got, present, err)
		}
		b.clients.finish()
		time.Sleep(20 * time.Second)
		watch.want("t/w=gone q0")
		claimer.bury()
		claimer.depart()
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if b.clients.knows(d) {
			t.Error("the session is there for ever")
		}
		watch.want()
		b.leavesNothing()
	})
}
