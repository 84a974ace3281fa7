package mqttd

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/signetd/signet/broker/intake"
	"github.com/signetd/signet/broker/mqttd/packet"
	"github.com/signetd/signet/protocol/topic"
)

// scripted is a method whose clients say what is to come of it.
type scripted struct {
	t       *testing.T
	expires time.Time
	held    chan string // told of who waits
	hold    chan struct{}

	mu    sync.Mutex // guards the rest
	begun []Connect
	steps int
}

func (s *scripted) method(c Connect) Exchange {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.begun = append(s.begun, c)
	return s
}

func (s *scripted) Next(_ context.Context, data []byte) (Answer, error) {
	s.mu.Lock()
	s.steps++
	s.mu.Unlock()
	word, arg, _ := strings.Cut(string(data), " ")
	switch word {
	case "is":
		d := device(s.t, arg)
		p := topic.Own(d)
		return Answer{Data: []byte("welcome " + arg), Done: true, Standing: Standing{Device: d, Permissions: p, Expires: s.expires}}, nil
	case "wait":
		s.held <- arg
		<-s.hold
		return s.Next(context.Background(), []byte("is "+arg))
	case "no":
		return Answer{Data: []byte("refused")}, errors.New("wrong")
	case "busy":
		return Answer{Data: []byte("later")}, ErrBusy
	case "nobody":
		return Answer{Done: true}, nil
	case "panic":
		panic("planted")
	case "long":
		return Answer{Data: make([]byte, 4000)}, nil
	}
	return Answer{Data: []byte("why " + word)}, nil
}

// withMethod is a server that knows the method "script".
func withMethod(t *testing.T, change func(*Config)) (*fixture, *scripted) {
	t.Helper()
	s := &scripted{t: t, held: make(chan string, 1), hold: make(chan struct{})}
	return start(t, func(c *Config, _ *fixture) {
		c.Methods = map[string]Method{"script": s.method, "other": s.method}
		if change != nil {
			change(c)
		}
	}), s
}

// hello is a CONNECT by the method.
func hello(id, data string) packet.Connect {
	return packet.Connect{
		Version: packet.V5, ClientID: id, CleanStart: true, KeepAlive: 60, ReceiveMaximum: 65535, RequestProblemInformation: true,
		HasAuthMethod: true, AuthMethod: "script", AuthData: []byte(data),
	}
}

// begin sends a CONNECT by the method.
func (f *fixture) begin(id, data string) *raw {
	f.t.Helper()
	r := f.dial()
	r.v = 5
	p := hello(id, data)
	r.send(packet.AppendConnect(nil, &p))
	return r
}

// authenticated is begin that must succeed.
func (f *fixture) authenticated(id, data string) *raw {
	f.t.Helper()
	r := f.begin(id, data)
	if got := r.said(); got != "CONNACK success script welcome "+strings.TrimPrefix(data, "is ") {
		f.t.Fatalf("connecting by %q: %s", data, got)
	}
	return r
}

func authPacket(code packet.Code, method, data string) []byte {
	return packet.AppendAuth(nil, &packet.Auth{Code: code, Method: method, Data: []byte(data)})
}

// goesOn is an AUTH that goes on, anew one that begins another.
func goesOn(data string) []byte {
	return authPacket(packet.ContinueAuthentication, "script", data)
}
func anew(data string) []byte { return authPacket(packet.Reauthenticate, "script", data) }

// said gives the next packet in words: what authentication makes of a client. An AUTH has one of its codes
// ([MQTT-3.15.2-1]) and no reason string ([MQTT-3.15.2-2]).
func (r *raw) said() string {
	r.t.Helper()
	kind, body, err := r.read()
	if err != nil {
		return "closed"
	}
	switch packet.Type(kind >> 4) {
	case packet.AUTH:
		a, err := packet.ParseAuthFromServer(body)
		if err != nil {
			r.t.Fatal(err)
		}
		if a.Reason != "" {
			r.t.Errorf("an AUTH with the reason %q", a.Reason)
		}
		return fmt.Sprintf("AUTH %v %s %s", a.Code, a.Method, a.Data)
	case packet.CONNACK:
		a, err := packet.ParseConnack(packet.V5, body)
		if err != nil {
			r.t.Fatal(err)
		}
		return strings.TrimSpace(fmt.Sprintf("CONNACK %v %s %s", a.Code, a.AuthMethod, a.AuthData))
	case packet.DISCONNECT:
		return "DISCONNECT " + packet.Code(body[0]).String()
	}
	return fmt.Sprintf("%v", packet.Type(kind>>4))
}

