package cli_test

import (
	"slices"
	"strings"
	"testing"
)

// TestCompletions: a shell is offered the words that exist, and files only where a file is
// wanted.
func TestCompletions(t *testing.T) {
	s := login(t)
	for _, line := range []string{
		"pool create demo", "pool create other", "group create lab --pool demo", "hook create pin --url https://hooks.example/pin --pool demo",
		"flow create two --step key --step hook:pin --pool demo", "device create lamp-1 --pool demo",
	} {
		s.ok(t, line)
	}
	const files, none = "0", "4" // cobra's directives
	for line, want := range map[string]struct {
		words     []string
		directive string
	}{
		"device sessions ":                         {[]string{"list", "revoke"}, none},
		"key anchor ":                              {[]string{"rotate"}, none},
		"device show --pool demo ":                 {[]string{"lamp-1"}, none},
		"device show --pool ":                      {[]string{"demo", "other"}, none},
		"device list --pool demo ":                 {nil, none},
		"device create x --pool demo --group ":     {[]string{"lab"}, none},
		"enrollment create --pool demo --group l":  {[]string{"lab"}, none},
		"client create x --pool demo --flow ":      {[]string{"default", "two"}, none},
		"pool update demo --flow ":                 {[]string{"default", "two"}, none},
		"pool update other --flow ":                {[]string{"default"}, none},
		"pool update demo --clones ":               {[]string{"note", "quarantine"}, none},
		"flow create x --pool demo --step ":        {[]string{"key", "psk", "totp", "hook:pin"}, none},
		"flow create x --pool demo --define ":      {[]string{"pin"}, none},
		"device totp x --pool demo --algorithm ":   {[]string{"SHA1", "SHA256", "SHA512"}, none},
		"operator create x --scope ":               {[]string{"read", "enroll", "write", "admin"}, none},
		"status -o ":                               {[]string{"table", "json", "yaml", "csv"}, none},
		"enrollment create --pool demo --expires ": {nil, none},
		"status --ca ":                             {nil, files},
		"device create x --pool demo --key ":       {nil, files},
		"token verify --key ":                      {nil, files},
		"token inspect ":                           {nil, files},
	} {
		words := strings.Split(line, " ")
		r := s.run(t, "", append([]string{"__complete"}, words...)...)
		lines := strings.Split(strings.TrimSpace(r.out), "\n")
		var got []string
		for _, l := range lines[:len(lines)-1] {
			word, _, _ := strings.Cut(l, "\t")
			got = append(got, word)
		}
		if !slices.Equal(got, want.words) || lines[len(lines)-1] != ":"+want.directive {
			t.Errorf("%q: %q %s, want %q :%s", line, got, lines[len(lines)-1], want.words, want.directive)
		}
	}
}
