package interop

import (
	"bufio"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os/exec"
	"strings"
	"testing"

	"github.com/signetd/signet/agent"
	"github.com/signetd/signet/protocol"
	"github.com/signetd/signet/protocol/ace"
	"github.com/signetd/signet/protocol/ident"
	"github.com/signetd/signet/test/harness"
)

// A script is npm's mqtt, which does as it is told: see mqtt.mjs.
type script struct {
	t    *testing.T
	in   io.Writer
	out  *bufio.Scanner
	said said
}

// said is one line of it.
type said struct {
	Event, Channel, Exported, Data, Topic, Text string
	Code                                        byte
}

func (s *script) tell(format string, args ...any) {
	s.t.Helper()
	if _, err := fmt.Fprintf(s.in, format+"\n", args...); err != nil {
		s.t.Fatal(err)
	}
}

// hears waits for one of these events, and passes over others.
func (s *script) hears(events ...string) said {
	s.t.Helper()
	for s.out.Scan() {
		var got said
		if err := json.Unmarshal(s.out.Bytes(), &got); err != nil {
			s.t.Fatal(err)
		}
		for _, e := range events {
			if got.Event == e {
				return got
			}
		}
	}
	s.t.Fatalf("never: %v, %v", events, s.out.Err())
	return said{}
}

func (s *script) open() *script {
	s.t.Helper()
	s.tell("open")
	s.said = s.hears("open")
	return s
}

func (s *script) subscribe(filter string) byte {
	s.t.Helper()
	s.tell("subscribe %s", filter)
	return s.hears("granted").Code
}

// A bySignet is an agent's link over the script's connection.
type bySignet struct {
	*script
	id               string
	connected, under bool
}

var _ agent.Bound = (*bySignet)(nil)

func (l *bySignet) End() agent.End { return agent.End{Channel: unhex(l.t, l.said.Channel)} }

func (l *bySignet) RoundTrip(_ context.Context, request []byte) ([]byte, error) {
	switch {
	case l.under:
		l.tell("say %x", request)
	case l.connected:
		l.tell("again SIGNET %x", request)
	default:
		l.tell("connect 5 SIGNET %s %x", l.id, request)
	}
	got := l.hears("auth", "connack", "close")
	l.connected = l.connected || got.Event == "connack" && got.Code == 0
	if l.under = got.Event == "auth" && got.Code != 0; got.Event == "close" {
		return nil, fmt.Errorf("the connection is closed")
	}
	return unhex(l.t, got.Data), nil
}

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestEnhancedAuthenticationInJavaScript: npm's mqtt enrolls, connects and authenticates again by SIGNET and by ace, with
// the real signetd.
func TestEnhancedAuthenticationInJavaScript(t *testing.T) {
	dir := npmInstall(t, "mqtt.mjs", "mqtt@5.16.0")
	served := serveWith(t, build(t, "./broker/cmd/signetd"), "SIGNET_MQTT_ACE_CHALLENGE=true")
	host, port, err := net.SplitHostPort(served.mqtt)
	if err != nil {
		t.Fatal(err)
	}
	c := exec.CommandContext(t.Context(), "node", "mqtt.mjs", host, port, served.env["SIGNET_CA"])
	c.Dir = dir
	var errs strings.Builder
	c.Stderr = &errs
	in, err := c.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = in.Close()
		_ = c.Process.Kill()
		_ = c.Wait()
		if t.Failed() {
			t.Log(errs.String())
		}
	})
	js := &script{t: t, in: in, out: bufio.NewScanner(out)}
	token, err := protocol.ParseEnrollToken(served.env["SIGNET_ENROLLMENT"])
	if err != nil {
		t.Fatal(err)
	}
	device, err := ident.ParseDevice("demo:js")
	if err != nil {
		t.Fatal(err)
	}
	key := harness.NewP256(t)
	a, err := agent.New(t.Context(), agent.Config{Device: device, Prover: key, State: &agent.Memory{}})
	if err != nil {
		t.Fatal(err)
	}
	const own = "devices/demo/js/x"
	works := func(after string) {
		t.Helper()
		if code := js.subscribe(own); code > 2 {
			t.Fatalf("%s: its own topics: %#x", after, code)
		}
		js.tell("publish %s %s", own, strings.ReplaceAll(after, " ", "-"))
		if got := js.hears("message", "close"); got.Text != strings.ReplaceAll(after, " ", "-") {
			t.Fatalf("%s: got %+v", after, got)
		}
	}
	link := &bySignet{script: js.open(), id: "chosen"}
	if _, err := a.Enroll(t.Context(), link, agent.Admission{Token: &token}); err != nil || !link.connected {
		t.Fatal(err)
	}
	works("SIGNET enroll")
	g, err := a.Refresh(t.Context(), link, agent.Ask{})
	if err != nil {
		t.Fatal(err)
	}
	works("SIGNET refresh")
	if g, err = a.Authenticate(t.Context(), link, agent.Ask{}); err != nil {
		t.Fatal(err)
	}
	works("SIGNET start")

	proof := func(input []byte) []byte {
		t.Helper()
		p, err := key.Prove(input)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	opening := func(proof []byte) []byte {
		t.Helper()
		data, err := ace.Opening{Token: g.Access, Proof: proof}.Append(nil)
		if err != nil {
			t.Fatal(err)
		}
		return data
	}
	respond := func() {
		t.Helper()
		var r ace.Response
		_, _ = rand.Read(r.Nonce[:])
		r.Proof = proof(r.Input([ace.NonceLen]byte(unhex(t, js.hears("auth").Data))))
		js.tell("say %x", r.Append(nil))
	}
	js.open().tell("connect 5 ace demo:js %x", opening(proof(unhex(t, js.said.Exported))))
	if got := js.hears("connack", "close"); got.Code != 0 {
		t.Fatalf("ace, exported: %+v", got)
	}
	works("ace exported")
	js.tell("again ace %x", opening(nil))
	respond()
	if got := js.hears("auth", "close"); got.Event != "auth" || got.Code != 0 {
		t.Fatalf("ace again: %+v", got)
	}
	works("ace again")
	js.open().tell("connect 5 ace demo:js/2 %x", opening(nil))
	respond()
	if got := js.hears("connack", "close"); got.Event != "connack" || got.Code != 0 {
		t.Fatalf("ace, nonces: %+v", got)
	}
	works("ace nonces")
	js.open().tell("connect 4 - demo:js/3 - %s %x", ace.UserName(g.Access), proof(unhex(t, js.said.Exported)))
	if got := js.hears("connack", "close"); got.Event != "connack" || got.Code != 0 {
		t.Fatalf("ace, MQTT 3.1.1: %+v", got)
	}
	works("ace by user name")
	js.open().tell("connect 5 SIGNET nobody 00")
	if got := js.hears("connack"); got.Code != 0x87 {
		t.Errorf("no message: %+v", got)
	}
}