func (r *raw) saying(send []byte, want string) {
	r.t.Helper()
	r.send(send)
	if got := r.said(); got != want {
		r.t.Fatalf("got %s, want %s", got, want)
	}
}

// TestEnhancedAuthentication: whoever proves himself by a method is welcome as that device
// ([MQTT-4.12.0-5]), in as many steps as it takes, each of which is asked for with 0x18 ([MQTT-4.12.0-2]).
func TestEnhancedAuthentication(t *testing.T) {
	f, s := withMethod(t, nil)
	f.authenticated("p:n", "is p:n").mustSubscribe("devices/p/n/#", "signet/v1/p:n/rs")
	r := f.begin("anything", "knock")
	for _, word := range []string{"knock", "", "twice"} {
		want := "AUTH continue authentication script why " + word
		if got := r.said(); got != want {
			t.Fatalf("got %s, want %s", got, want)
		}
		switch word {
		case "knock":
			r.send(goesOn(""))
		case "":
			r.send(goesOn("twice"))
		default:
			r.saying(goesOn("is p:m"), "CONNACK success script welcome p:m")
		}
	}
	r.mustSubscribe("devices/p/m/#")
	r.ping()
	if code := r.subscribe("devices/p/n/#"); code != 0x87 {
		t.Errorf("another device's topics: %#x", code)
	}
	// Its end is the standing's.
	s.expires = time.Now().Add(50 * time.Millisecond)
	f.authenticated("p:n/2", "is p:n").ended(ReasonExpired)
	// A will is held to the standing, as any other client's is.
	p := hello("p:n", "is p:n")
	p.Will = &packet.Will{Topic: "devices/p/m/x"}
	c := f.dial()
	c.saying(packet.AppendConnect(nil, &p), "CONNACK not authorized script welcome p:n")
	c.closed()
}

