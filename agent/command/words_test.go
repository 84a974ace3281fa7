package command

import (
	"slices"
	"strings"
	"testing"
)

// Flags may stand anywhere in a line, before the command included: wherever they do, it is
// the same line.
func TestFlagsStandAnywhere(t *testing.T) {
	t.Setenv("HOME", t.TempDir())
	t.Setenv("XDG_STATE_HOME", "")
	for _, c := range []struct{ words, flags []string }{
		{[]string{"answer", "123456"}, []string{"--name=x", "--socket", "/nonexistent/s"}},
		{[]string{"answer", "-"}, []string{"--name", "x"}},
		{[]string{"credentials", "mqtt"}, []string{"--name", "x", "-o", "password", "--suffix=a"}},
		{[]string{"completion", "bash"}, nil},
		{[]string{"completion", "cobol"}, nil},
		{[]string{"token"}, []string{"--name", "x", "--format", "cwt"}},
		{[]string{"status", "what"}, []string{"--state", "/nonexistent"}},
		{[]string{"enroll"}, []string{"--wait", "--broker", "mqtts://h", "--pool", "Demo", "--name", "a"}},
		{[]string{"help", "token"}, nil},
		{[]string{"version"}, nil},
	} {
		code, out, errs := run(t, slices.Concat(c.words, c.flags)...)
		lines := [][]string{slices.Concat(c.flags, c.words), slices.Concat(c.words[:1], c.flags, c.words[1:])}
		if len(c.flags) > 1 && strings.Contains(c.flags[0], "=") {
			lines = append(lines, slices.Concat(c.flags[:1], c.words, c.flags[1:]))
		}
		for _, line := range lines {
			if otherCode, otherOut, otherErrs := run(t, line...); otherCode != code || otherOut != out || otherErrs != errs {
				t.Errorf("%v: %d %q %q\n, with the flags last: %d %q %q", line, otherCode, otherOut, otherErrs, code, out, errs)
			}
		}
	}
	for line, says := range map[string]string{
		"--name x":               "no command, only flags",
		"--colour status":        "no flag --colour before a command",
		"status --name":          "--name needs a value",
		"status -- --name":       `unexpected argument "--name"`,
		"credentials":            "it is signet-agent credentials mqtt",
		"credentials mqtt mqtt":  "it is signet-agent credentials mqtt",
		"credentials amqp":       "it is signet-agent credentials mqtt",
		"status --colour":        "no flag --colour",
		"enroll --wait=perhaps":  "invalid boolean value",
		"token --name x jwt":     `unexpected argument "jwt"`,
		"answer --name x 1 2":    "one answer",
		"completion":             "one of bash, zsh, fish",
		"frobnicate --name x":    `no command "frobnicate"`,
		"--name x frobnicate y ": `no command "frobnicate"`,
	} {
		if code, out, errs := run(t, strings.Fields(line)...); code != 2 || out != "" || !strings.Contains(errs, says) || strings.Count(errs, "\n") != 2 {
			t.Errorf("%s: %d %q %q, want %q and a hint", line, code, out, errs, says)
		}
	}
}
