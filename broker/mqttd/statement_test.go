package mqttd

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/coder/websocket"

	"github.com/signetd/signet/broker/intake"
	"github.com/signetd/signet/broker/mqttd/packet"
)

// badGate refuses everybody with an error.
type badGate struct{ err error }

func (g badGate) Admit(context.Context, Connect) (Standing, error) { return Standing{}, g.err }

// Whatever a CONNECT is refused for, CONNACK has one of its codes (MQTT-3.2.2-8); so has DISCONNECT, whatever
// ends a connection (MQTT-3.14.2-1).
func TestCodesHaveTheirPlaces(t *testing.T) {
	inConnack := func(what string, code packet.Code) {
		t.Helper()
		whole := packet.AppendConnack(nil, packet.V5, &packet.Connack{Code: code})
		h, n, _ := packet.ReadHeader(whole)
		if got, err := packet.ParseConnack(packet.V5, whole[n:]); err != nil || !got.Code.Failed() || len(whole) != n+h.Length {
			t.Errorf("%s: code %v: %v", what, code, err)
		}
	}
	for _, err := range []error{
		errors.New("the gate's"), ErrBusy, ErrEnded, errInUse, errEnding, intake.ErrFullPool, context.DeadlineExceeded, context.Canceled,
		refuse(packet.PacketTooLarge, "x"), refuse(packet.RetainNotSupported, "x"), refuse(packet.BadAuthenticationMethod, "x"), refuse(packet.ServerUnavailable, "x"),
	} {
		inConnack(err.Error(), connackCode(err))
	}
	for _, err := range []error{intake.ErrTooFast, intake.ErrFullSource, intake.ErrFull, intake.ErrRoom, errors.New("another")} {
		inConnack(err.Error(), refusalCode(err))
	}
	for _, r := range Reasons {
		whole := (&conn{takes: packet.Receiver{Version: packet.V5}}).farewell(r)
		_, n, _ := packet.ReadHeader(whole)
		if d, err := packet.ParseDisconnectFromServer(whole[n:]); err != nil || Reason(d.Code) != r {
			t.Errorf("%v: %v", r, err)
		}
	}
	for _, code := range []packet.Code{packet.UnspecifiedError, packet.NotAuthorized} {
		whole := packet.AppendDisconnect(nil, packet.V5, packet.Disconnect{Code: code})
		if _, err := packet.ParseDisconnectFromServer(whole[2:]); err != nil {
			t.Errorf("%v: %v", code, err)
		}
	}
	for _, err := range []error{errors.New("no"), fmt.Errorf("now: %w", ErrBusy)} { // as a client hears it
		f := start(t, func(c *Config, _ *fixture) { c.Gate = badGate{err} })
		for _, version := range []byte{4, 5} {
			c, code := f.connect(as("p:n", version))
			if got := packet.Code(code); version == 5 && got != connackCode(err) || version == 4 && (code < 1 || code > 5) {
				t.Errorf("version %d, %v: code %#x", version, err, code)
			}
			c.closed()
		}
	}
}

// No QoS is lacking, so CONNACK names none (MQTT-3.2.2-9), and a will of each is taken and sent as what it is
// (MQTT-3.2.2-12).
func TestNoQoSIsLacking(t *testing.T) {
	inBubble(t, nil, func(b *bubble) {
		watch := b.join("p:b", nil)
		watch.subscribe(2, "t/w")
		for qos := range byte(3) {
			p := connectOf("p:a", func(p *packet.Connect) {
				p.Will = &packet.Will{Topic: "t/w", Payload: []byte("gone"), QoS: qos}
			})
			c := b.open(packet.V5, packet.AppendConnect(nil, &p))
			c.want("connack 0x0") // and the client says so if there is a Maximum QoS
			c.cut()
			want := fmt.Sprintf("t/w=gone q%d", qos)
			if qos > 0 {
				want += fmt.Sprintf(" #%d", qos)
			}
			watch.want(want)
		}
	})
}