// TestEnhancedRefused: at every point a refusal ends the connection ([MQTT-4.12.0-4]), with its reason where
// the CONNACK is still due; and so does whatever a client says that is no AUTH ([MQTT-3.1.2-30]).
func TestEnhancedRefused(t *testing.T) {
	f, _ := withMethod(t, func(c *Config) { c.Log = slog.New(slog.DiscardHandler) })
	for what, x := range map[string]struct {
		data string
		then []byte // after one AUTH of the server's; nil: none is expected
		want string
	}{
		"refused at once":          {"no", nil, "CONNACK not authorized script refused"},
		"busy":                     {"busy", nil, "CONNACK server busy script later"},
		"it is nobody":             {"nobody", nil, "CONNACK not authorized"},
		"a panic":                  {"panic", nil, "CONNACK not authorized"},
		"refused later":            {"a", goesOn("no"), "CONNACK not authorized script refused"},
		"another method":           {"a", authPacket(packet.ContinueAuthentication, "other", "is p:n"), "CONNACK bad authentication method"},
		"its method in capitals":   {"a", authPacket(packet.ContinueAuthentication, "SCRIPT", "is p:n"), "CONNACK bad authentication method"},
		"0x19 before the CONNACK":  {"a", anew("is p:n"), "CONNACK protocol error"},
		"0x00 from a client":       {"a", authPacket(packet.Success, "script", "is p:n"), "CONNACK protocol error"},
		"AUTH without a method":    {"a", frame(0xf0, []byte{0x18, 0}), "CONNACK protocol error"},
		"AUTH without anything":    {"a", frame(0xf0), "CONNACK protocol error"},
		"AUTH with flags":          {"a", append([]byte{0xf1}, goesOn("is p:n")[1:]...), "CONNACK malformed packet"},
		"PUBLISH":                  {"a", frame(0x30, str("devices/p/n/x"), []byte{0}, []byte("x")), "CONNACK protocol error"},
		"SUBSCRIBE":                {"a", frame(0x82, []byte{0, 7, 0}, str("devices/p/n/x"), []byte{0}), "CONNACK protocol error"},
		"PINGREQ":                  {"a", []byte{0xc0, 0}, "CONNACK protocol error"},
		"a second CONNECT":         {"a", as("p:n", 5).bytes(), "CONNACK protocol error"},
		"DISCONNECT":               {"a", []byte{0xe0, 0}, "CONNACK not authorized"},
		"PUBLISH behind the last":  {"a", append(goesOn("is p:n"), frame(0x30, str("devices/p/n/x"), []byte{0}, []byte("x"))...), "CONNACK protocol error"},
		"AUTH of 8 KiB":            {"a", goesOn(strings.Repeat("x", maxConnect)), "CONNACK packet too large"},
		"CONNECT of 1 KiB":         {strings.Repeat("x", maxConnectAlone), nil, "closed"},
		"another device's id":      {"is p:m", nil, "CONNACK client identifier not valid script welcome p:m"},
		"AUTH of a length too far": {"a", []byte{0xf0, 0xff, 0xff, 0xff, 0xff, 1}, "CONNACK malformed packet"},
	} {
		r := f.begin("p:n", x.data)
		if x.then != nil {
			if got := r.said(); got != "AUTH continue authentication script why a" {
				t.Fatalf("%s: %s", what, got)
			}
			r.send(x.then)
		}
		if got := r.said(); got != x.want {
			t.Errorf("%s: %s, want %s", what, got, x.want)
		}
		r.closed()
	}
	// A password, though empty, makes no room for more.
	fat := hello("p:n", strings.Repeat("x", maxConnectAlone))
	fat.HasPassword = true
	f.dial().saying(packet.AppendConnect(nil, &fat), "CONNACK packet too large")
	// What the client does not know the server for ([MQTT-4.12.0-1]).
	p := hello("p:n", "is p:n")
	p.AuthMethod = "unknown"
	r := f.dial()
	r.saying(packet.AppendConnect(nil, &p), "CONNACK bad authentication method")
	r.closed()
	// More steps than any method has.
	r = f.begin("p:n", "a")
	steps := 0
	for ; r.said() == "AUTH continue authentication script why a"; steps++ {
		r.send(goesOn("a"))
	}
	if steps != maxAuthSteps {
		t.Errorf("%d steps were asked for, want %d", steps, maxAuthSteps)
	}
	// An AUTH that is longer than the client takes is not sent.
	p = hello("p:n", "long")
	p.MaximumPacketSize = 1000
	r = f.dial()
	r.saying(packet.AppendConnect(nil, &p), "CONNACK packet too large")
	p = hello("p:n", "no")
	p.MaximumPacketSize = 10
	r = f.dial()
	r.saying(packet.AppendConnect(nil, &p), "CONNACK not authorized") // without what was to go with it
	eventually(t, "all are gone", func() bool { return f.Count() == 0 && f.clients.sessions() == 0 })
	f.clients.mu.Lock()
	defer f.clients.mu.Unlock()
	if f.clients.deciding != 0 {
		t.Errorf("%d decisions are under way for ever", f.clients.deciding)
	}
}

// TestAuthNeedsAMethod: a client that named no method is sent no AUTH ([MQTT-4.12.0-6]), and sends none
// ([MQTT-4.12.0-7]), whoever it is.
func TestAuthNeedsAMethod(t *testing.T) {
	f, _ := withMethod(t, nil)
	for _, c := range []connectPacket{as("p:n", 5), {version: 5, id: anonA}} {
		for _, said := range [][]byte{anew("is p:n"), goesOn("is p:n")} {
			r := f.mustConnect(c)
			r.ping()
			r.saying(said, "DISCONNECT protocol error")
			r.closed()
		}
	}
	r := f.mustConnect(as("p:n", 4))
	r.send(anew("is p:n"))
	r.closed()
}

