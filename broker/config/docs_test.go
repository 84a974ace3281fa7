package config

import (
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
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

// TestLimitsNameTheirSettings: each row of the table of limits names the settings that move it,
// or says that it is fixed; each setting that is a bound stands in it.
func TestLimitsNameTheirSettings(t *testing.T) {
	raw, err := os.ReadFile("../../docs/signetd.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, ok := strings.Cut(string(raw), "| limit | setting | counted | what the client sees |\n|---|---|---|---|\n")
	if !ok {
		t.Fatal("docs/signetd.md has no table of limits")
	}
	table, _, _ = strings.Cut(table, "\n\n")
	bounds := map[string]bool{}
	for _, s := range settings() {
		if section, _, _ := strings.Cut(s.key, "."); slices.Contains([]string{"limits", "hooks", "mqtt"}, section) {
			bounds[s.key] = false
		}
	}
	for _, none := range []string{"hooks.allow", "mqtt.session_expiry", "mqtt.max_keep_alive", "mqtt.slow_subscriber", "mqtt.web_origins", "mqtt.ace_challenge"} {
		delete(bounds, none)
	}
	for row := range strings.Lines(table) {
		cells := strings.Split(row, "|")
		if len(cells) != 6 {
			t.Fatalf("a row of %d cells: %s", len(cells)-2, row)
		}
		named := regexp.MustCompile("`([a-z_.]+)`").FindAllStringSubmatch(cells[2], -1)
		if len(named) == 0 {
			t.Errorf("no setting: %s", row)
		}
		for _, m := range named {
			if _, is := bounds[m[1]]; !is && (m[1] != "fixed" || len(named) > 1) {
				t.Errorf("%q is no setting that bounds anything: %s", m[1], row)
			}
			bounds[m[1]] = true
		}
	}
	for key, told := range bounds {
		if !told {
			t.Errorf("the table of limits does not have %s", key)
		}
	}
}
