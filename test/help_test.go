package test

import (
	"bytes"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	agent "github.com/signetd/signet/agent/command"
	"github.com/signetd/signet/broker/cmd/signet/cli"
	signetd "github.com/signetd/signet/broker/cmd/signetd/command"
	simulator "github.com/signetd/signet/firmware-sim/command"
	"github.com/signetd/signet/protocol/environ"
)

// helps gives what --help prints, by command line.
func helps(t *testing.T) map[string]string {
	t.Helper()
	all := map[string]string{}
	for _, page := range agent.Pages() {
		var out bytes.Buffer
		agent.Main(t.Context(), append(strings.Fields(page.Name), "--help"), &out, &out)
		all["signet-agent "+page.Name] = out.String()
	}
	for _, root := range []*cobra.Command{cli.Command(), signetd.Command(), simulator.Command()} {
		each(root, func(c *cobra.Command) {
			var out bytes.Buffer
			c.SetOut(&out)
			if err := c.Help(); err != nil {
				t.Errorf("%s: %v", c.CommandPath(), err)
			}
			all[c.CommandPath()] = out.String()
		})
	}
	return all
}

// each walks a command and all that are below it.
func each(c *cobra.Command, do func(*cobra.Command)) {
	do(c)
	for _, sub := range c.Commands() {
		each(sub, do)
	}
}

// TestDefaultsAreWords: a default is said in words, once, and only where there is one.
func TestDefaultsAreWords(t *testing.T) {
	all := helps(t)
	if len(all) < 80 {
		t.Fatalf("only %d helps", len(all))
	}
	wrong := regexp.MustCompile(`\(default:|\(default \)|\(default ""\)|\(default "|\(default (0s?|false|\[\]|<nil>)\)|[0-9][hm]0[ms]|m0s`)
	for line, help := range all {
		for text := range strings.Lines(help) {
			if wrong.MatchString(text) || strings.Count(text, "(default") > 1 {
				t.Errorf("%s: %s", line, text)
			}
		}
	}
	for line, says := range map[string]string{
		"signet client create":     "life of access and ID tokens, 5m to 1d (default 1h)",
		"signet operator create":   "(default read)",
		"signet token verify":      "(default 1m)",
		"firmware-sim run":         "(default 10m)",
		"signet-agent token":       "access or id (default access)",
		"signetd operator create":  "(default admin)",
		"signet enrollment create": "(default 24h)",
	} {
		if !strings.Contains(strings.Join(strings.Fields(all[line]), " "), says) {
			t.Errorf("%s does not say %q:\n%s", line, says, all[line])
		}
	}
}

// TestGroupsNeedACommand: a command that consists of commands, completion included, did nothing where
// a line names none of them, and says so.
func TestGroupsNeedACommand(t *testing.T) {
	groups := 0
	for program, run := range map[*cobra.Command]func([]string, *bytes.Buffer) int{
		cli.Command(): func(args []string, out *bytes.Buffer) int {
			return cli.Run(t.Context(), cli.Surroundings{In: strings.NewReader(""), Out: out, Err: out, Getenv: func(string) string { return "" }}, args)
		},
		signetd.Command():   func(args []string, out *bytes.Buffer) int { return signetd.Main(t.Context(), nil, args, out, out) },
		simulator.Command(): func(args []string, out *bytes.Buffer) int { return simulator.Main(t.Context(), args, out, out) },
	} {
		each(program, func(c *cobra.Command) {
			if !c.HasSubCommands() || c == program {
				return
			}
			groups++
			var out bytes.Buffer
			if code := run(strings.Fields(c.CommandPath())[1:], &out); code != 2 || !strings.Contains(out.String(), c.CommandPath()+" needs one of: ") {
				t.Errorf("%s: exit code %d, %s", c.CommandPath(), code, out.String())
			}
		})
	}
	if groups < 18 {
		t.Errorf("%d groups of commands", groups)
	}
}

// TestPoolIsOneSetting: every command with --pool says that the variable counts or, where the
// flag is no place to work in but what is asked for, that it does not.
func TestPoolIsOneSetting(t *testing.T) {
	asked := []string{"signet operator create", "signet operator update", "signet profile use", "signetd operator create"}
	seen := 0
	for line, help := range helps(t) {
		flag := regexp.MustCompile(`(?m)^ +--pool .*(\n(?: {8,}|    \t).*)*`).FindString(help)
		if flag == "" {
			continue
		}
		seen++
		switch {
		case slices.Contains(asked, line) && !strings.Contains(flag, environ.Pool):
			t.Errorf("%s does not say that %s does not count: %s", line, environ.Pool, flag)
		case !slices.Contains(asked, line) && !strings.Contains(flag, "($"+environ.Pool+")") && !strings.Contains(flag, "also "+environ.Pool):
			t.Errorf("%s does not read %s: %s", line, environ.Pool, flag)
		}
	}
	if seen < 40 {
		t.Errorf("only %d commands with --pool", seen)
	}
}