// TestReauthentication: on a living connection, by the same method ([MQTT-4.12.1-1]), while everything else goes on;
// what comes of it is for this device only, and a failure ends the connection ([MQTT-4.12.1-2]).
func TestReauthentication(t *testing.T) {
	f, s := withMethod(t, func(c *Config) { c.Log = slog.New(slog.DiscardHandler) })
	s.expires = time.Now().Add(time.Hour)
	const own, got = "devices/p/n/x", "AUTH success script welcome p:n"
	r := f.authenticated("p:n", "is p:n").mustSubscribe(own)
	c := f.clients.get("p:n")
	for i := range 3 {
		s.expires = s.expires.Add(time.Hour)
		r.saying(anew("is p:n"), got)
		if at := c.standing().Expires; !at.Equal(s.expires) {
			t.Errorf("round %d: it ends at %v, want %v", i, at, s.expires)
		}
		r.saying(anew("knock"), "AUTH continue authentication script why knock")
		r.publish(0, own, "meanwhile")
		if _, m := r.message(); m != "meanwhile" {
			t.Errorf("got %q", m)
		}
		r.ping()
		r.saying(goesOn("busy"), "AUTH continue authentication script later") // it stays what it was
		r.saying(goesOn("is p:n"), got)
		r.publish(0, own, "after")
		if _, m := r.message(); m != "after" {
			t.Errorf("got %q", m)
		}
	}
	if again := s.begun[len(s.begun)-1]; again.Device != device(t, "p:n") || again.ClientID != "p:n" || again.Password != nil {
		t.Errorf("the method was told %+v", again)
	}
	for what, x := range map[string]struct {
		say  [][]byte
		want string
	}{
		"it fails":                {[][]byte{anew("no")}, "DISCONNECT not authorized"},
		"it fails later":          {[][]byte{anew("a"), goesOn("no")}, "DISCONNECT not authorized"},
		"it is nobody":            {[][]byte{anew("nobody")}, "DISCONNECT not authorized"},
		"a panic":                 {[][]byte{anew("panic")}, "DISCONNECT not authorized"},
		"another device":          {[][]byte{anew("is p:m")}, "DISCONNECT not authorized"},
		"another device, later":   {[][]byte{anew("a"), goesOn("is p:m")}, "DISCONNECT not authorized"},
		"another pool's":          {[][]byte{anew("is q:n")}, "DISCONNECT not authorized"},
		"another method":          {[][]byte{authPacket(packet.Reauthenticate, "other", "is p:n")}, "DISCONNECT bad authentication method"},
		"another method, later":   {[][]byte{anew("a"), authPacket(packet.ContinueAuthentication, "other", "is p:n")}, "DISCONNECT bad authentication method"},
		"none is under way":       {[][]byte{goesOn("is p:n")}, "DISCONNECT protocol error"},
		"late":                    {[][]byte{anew("is p:n"), goesOn("is p:n")}, "DISCONNECT protocol error"},
		"another one is":          {[][]byte{anew("a"), anew("is p:n")}, "DISCONNECT protocol error"},
		"success from the client": {[][]byte{authPacket(packet.Success, "script", "is p:n")}, "DISCONNECT protocol error"},
		"too long":                {[][]byte{anew(strings.Repeat("x", maxRequest))}, "DISCONNECT packet too large"},
		"too many steps":          {append([][]byte{anew("a")}, manySteps()...), "DISCONNECT protocol error"},
	} {
		r := f.authenticated("p:n", "is p:n")
		for i, say := range x.say {
			r.send(say)
			if i < len(x.say)-1 {
				if got := r.said(); !strings.HasPrefix(got, "AUTH ") {
					t.Fatalf("%s: %s", what, got)
				}
			}
		}
		if got := r.said(); got != x.want {
			t.Errorf("%s: %s, want %s", what, got, x.want)
		}
		r.closed()
	}
}

func manySteps() (all [][]byte) {
	for range maxAuthSteps {
		all = append(all, goesOn("a"))
	}
	return all
}