// No packet is longer than its client takes, nor has a reason string where the client wants none or where that would
// make it too long: CONNACK (MQTT-3.2.2-19), PUBACK (MQTT-3.4.2-2), PUBREC (MQTT-3.5.2-2), PUBREL (MQTT-3.6.2-2), PUBCOMP
// (MQTT-3.7.2-2), SUBACK (MQTT-3.9.2-1), UNSUBACK (MQTT-3.11.2-1) and DISCONNECT.
func TestReasonsFitTheClient(t *testing.T) {
	short := uint32(0)
	for _, size := range []uint32{0, 200, 50, 30, 25, 20, 16, 12} {
		for _, wants := range []bool{true, false} {
			inBubble(t, nil, func(b *bubble) {
				from := b.join("p:b", nil)
				c, first := b.dial("p:a", both(takes(100, size, 4), func(p *packet.Connect) { p.RequestProblemInformation = wants }))
				if first != "connack 0x0" { // what it would have to say does not fit
					if c.want("closed"); first != "connack 0x95" || c.largest > int(size) {
						t.Errorf("%q in %d bytes for a client that takes %d", first, c.largest, size)
					}
					short++
					return
				}
				c.subscribe(2, "t/x")
				c.publish(1, 1, "u/no=1")
				c.publish(2, 2, "u/no=2")
				c.publish(2, 3, "t/y=3")
				c.ack(packet.PUBREL, 3, 0)
				c.ack(packet.PUBREL, 9, 0)
				c.ack(packet.PUBREC, 9, 0)
				synctest.Wait()
				from.publish(2, 1, "t/x=1")
				synctest.Wait()
				c.ack(packet.PUBREC, 1, 0)
				c.send(packet.AppendUnsubscribe(nil, c.v, &packet.Unsubscribe{ID: 8, Filters: []string{"t/x", "t/nothing"}}))
				c.ask(packet.Subscribe{ID: 9, Filters: []packet.Filter{{Text: "u/no"}}}, "suback #9 0x87")
				c.send(packet.AppendPublish(nil, c.v, &packet.Publish{Topic: []byte("t/x"), Payload: []byte("x"), Alias: 99}))
				got := c.took()
				want := []string{
					"puback #1 0x87", "pubrec #2 0x87", "pubrec #3 0x10", "pubcomp #3", "pubcomp #9 0x92", "pubrel #9 0x92", "t/x=1 q2 #1", "pubrel #1",
					"unsuback #8 0x0 0x11", "disconnect 0x94", "closed",
				}
				for i := range got {
					got[i] = strings.TrimSuffix(got[i], " wordless")
				}
				if !slices.Equal(got, want) || size > 0 && c.largest > int(size) {
					t.Errorf("of %d bytes, reasons %t: the largest of %d: %q", size, wants, c.largest, got)
				}
			})
		}
	}
	if short == 0 || short == 16 {
		t.Errorf("%d of 16 clients took no CONNACK", short)
	}
}

// Packets come in binary messages and go in them; any other ends the connection (MQTT-6.0.0-1). Where a message begins and
// ends says nothing of packets (MQTT-6.0.0-2). The subprotocol is "mqtt", whatever else is offered (MQTT-6.0.0-4).
func TestWebSocketMessages(t *testing.T) {
	f := start(t, nil)
	web := serveWeb(t, f)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	hello := append(as("p:n", 5).bytes(), frame(0x82, []byte{0, 7, 0}, str("devices/p/n/#"), []byte{0})...)
	hello = append(hello, frame(0x32, str("devices/p/n/x"), []byte{0, 9, 0}, []byte("hi"))...)
	hello = append(hello, 0xc0, 0)
	var before []byte
	for _, size := range []int{1, 2, 3, 5, 7, 11, 40, len(hello)} {
		ws, res, err := websocket.Dial(ctx, web.URL, &websocket.DialOptions{HTTPClient: web.Client(), Subprotocols: []string{"chat", "mqttv3.1", "mqtt"}})
		if err != nil {
			t.Fatal(err)
		}
		if got := res.Header.Values("Sec-WebSocket-Protocol"); !slices.Equal(got, []string{"mqtt"}) {
			t.Errorf("the subprotocol is %q", got)
		}
		for part := range slices.Chunk(hello, size) {
			if err := ws.Write(ctx, websocket.MessageBinary, part); err != nil {
				t.Fatal(err)
			}
		}
		var got []byte
		for pong := []byte{0xd0, 0}; !strings.HasSuffix(string(got), string(pong)); {
			kind, part, err := ws.Read(ctx)
			if err != nil || kind != websocket.MessageBinary {
				t.Fatalf("%v, %v", kind, err)
			}
			got = append(got, part...)
		}
		if before != nil && string(got) != string(before) {
			t.Errorf("in messages of %d bytes: % x, want % x", size, got, before)
		}
		before = got
		if err := ws.Write(ctx, websocket.MessageText, []byte{0xc0, 0}); err != nil {
			t.Fatal(err)
		}
		for err == nil {
			_, part, more := ws.Read(ctx)
			if err = more; len(part) > 0 && part[0] == 0xd0 {
				t.Error("text was answered")
			}
		}
		eventually(t, "it is gone", func() bool { return f.Count() == 0 })
	}
}
