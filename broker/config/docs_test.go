package config

import (
	"fmt"
	"os"
	"regexp"
	"testing"
)

// TestEverySettingIsDocumented: the page for whoever runs signetd has each key once,
// with its variable, and no key that there is not.
func TestEverySettingIsDocumented(t *testing.T) {
	raw, err := os.ReadFile("../../docs/signetd.md")
	if err != nil {
		t.Fatal(err)
	}
	told := make(map[string]int)
	for _, row := range regexp.MustCompile("(?m)^\\| `([a-z_.]+)` \\| `(SIGNET_[A-Z_]+)` \\|").FindAllStringSubmatch(string(raw), -1) {
		told[row[1]+" "+row[2]]++
	}
	for _, s := range settings() {
		row := fmt.Sprintf("%s %s", s.key, s.variable)
		if told[row] != 1 {
			t.Errorf("docs/signetd.md tells %q %d times", row, told[row])
		}
		delete(told, row)
	}
	for row := range told {
		t.Errorf("docs/signetd.md tells of %q, which there is not", row)
	}
}