// TestAuthWhileOneIsInWork: the last step has to be answered before the next one.
func TestAuthWhileOneIsInWork(t *testing.T) {
	f, s := withMethod(t, nil)
	for _, next := range [][]byte{goesOn("is p:n"), anew("is p:n")} {
		r := f.authenticated("p:n", "is p:n")
		r.send(anew("wait p:n"))
		<-s.held
		r.saying(next, "DISCONNECT protocol error")
		s.hold <- struct{}{}
		r.closed()
		eventually(t, "it is gone", func() bool { return f.Count() == 0 })
	}
}

// TestAuthDuringChanges: what was decided about the device meanwhile counts, for a CONNECT and for a
// connection that authenticates again.
func TestAuthDuringChanges(t *testing.T) {
	f, s := withMethod(t, nil)
	d := device(t, "p:n")
	for what, change := range map[string]func(){
		"ended":        func() { f.End(d, ReasonAdministrative) },
		"reviewed":     func() { f.Review(d, func(s Standing) (Standing, bool) { return s, false }, ReasonAdministrative, nil) },
		"pool is over": func() { f.EndPool(d.Pool, ReasonAdministrative, nil) },
	} {
		r := f.begin("p:n", "wait p:n")
		<-s.held
		change()
		s.hold <- struct{}{}
		if got := r.said(); got != "CONNACK not authorized script welcome p:n" {
			t.Errorf("%s while it connected: %s", what, got)
		}
		r = f.authenticated("p:n", "is p:n")
		r.send(anew("wait p:n"))
		<-s.held
		change()
		s.hold <- struct{}{}
		r.ended(ReasonAdministrative)
		eventually(t, "it is gone", func() bool { return f.Count() == 0 })
	}
	// The permissions of a review that came between go before those that were decided on.
	r := f.authenticated("p:n", "is p:n")
	r.send(anew("wait p:n"))
	<-s.held
	f.Review(d, func(s Standing) (Standing, bool) { s.Permissions = topic.Permissions{}; return s, true }, ReasonAdministrative, nil)
	s.hold <- struct{}{}
	if got := r.said(); got != "AUTH success script welcome p:n" {
		t.Fatal(got)
	}
	if code := r.subscribe("devices/p/n/#"); code != 0x87 {
		t.Errorf("the permissions from before the review came back: %#x", code)
	}
}

// TestReauthenticationKeepsTheSession: what waits for the client is still there, and comes.
func TestReauthenticationKeepsTheSession(t *testing.T) {
	f, s := withMethod(t, nil)
	p := hello("My Client", "is p:n") // an id of its own, which upgrades by client id do not reach
	p.ReceiveMaximum, p.SessionExpiry, p.HasSessionExpiry = 1, 100, true
	r := f.dial()
	r.v = 5
	r.saying(packet.AppendConnect(nil, &p), "CONNACK success script welcome p:n")
	r.send(frame(0x82, []byte{0, 7, 0}, str("devices/p/n/#"), []byte{1}))
	if kind, body := r.next(); kind != 0x90 || body[3] != 1 {
		t.Fatalf("packet %#x %x", kind, body)
	}
	from := f.authenticated("p:n", "is p:n")
	for i := range 3 {
		from.publish(2, "devices/p/n/x", fmt.Sprint(i))
		if kind, _ := from.next(); kind != 0x40 {
			t.Fatalf("packet %#x", kind)
		}
	}
	for i := range 3 {
		kind, body := r.next()
		if kind != 0x32 || !bytes.HasSuffix(body, []byte(fmt.Sprint(i))) {
			t.Fatalf("packet %#x %x, want message %d", kind, body, i)
		}
		s.expires = time.Now().Add(time.Duration(i+1) * time.Hour)
		r.saying(anew("is p:n"), "AUTH success script welcome p:n")
		id := body[2+len("devices/p/n/x"):][:2]
		r.send(frame(0x40, id))
	}
	r.ping()
}

