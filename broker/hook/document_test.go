package hook_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/signetd/signet/broker/hook"
)

// block gives the first block of a language in docs/webhooks.md.
func block(t *testing.T, language string) string {
	t.Helper()
	text, err := os.ReadFile("../../docs/webhooks.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, found := strings.Cut(string(text), "\n```"+language+"\n")
	code, _, closed := strings.Cut(rest, "\n```\n")
	if !found || !closed {
		t.Fatalf("docs/webhooks.md has no %s", language)
	}
	return code
}

// The request that the document shows is what goes over the wire.
func TestDocumentShowsTheRequest(t *testing.T) {
	var shown bytes.Buffer
	if err := json.Compact(&shown, []byte(block(t, "json"))); err != nil {
		t.Fatal(err)
	}
	if shown.String() != fullRequest {
		t.Errorf("the document has\n%s\non the wire is\n%s", &shown, fullRequest)
	}
}

// The hook that the document shows asks, lets the right answer pass and no other, and is
// not called by whoever lacks the secret.
func TestDocumentShowsAHook(t *testing.T) {
	python, err := exec.LookPath("python3")
	if err != nil {
		if os.Getenv("CI") != "" {
			t.Fatal(err)
		}
		t.Skip("python3 is not installed; make test installs it")
	}
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	at := free.Addr().(*net.TCPAddr)
	free.Close()
	cmd := exec.Command(python, "-c", block(t, "python"))
	cmd.Env = append(os.Environ(), "HOOK_SECRET="+exampleSecret, fmt.Sprintf("PORT=%d", at.Port))
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill(); _ = cmd.Wait() })
	for range 200 {
		c, err := net.Dial("tcp", at.String())
		if err == nil {
			c.Close()
			break
		}
		time.Sleep(50 * time.Millisecond)
	}

	_, h := newCaller(t, "http://"+at.String()+"/")
	c := hook.New(hook.Config{Store: noStore{}, Secrets: unsealed{}, Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, Now: time.Now})
	t.Cleanup(c.Close)
	call := fullCall(t)
	made, err := c.Create(t.Context(), h, call)
	if err != nil || made.Public["question"] != "code on the door of lamp-1?" || made.Private["code"] == "" {
		t.Fatalf("%+v, %v", made, err)
	}
	call.Private = made.Private
	for answer, want := range map[string]bool{"4711": true, "4712": false, "": false} {
		if right, err := c.Verify(t.Context(), h, call, answer); err != nil || right != want {
			t.Errorf("%q: %v, %v", answer, right, err)
		}
	}
	h.Sealed = []byte("whsec_" + strings.Repeat("A", 32))
	if right, err := c.Verify(t.Context(), h, call, "4711"); err == nil || right {
		t.Error("it answers somebody without the secret")
	}
	old := hook.New(hook.Config{Store: noStore{}, Secrets: unsealed{}, Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, Now: func() time.Time { return time.Now().Add(-time.Hour) }})
	t.Cleanup(old.Close)
	h.Sealed = []byte(exampleSecret)
	if right, err := old.Verify(t.Context(), h, call, "4711"); err == nil || right {
		t.Error("it answers a call of an hour ago")
	}
}
