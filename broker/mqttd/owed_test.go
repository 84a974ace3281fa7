package mqttd

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/signetd/signet/broker/mqttd/packet"
)

// A request's PUBACK leaves with its reply, but not after the client's next packet, nor much later than
// the request, nor never.
func TestAcknowledgedWithReply(t *testing.T) {
	const request, reply = "signet/v1/p:a/rq", "signet/v1/p:a/rs"
	respond := func(ctx context.Context, r Request) []byte {
		d, err := time.ParseDuration(string(r.Payload))
		if err != nil {
			return nil
		}
		select {
		case <-time.After(d):
		case <-ctx.Done():
		}
		return r.Payload
	}
	const first, second = "puback #1", "puback #2"
	for _, v := range []packet.Version{packet.V311, packet.V5} {
		inBubble(t, func(c *Config) { c.Respond = respond }, func(b *bubble) {
			a := b.join("p:a", func(p *packet.Connect) { p.Version = v })
			a.publish(1, 1, request+"=none")
			a.want(first)
			a.publish(1, 1, request+"=0s") // nobody listens
			a.want(first)
			a.subscribe(0, reply)
			a.publish(1, 1, request+"=0s")
			a.want(first, reply+"=0s q0")

			a.publish(1, 1, request+"=5ms")
			time.Sleep(4 * time.Millisecond)
			a.want()
			time.Sleep(time.Millisecond)
			a.want(first, reply+"=5ms q0")

			a.publish(1, 1, request+"=1s")
			time.Sleep(2 * ackTick)
			a.want(first)
			time.Sleep(time.Second)
			a.want(reply + "=1s q0")

			a.publish(1, 1, request+"=1s")
			a.publish(1, 2, "t/x=m") // whatever comes, the first is acknowledged first
			if got := a.took(); len(got) != 2 || got[0] != first || !strings.HasPrefix(got[1], "puback #2") {
				t.Errorf("got %q", got)
			}
			time.Sleep(time.Second)
			a.want(reply + "=1s q0")
			a.publish(1, 1, request+"=2ms")
			a.publish(1, 2, request+"=1ms")
			a.want(first)
			time.Sleep(2 * time.Millisecond)
			a.want(second, reply+"=1ms q0", reply+"=2ms q0")

			a.publish(1, 1, request+"=5ms") // whoever comes after it owes nothing
			a.cut()
			time.Sleep(5 * time.Millisecond)
			a = b.join("p:a", func(p *packet.Connect) { p.Version = v })
			time.Sleep(2 * ackTick)
			a.want()
		})
	}
}