// TestAuthTime: neither a stranger nor a device has all the time in the world for its next step, and a device
// stays what it was meanwhile.
func TestAuthTime(t *testing.T) {
	s := &scripted{t: t}
	var mu sync.Mutex
	causes := map[intake.Cause]int{}
	inBubble(t, func(c *Config) {
		c.Methods, c.AuthTimeout = map[string]Method{"script": s.method}, 20*time.Second
		c.Refused = func(why intake.Cause, _ string, _ error) { mu.Lock(); defer mu.Unlock(); causes[why]++ }
	}, func(b *bubble) {
		open := func(data string) *client {
			p := hello("p:n", data)
			return b.open(5, packet.AppendConnect(nil, &p))
		}
		late := open("a")
		time.Sleep(19 * time.Second)
		synctest.Wait()
		late.send(goesOn("a"))
		synctest.Wait()
		if got := late.all(); strings.Count(got, "AUTH") != 2 || strings.Contains(got, "closed") {
			t.Errorf("after 19 s: %s", got)
		}
		time.Sleep(2 * time.Second)
		synctest.Wait()
		if got := late.all(); !strings.Contains(got, "connack 0x87") || !strings.Contains(got, "closed") {
			t.Errorf("after 21 s: %s", got)
		}
		mu.Lock()
		if causes[intake.CauseSilent] != 1 {
			t.Errorf("refused for %v", causes)
		}
		mu.Unlock()
		own := open("is p:n")
		own.send(anew("busy")) // that asks it to wait, as long as it is told to
		time.Sleep(50 * time.Second)
		own.send(goesOn("is p:n"))
		synctest.Wait()
		if got := own.all(); strings.Count(got, "AUTH") != 2 || strings.Contains(got, "closed") {
			t.Errorf("a device that was asked to wait: %s", got)
		}
		own.send(anew("a"))
		time.Sleep(25 * time.Second)
		own.send([]byte{0xc0, 0})
		synctest.Wait()
		if got := own.all(); strings.Contains(got, "closed") {
			t.Errorf("a device that takes its time: %s", got)
		}
		own.send(goesOn("is p:n"))
		synctest.Wait()
		if got := own.all(); !strings.Contains(got, "disconnect 0x87") {
			t.Errorf("a device that took too long: %s", got)
		}
	})
}

// all gives what has come so far.
func (c *client) all() string {
	c.mu.Lock()
	defer c.mu.Unlock()
	return strings.Join(c.got, "; ")
}

// TestManyLongAuths: long AUTHs of one source are read a few at a time, and short ones meanwhile.
func TestManyLongAuths(t *testing.T) {
	f, _ := withMethod(t, nil)
	long := goesOn(strings.Repeat("x", 3000))
	var slow []*raw
	for range f.cfg.LongConnects {
		r := f.begin("p:n", "a")
		r.said()
		r.send(long[:2000])
		slow = append(slow, r)
	}
	eventually(t, "they are being read", func() bool {
		f.reading.mu.Lock()
		defer f.reading.mu.Unlock()
		return f.reading.all == f.cfg.LongConnects
	})
	r := f.begin("p:n", "a")
	r.said()
	r.saying(long, "CONNACK server busy")
	r.closed()
	r = f.begin("p:n", "a")
	r.said()
	r.saying(goesOn("is p:n"), "CONNACK success script welcome p:n")
	slow[0].send(long[2000:])
	if got := slow[0].said(); !strings.HasPrefix(got, "AUTH continue") {
		t.Error(got)
	}
	for _, r := range slow {
		r.nc.Close()
	}
	eventually(t, "nothing is being read", func() bool {
		f.reading.mu.Lock()
		defer f.reading.mu.Unlock()
		return f.reading.all == 0
	})
}

