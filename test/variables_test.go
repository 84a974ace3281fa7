package test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	agent "github.com/signetd/signet/agent/command"
	"github.com/signetd/signet/broker/cmd/signet/cli"
	simulator "github.com/signetd/signet/firmware-sim/command"
	"github.com/signetd/signet/protocol/environ"
)

// TestVariablesAreOneTable: the help of each program names the variables that the table
// says it reads, each behind the flag that says the same, and no other; and docs/settings.md
// has the table.
func TestVariablesAreOneTable(t *testing.T) {
	quiet := func(string) string { return "" }
	helps := map[string]string{}
	for program, lines := range map[string][]string{
		environ.Agent:       {"enroll", "key", "run", "status", "check", "token", "credentials mqtt", "answer", "bugreport", "unenroll"},
		environ.FirmwareSim: {"run", "report"},
		environ.Signet:      {"login", "device list", "audit list", "token verify"},
	} {
		for _, line := range lines {
			var out bytes.Buffer
			args := append(strings.Fields(line), "--help")
			switch program {
			case environ.Agent:
				agent.Main(context.Background(), args, &out, io.Discard)
			case environ.FirmwareSim:
				simulator.Main(context.Background(), args, &out, io.Discard)
			case environ.Signet:
				cli.Run(context.Background(), cli.Surroundings{In: strings.NewReader(""), Out: &out, Err: io.Discard, Getenv: quiet}, args)
			}
			helps[program] += out.String()
		}
	}
	raw, err := os.ReadFile("../docs/settings.md")
	if err != nil {
		t.Fatal(err)
	}
	var known []string
	for _, v := range environ.Table() {
		known = append(known, v.Name)
		mark := ""
		if v.Dev {
			mark = "yes"
		}
		row := fmt.Sprintf("| `%s` | `%s` | %s | %s | %s |\n", v.Name, v.Flag, v.Meaning, strings.Join(v.Programs, ", "), mark)
		if !strings.Contains(string(raw), row) {
			t.Errorf("docs/settings.md lacks %s", row)
		}
		for program, help := range helps {
			says := regexp.MustCompile(`(?s)-` + strings.TrimLeft(v.Flag, "-") + ` [^\n]*\n?[^\n]*` + v.Name + `\b`).MatchString(help)
			if reads := slices.Contains(v.Programs, program); reads != says {
				t.Errorf("%s reads %s: %v, and says so in the help of %s: %v", program, v.Name, reads, v.Flag, says)
			}
		}
	}
	for program, help := range helps {
		for _, name := range regexp.MustCompile(`SIGNET_[A-Z_]+`).FindAllString(help, -1) {
			if !slices.Contains(known, name) {
				t.Errorf("%s's help names %s, which is not in the table", program, name)
			}
		}
	}
	for _, name := range regexp.MustCompile("(?m)^\\| `(SIGNET_[A-Z_]+)` \\|").FindAllStringSubmatch(string(raw), -1) {
		if !slices.Contains(known, name[1]) {
			t.Errorf("docs/settings.md has %s, which is not in the table", name[1])
		}
	}
}
