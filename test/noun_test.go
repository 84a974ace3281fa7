package test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestANounIsThreeFiles: all that the programs know of groups, the plainest kind of
// setting, is its noun, its form on the wire and its line among the resources. Store,
// routes, API client, commands, apply and diff know it by those.
func TestANounIsThreeFiles(t *testing.T) {
	got := knowing(t, regexp.MustCompile(`\bbroker\.Group(Kind)?\b|\bfunc GroupKind\(|\bgroupResource\b|\badminapi\.Group\b`))
	if want := []string{"broker/adminapi/group.go", "broker/adminapi/resource.go", "broker/group.go"}; !slices.Equal(got, want) {
		t.Errorf("groups are known in %v, want %v", got, want)
	}
}

// TestAChallengeIsTwoFiles: all that the programs know of one-time codes, a challenge
// whose authenticator the broker makes, is its method, what operators must know of it,
// and its lines where challenges, methods and such authenticators are registered. Store,
// flows, control plane, API, commands and devices know it by those.
func TestAChallengeIsTwoFiles(t *testing.T) {
	got := knowing(t, regexp.MustCompile(`(?i)totp|otpauth`))
	registered := []string{"protocol/challenge/challenge.go", "broker/proof/proof.go", "broker/adminapi/authenticator.go"}
	own := slices.DeleteFunc(slices.Clone(got), func(file string) bool { return slices.Contains(registered, file) })
	if want := []string{"broker/adminapi/totp.go", "broker/proof/totp.go"}; !slices.Equal(own, want) || len(got) != len(own)+len(registered) {
		t.Errorf("one-time codes are known in %v, want %v beside %v", got, want, registered)
	}
}

// knowing gives the files whose text fits, without tests and what is for them.
func knowing(t *testing.T, knows *regexp.Regexp) (files []string) {
	t.Helper()
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		name := strings.TrimPrefix(filepath.ToSlash(path), "../")
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") || forTests(filepath.ToSlash(filepath.Dir(name))) {
			return err
		}
		text, err := os.ReadFile(path)
		if err == nil && knows.Match(text) {
			files = append(files, name)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return files
}