// TestAuthOverload: steps are bounded as requests are; a stranger hears so and is gone, a device hears so and stays.
func TestAuthOverload(t *testing.T) {
	var mu sync.Mutex
	causes := map[Overload]int{}
	f, _ := withMethod(t, func(c *Config) {
		c.Requests, c.DeviceRequests = RequestLimit{PerSecond: 0.001, Burst: 3}, RequestLimit{PerSecond: 0.001, Burst: 1}
		c.Busy = func(q Request, why Overload, _ time.Duration) []byte {
			mu.Lock()
			defer mu.Unlock()
			causes[why]++
			if string(q.Payload) == "is p:n" {
				return []byte("come again")
			}
			return nil
		}
	})
	r := f.authenticated("p:n", "is p:n")
	r.saying(anew("is p:n"), "AUTH success script welcome p:n")
	r.saying(anew("is p:n"), "AUTH continue authentication script come again")
	r.ping()
	r.saying(goesOn("x"), "DISCONNECT server busy") // there is nothing to tell it
	for range 2 {
		f.begin("p:m", "a").said()
	}
	r = f.begin("p:n", "is p:n")
	if got := r.said(); got != "CONNACK server busy script come again" {
		t.Error(got)
	}
	r.closed()
	mu.Lock()
	defer mu.Unlock()
	if causes[OverloadDevice] != 2 || causes[OverloadRate] != 1 {
		t.Errorf("overloads: %v", causes)
	}
}

// seeing is a gate that is told of who connects.
type seeing struct {
	Gate
	seen chan Connect
}

func (s seeing) Admit(ctx context.Context, c Connect) (Standing, error) {
	s.seen <- c
	return s.Gate.Admit(ctx, c)
}

// TestGateSeesTheCertificate: where the listener asks for one, whoever admits is told what was verified of the
// client's certificate.
func TestGateSeesTheCertificate(t *testing.T) {
	server, client := selfSigned(t)
	seen := make(chan Connect, 1)
	f := start(t, func(c *Config, _ *fixture) { c.Gate = seeing{c.Gate, seen} })
	for _, asks := range []tls.ClientAuthType{tls.NoClientCert, tls.RequireAndVerifyClientCert} {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		conf := server.Clone()
		conf.ClientCAs, conf.ClientAuth = client.RootCAs, asks
		ctx, cancel := context.WithCancel(t.Context())
		served := make(chan error, 1)
		go func() { served <- f.Serve(ctx, ln, conf) }()
		own := client.Clone()
		own.Certificates = server.Certificates
		nc, err := tls.Dial("tcp", ln.Addr().String(), own)
		if err != nil {
			t.Fatal(err)
		}
		r := newRaw(t, nc)
		r.send(as("p:n", 4).bytes())
		if kind, body := r.next(); kind != 0x20 || body[1] != 0 {
			t.Fatalf("packet %#x %x", kind, body)
		}
		if c := <-seen; c.TLS == nil || len(c.TLS.VerifiedChains) > 0 != (asks == tls.RequireAndVerifyClientCert) {
			t.Errorf("%v: the gate was told %+v", asks, c.TLS)
		}
		nc.Close()
		cancel()
		if err := <-served; err != nil {
			t.Error(err)
		}
	}
}

// A connection that departs while it is being renewed leaves no deadline behind.
func TestNoDeadlineOfTheGone(t *testing.T) {
	f, s := withMethod(t, nil)
	s.expires = time.Now().Add(time.Hour)
	r := f.authenticated("p:n", "is p:n")
	c := f.clients.get("p:n")
	f.End(device(t, "p:n"), ReasonAdministrative)
	r.ended(ReasonAdministrative)
	eventually(t, "it is gone", func() bool { return f.Count() == 0 })
	f.schedule(c)
	if n := f.deadlines.Len(); n != 0 {
		t.Errorf("%d deadlines are left", n)
	}
}

// TestDevicesAuthenticateFirst: strangers whose steps take long do not keep a device waiting that authenticates again.
func TestDevicesAuthenticateFirst(t *testing.T) {
	f, s := withMethod(t, func(c *Config) { c.Workers = 4 })
	s.held = make(chan string, 8)
	own := f.authenticated("p:n", "is p:n")
	var waiting []*raw
	for i := range 6 {
		waiting = append(waiting, f.begin(fmt.Sprintf("p:m/%d", i), "wait p:m"))
	}
	for range f.strangersAtOnce() {
		<-s.held
	}
	own.saying(anew("is p:n"), "AUTH success script welcome p:n")
	if n := len(s.held); n > 0 {
		t.Errorf("%d more strangers are being answered than may be at once", n)
	}
	close(s.hold)
	for _, r := range waiting {
		if got := r.said(); got != "CONNACK success script welcome p:m" {
			t.Error(got)
		}
	}
}
