package mqttd

import (
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/signetd/signet/broker/mqttd/packet"
	"github.com/signetd/signet/protocol/topic"
)

// Sessions without a connection cost little, so that many may wait.
func TestSessionsWithoutConnectionAreSmall(t *testing.T) {
	const devices = 250
	inBubble(t, nil, func(b *bubble) {
		for i := range devices {
			b.gate.grants[device(t, fmt.Sprintf("p:x%d", i))] = topic.Permissions{Subscribe: filters(t, "t/#")}
		}
		heap := func() uint64 {
			runtime.GC()
			runtime.GC()
			var m runtime.MemStats
			runtime.ReadMemStats(&m)
			return m.HeapAlloc
		}
		b.join("p:a", nil)
		before := heap()
		for i := range devices {
			for j := range maxAway {
				c := b.join(fmt.Sprintf("p:x%d", i), both(stays(1000), named(fmt.Sprint("c", j))))
				c.subscribe(1, fmt.Sprintf("t/%d/%d", i, j))
				c.cut()
			}
		}
		b.logs.mu.Lock()
		b.logs.b.Reset()
		b.logs.mu.Unlock()
		synctest.Wait()
		if n := b.clients.sessions(); n != devices*maxAway+1 {
			t.Fatalf("%d sessions", n)
		}
		each := int(heap()-before) / (devices * maxAway)
		t.Logf("%d bytes each", each)
		if each > 4<<10 {
			t.Errorf("a session without a connection takes %d bytes", each)
		}
	})
}

// A device that subscribes with as many wildcards as it may on each of its sessions gets each message once on each, and
// one filter more ends its connection.
func TestManyWildcards(t *testing.T) {
	inBubble(t, nil, func(b *bubble) {
		var all []string // 2^7 of them, which all match t/x/x/x/x/x/x/x
		for i := range maxSubscriptions {
			levels := []string{"t"}
			for bit := range 7 {
				levels = append(levels, []string{"+", "x"}[i>>bit&1])
			}
			all = append(all, strings.Join(levels, "/")+"/#")
		}
		var mine []*client
		for i := range 8 {
			c := b.join("p:a", named(fmt.Sprint("c", i)))
			for part := range slices.Chunk(all, maxFilters) {
				c.subscribe(byte(i%3), part...)
			}
			mine = append(mine, c)
		}
		from := b.join("p:b", nil)
		from.publish(2, 1, "t/x/x/x/x/x/x/x=1")
		from.publish(1, 2, "t/other=2")
		from.want("pubrec #1", "puback #2 0x10")
		for i, c := range mine {
			want := fmt.Sprintf("t/x/x/x/x/x/x/x=1 q%d", i%3)
			if i%3 > 0 {
				want += " #1"
			}
			c.want(want)
			c.send(packet.AppendSubscribe(nil, c.v, &packet.Subscribe{ID: 7, Filters: []packet.Filter{{Text: "t/one/more"}}}))
			c.want("disconnect 0x97", "closed")
		}
		b.leavesNothing()
	})
}

// Large messages for many who are away: what waits never exceeds what may wait in all, nor one pool's part of it; publishers
// are not held up.
func TestLargeMessagesWait(t *testing.T) {
	const most = 4 << 20
	inBubble(t, func(c *Config) { c.QueuedBytes, c.SessionBytes = most, 512<<10 }, func(b *bubble) {
		for i := range 12 {
			d := fmt.Sprintf("p:x%d", i)
			b.grant(d, "t/#", "t/#")
			c := b.join(d, both(stays(1000), takes(1, 0, 0)))
			c.subscribe(1, fmt.Sprintf("t/%d", i), "t/all")
			if i%2 == 0 {
				c.cut()
			}
		}
		from := b.join("p:b", nil)
		large := strings.Repeat("x", 60<<10)
		for i := range 200 {
			name := fmt.Sprintf("t/%d", i%12)
			if i%20 == 0 {
				name = "t/all"
			}
			from.publish(1, 1, name+"="+large)
			if got := from.took(); len(got) != 1 || !strings.HasPrefix(got[0], "puback #1") {
				t.Fatalf("%q", got)
			}
			if _, bytes := b.room.Taken(); bytes > most-most/10 {
				t.Fatalf("%d bytes wait", bytes)
			}
		}
		if b.drops(DropFull) == 0 {
			t.Error("nobody was dropped")
		}
		b.leavesNothing()
	})
}

// Packets that come byte by byte are what they are.
func TestCrumbs(t *testing.T) {
	inBubble(t, nil, func(b *bubble) {
		c := b.join("p:a", nil)
		out := packet.AppendSubscribe(nil, c.v, &packet.Subscribe{ID: 7, Filters: []packet.Filter{{Text: "t/#", Options: packet.Options{QoS: 2}}}})
		p := packet.Publish{Topic: []byte("t/x"), Payload: []byte(strings.Repeat("x", 300)), QoS: 2, ID: 1}
		out = packet.AppendPublish(out, c.v, &p)
		out = packet.AppendAck(out, c.v, packet.PUBREL, 1, 0, "")
		out = packet.AppendPingreq(out)
		for i := range out {
			c.send(out[i : i+1])
		}
		c.want("suback #7 0x2", "t/x=300 bytes q2 #1", "pubrec #1", "pubcomp #1", "pingresp")
	})
}

// A group whose members come and go while messages wait loses none that were acknowledged.
func TestSharedGroupComesAndGoes(t *testing.T) {
	inBubble(t, nil, func(b *bubble) {
		from := b.join("p:d", nil)
		there := b.join("p:c", stays(1000))
		there.subscribe(1, "$share/g/t/#")
		seen := map[string]bool{}
		see := func(c *client) {
			for _, s := range c.took() {
				if name, number, ok := strings.Cut(s, " q1 #"); ok {
					seen[name] = true
					var id uint16
					_, _ = fmt.Sscan(number, &id)
					if len(seen)%3 > 0 { // else it is lost with the session, and handed over
						c.ack(packet.PUBACK, id, 0)
					}
				}
			}
		}
		const all = 60
		for i := range all {
			c := b.join([]string{"p:a", "p:b"}[i%2], takes(2, 0, 0))
			c.subscribe(1, "$share/g/t/#")
			from.publish(1, 1, fmt.Sprintf("t/x=%d", i))
			if i%3 > 0 {
				see(c)
			}
			c.cut()
			see(there)
		}
		for range all {
			see(there)
			there.cut()
			there = b.resume("p:c", true, nil)
		}
		if len(seen) != all {
			t.Errorf("%d messages of %d came", len(seen), all)
		}
		b.leavesNothing()
	})
}
