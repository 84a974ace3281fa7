package command

import (
	"os"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/signetd/signet/agent"
	"github.com/signetd/signet/agent/localapi"
)

const document = "../../docs/signet-agent.md"

// What programs and scripts rely on has its place in the document: every member
// of requests, replies and the status, every phase, every command.
func TestDocumented(t *testing.T) {
	raw, err := os.ReadFile(document)
	if err != nil {
		t.Fatal(err)
	}
	text := string(raw)
	want := []string{
		string(agent.PhaseStarting), string(agent.PhaseOnline), string(agent.PhaseOffline), string(agent.PhaseDisabled),
		string(agent.PhasePending), string(agent.PhaseRefused), string(agent.PhaseDistrust), settingsName, socketName,
	}
	for _, v := range []any{Status{}, localapi.Request{}, localapi.Reply{}} {
		typ := reflect.TypeOf(v)
		for i := range typ.NumField() {
			name, _, _ := strings.Cut(typ.Field(i).Tag.Get("json"), ",")
			want = append(want, name)
		}
	}
	for _, line := range regexp.MustCompile(`(?m)^  ([a-z]+)`).FindAllStringSubmatch(usage(), -1) {
		want = append(want, line[1])
	}
	for _, w := range want {
		if !strings.Contains(text, "`"+w+"`") {
			t.Errorf("%s is not in %s", w, document)
		}
	}
}

// Every flag that the document names exists.
func TestDocumentedFlags(t *testing.T) {
	raw, err := os.ReadFile(document)
	if err != nil {
		t.Fatal(err)
	}
	var known []string
	for _, command := range []string{"enroll", "key", "run", "status", "check", "answer", "token", "credentials mqtt", "bugreport", "unenroll"} {
		_, out, _ := run(t, append(strings.Fields(command), "-h")...)
		for _, line := range regexp.MustCompile(`(?m)^  (-[-a-z]+)`).FindAllStringSubmatch(out, -1) {
			known = append(known, line[1])
		}
	}
	if len(known) < 20 {
		t.Fatalf("only %v", known)
	}
	raw = regexp.MustCompile(`(?m)^signet .*$`).ReplaceAll(raw, nil) // the operators' tool
	for _, named := range regexp.MustCompile(`--[a-z][a-z-]*`).FindAllString(string(raw), -1) {
		if !slices.Contains(known, named) {
			t.Errorf("%s names %s, which no command has", document, named)
		}
	}
}
