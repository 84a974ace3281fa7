package command

import (
	"crypto/tls"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/signetd/signet/protocol"
	"github.com/signetd/signet/protocol/exit"
	"github.com/signetd/signet/protocol/ident"
)

// Each cause has words and a hint of its own, and none says a thing twice.
func TestCausesHaveTheirOwnWords(t *testing.T) {
	b, m, dir := newBroker(t), &machine{t: t}, folder(t)
	m.must(enrollArgs(b, dir, "--ca", b.ca(t))...)
	nothing := http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})
	plain := httptest.NewServer(nothing)
	defer plain.Close()
	web, err := tls.Listen("tcp", "127.0.0.1:0", b.serverConfig())
	if err != nil {
		t.Fatal(err)
	}
	defer web.Close()
	go func() {
		for {
			conn, err := web.Accept()
			if err != nil {
				return
			}
			_, _ = conn.Write([]byte("HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n" + strings.Repeat("-", 256)))
			_ = conn.Close()
		}
	}()
	port := func(url string) string { return url[strings.LastIndex(url, ":"):] }
	missing := filepath.Join(t.TempDir(), "missing")
	for _, tt := range []struct {
		code       exit.Code
		args       []string
		text, hint string
	}{
		{exit.NotFound, []string{"--ca", missing}, "no such file", "check the path: " + missing},
		{exit.Failed, []string{"--ca", filepath.Dir(missing)}, "is a directory", "check the path: "},
		{exit.NotFound, []string{"--token", "@" + missing}, "no such file", "check the path: " + missing},
		{exit.NotFound, []string{"--psk-file", missing}, "no such file", "check the path: " + missing},
		{exit.Refused, []string{"--broker", "mqtts://127.0.0.1" + port(b.url)}, "not accepted: cannot validate", "name the broker as its certificate does"},
		{exit.Unavailable, []string{"--broker", "mqtt://localhost" + port(b.url)}, "hung up on MQTT without TLS", "MQTT over TLS is at"},
		{exit.Unavailable, []string{"--broker", "mqtts://localhost" + port(plain.URL)}, "does not speak TLS", "MQTT over TLS is at"},
		{exit.Unavailable, []string{"--broker", "mqtts://localhost" + port(web.Addr().String())}, "no MQTT broker answers there", "MQTT over TLS is at"},
		{exit.Unavailable, []string{"--broker", "mqtts://localhost:" + closedPort(t)}, "connection refused", "is the broker up"},
		{exit.Unavailable, []string{"--broker", "mqtts://broker.invalid"}, "no address for broker.invalid", "is the broker up"},
		{exit.Refused, []string{"--psk-file", secretFile(t, strings.Repeat("ab", 32)), "--state", folder(t)}, "asks for key, and this device has a psk", "log in as a client whose flow"},
	} {
		args := append(enrollArgs(b, dir, "--ca", b.ca(t)), tt.args...)
		m.fails(int(tt.code), tt.text, tt.hint, args...)
		_, _, errs := m.run(args...)
		line, _, _ := strings.Cut(errs, "\n")
		parts := strings.Split(line, ": ")
		for i, part := range parts {
			if i > 0 && part == parts[i-1] || strings.Contains(part, "network Error") || strings.HasPrefix(part, "dial ") || strings.HasPrefix(part, "listen ") {
				t.Errorf("in the library's words, or twice: %s", line)
			}
		}
	}
	m.fails(4, "no such file", "make the socket's folder", "run", "--state", dir, "--socket", filepath.Join(missing, "s"))
	b.Refuse = func(ident.Name) error { return protocol.CodeDenied }
	m.fails(3, `not given for the audience "nope"`, "signet client show", "token", "--state", dir, "--audience", "nope")
	m.fails(3, "denied", "check pool, name and token", "token", "--state", dir)
	// A folder that may not be looked into is not one without a device.
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, verb := range []string{"status", "token", "run", "check"} {
		m.fails(1, "others can read it", "chmod go-rwx", verb, "--state", dir)
	}
	loop := filepath.Join(t.TempDir(), "loop")
	if err := os.Symlink(loop, loop); err != nil {
		t.Fatal(err)
	}
	m.fails(1, "too many levels of symbolic links", "check the path: "+loop, "status", "--state", loop)
}
