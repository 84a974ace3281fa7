package mqttd

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/signetd/signet/broker/mqttd/packet"
)

// says puts what came of a trace so far into words.
func says(t *Trace) (all []string) {
	synctest.Wait()
	for {
		select {
		case p, open := <-t.Packets():
			if !open {
				return append(all, "over")
			}
			all = append(all, inWords(p))
		default:
			return all
		}
	}
}

func inWords(p Packet) string {
	out := "> "
	if p.Sent {
		out = "< "
	}
	out += p.Type
	if p.ID > 0 {
		out += fmt.Sprintf(" #%d", p.ID)
	}
	if p.Type == "PUBLISH" {
		out += fmt.Sprintf(" q%d %d", p.QoS, p.Length)
	}
	for _, text := range append([]string{p.Topic}, p.Filters...) {
		if text != "" {
			out += " " + text
		}
	}
	if p.Payload != nil {
		out += fmt.Sprintf(" =%.20s", p.Payload)
	}
	for _, code := range p.Codes {
		out += " " + code[:4]
	}
	if len(p.Properties) > 0 {
		out += " " + strings.Join(p.Properties, ",")
	}
	if p.Wrong != "" {
		out += " !"
	}
	if p.Lost > 0 {
		out += fmt.Sprintf(" lost=%d", p.Lost)
	}
	return out
}

func follow(b *bubble, d string, payloads bool) *Trace {
	b.t.Helper()
	tr, err := b.Trace(device(b.t, d), payloads)
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(tr.Close)
	return tr
}

func expect(t *testing.T, tr *Trace, want ...string) {
	t.Helper()
	if got := says(tr); !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

// TestTrace: a trace tells of all packets of its device and of nobody else's, both ways, in order; what they carry is
// told only where it was asked for, and nothing of the protocol's own topics and of passwords.
func TestTrace(t *testing.T) {
	inBubble(t, nil, func(b *bubble) {
		tr, loud := follow(b, "p:a", false), follow(b, "p:a", true)
		other := b.join("p:b", nil)
		a := b.join("p:a", both(stays(100), func(p *packet.Connect) {
			p.Will = &packet.Will{Topic: "t/gone", Payload: []byte("last words")}
			p.TopicAliasMaximum = 4
		}))
		a.subscribe(1, "t/#")
		a.send(packet.AppendSubscribe(nil, packet.V5, &packet.Subscribe{ID: 8, Filters: []packet.Filter{{Text: "signet/v1/p:a/rs"}}}))
		expect(t, tr,
			"> CONNECT t/gone Session Expiry Interval,Topic Alias Maximum", "< CONNACK 0x00 Receive Maximum,Topic Alias Maximum,Maximum Packet Size",
			"> SUBSCRIBE #7 t/#", "< SUBACK #7 0x01", "> SUBSCRIBE #8 signet/v1/p:a/rs", "< SUBACK #8 0x00")
		says(loud)
		a.publish(0, 0, "t/x=secret", func(p *packet.Publish) { p.Alias = 1 })
		a.publish(1, 3, "=again", func(p *packet.Publish) { p.Alias = 1 })
		a.publish(1, 4, "t/forbidden/#=x")
		a.publish(0, 0, "signet/v1/p:a/rq=token")
		expect(t, tr,
			"> PUBLISH q0 6 t/x Topic Alias", "< PUBLISH q0 6 t/x Topic Alias", "> PUBLISH #3 q1 5 t/x Topic Alias", "< PUBLISH #1 q1 5 t/x Topic Alias", "< PUBACK #3 0x00",
			"> PUBLISH q0 0 !", "< DISCONNECT 0x81 Reason String", "> closed")
		if got := says(loud); !strings.Contains(strings.Join(got, ";"), "> PUBLISH q0 6 t/x =secret") || !strings.Contains(strings.Join(got, ";"), "< PUBLISH #1 q1 5 t/x =again") {
			t.Errorf("with payloads: %q", got)
		}
		a = b.resume("p:a", true, nil)
		says(tr)
		says(loud)
		a.publish(0, 0, "signet/v1/p:a/rq=token")
		expect(t, loud, "> PUBLISH q0 5 signet/v1/p:a/rq", "< PUBLISH q0 8 signet/v1/p:a/rs")
		says(tr)
		other.publish(0, 0, "t/y=z")
		other.bye(0)
		expect(t, tr, "< PUBLISH q0 1 t/y")
		b.Kick(ReasonAdministrative, 1, 2, 3, 4, 5, 6)
		expect(t, tr, "< DISCONNECT 0x98 Reason String", "> closed")
		tr.Close()
		tr.Close()
		if _, open := <-tr.Packets(); open {
			t.Error("it goes on after its end")
		}
	})
}

// TestTraceTellsWhyNot: a CONNECT that is refused is told of by the device that it claims to be.
func TestTraceTellsWhyNot(t *testing.T) {
	inBubble(t, nil, func(b *bubble) {
		tr := follow(b, "p:a", true)
		if _, got := b.dial("p:a", func(p *packet.Connect) { p.Password = []byte("wrong") }); got != "connack 0x87" {
			t.Error(got)
		}
		expect(t, tr, "> CONNECT", "< CONNACK 0x87")
	})
}

// TestTracesAreBounded: so many at once, so many packets a second, and what is not told of is counted;
// nobody waits for who does not read; where none runs there is nothing.
func TestTracesAreBounded(t *testing.T) {
	inBubble(t, nil, func(b *bubble) {
		var all []*Trace
		for range maxTraces {
			all = append(all, follow(b, "p:a", false))
		}
		if _, err := b.Trace(device(t, "p:a"), false); !errors.Is(err, ErrTraces) {
			t.Errorf("one more: %v", err)
		}
		all[0].Close()
		all[0] = follow(b, "p:a", false)
		a := b.join("p:a", nil)
		for range 1000 {
			a.send(packet.AppendPingreq(nil))
		}
		if n := len(a.took()); n != 1000 {
			t.Errorf("%d answers", n)
		}
		if got := says(all[0]); len(got) != traceBuffer || all[0].Lost() != 2002-traceBuffer {
			t.Errorf("%d told, %d lost, want %d of 2002", len(got), all[0].Lost(), traceBuffer)
		}
		time.Sleep(time.Second)
		a.send(packet.AppendPingreq(nil))
		a.want("pingresp")
		expect(t, all[0], fmt.Sprintf("> PINGREQ lost=%d", 2002-traceBuffer), "< PINGRESP")
		for _, tr := range all {
			tr.Close()
		}
		if b.traces.running.Load() != nil {
			t.Error("something runs")
		}
		a.send(packet.AppendPingreq(nil))
		a.want("pingresp")
		last := follow(b, "p:a", false)
		if err := b.Close(b.t.Context()); err != nil {
			t.Error(err)
		}
		if got := says(last); got[len(got)-1] != "over" {
			t.Errorf("after the server's end: %q", got)
		}
		if _, err := b.Trace(device(t, "p:a"), false); !errors.Is(err, ErrClosed) {
			t.Errorf("of a closed server: %v", err)
		}
	})
}
