package command

import (
	"bytes"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestPages: each command says what it is for, with examples whose flags it has, and
// each flag has a meaning.
func TestPages(t *testing.T) {
	for _, page := range Pages() {
		if page.Summary == "" || len(page.Examples) == 0 && page.Name != "version" {
			t.Errorf("%s: no summary or example", page.Name)
		}
		for _, e := range page.Examples {
			words := strings.Fields(e)
			if !strings.HasPrefix(e, "signet-agent "+page.Name) {
				t.Errorf("%s: example of another command: %s", page.Name, e)
			}
			for _, w := range words {
				if name := strings.TrimLeft(w, "-"); name != w && name != "" && !slices.ContainsFunc(page.Flags, func(f Flag) bool { return f.Name == name }) {
					t.Errorf("%s: example with a flag that it has not: %s", page.Name, e)
				}
			}
		}
		for _, f := range page.Flags {
			if f.Usage == "" {
				t.Errorf("%s --%s: no usage", page.Name, f.Name)
			}
		}
	}
}

// TestCompletion types in a real shell, where there is one.
func TestCompletion(t *testing.T) {
	home := t.TempDir()
	for _, name := range []string{"lamp-1", "lamp-2"} {
		dir := filepath.Join(home, ".local", "state", "signet", name)
		if err := errors.Join(os.MkdirAll(dir, 0o700), os.WriteFile(filepath.Join(dir, settingsName), nil, 0o600)); err != nil {
			t.Fatal(err)
		}
	}
	for shell, complete := range map[string]func(script, line string) []string{
		"bash": func(script, line string) []string {
			words := strings.Split(line, " ")
			for i, w := range words {
				words[i] = "'" + w + "'"
			}
			return []string{"-c", "compopt() { :; }; . " + script + "; COMP_WORDS=(" + strings.Join(words, " ") + "); COMP_CWORD=$((${#COMP_WORDS[@]}-1)); _signet_agent; printf '%s\\n' \"${COMPREPLY[@]}\""}
		},
		"fish": func(script, line string) []string {
			return []string{"-c", "source " + script + "; complete -C '" + line + "' | string split -f1 \\t; true"}
		},
	} {
		t.Run(shell, func(t *testing.T) {
			path, err := exec.LookPath(shell)
			if err != nil {
				t.Skip(err)
			}
			script := filepath.Join(t.TempDir(), "script")
			_, out, _ := run(t, "completion", shell)
			if err := os.WriteFile(script, []byte(out), 0o600); err != nil {
				t.Fatal(err)
			}
			for line, want := range map[string][]string{
				"signet-agent ":                       {"enroll", "run", "completion", "credentials"},
				"signet-agent en":                     {"enroll"},
				"signet-agent enroll --ca":            {"--ca", "--ca-fingerprint"},
				"signet-agent token --format ":        {"jwt", "cwt"},
				"signet-agent credentials ":           {"mqtt"},
				"signet-agent credentials mqtt -o p":  {"password"},
				"signet-agent completion z":           {"zsh"},
				"signet-agent enroll --key file:p":    {"file:p256"},
				"signet-agent status --name lamp":     {"lamp-1", "lamp-2"},
				"signet-agent --name lamp":            {"lamp-1", "lamp-2"},
				"signet-agent --name lamp-1 st":       {"status"},
				"signet-agent --name l token --for":   {"--format"},
				"signet-agent --name=l token --type ": {"access", "id"},
			} {
				cmd := exec.CommandContext(t.Context(), path, complete(script, line)...)
				cmd.Env = append(os.Environ(), "HOME="+home, "XDG_STATE_HOME=")
				got, err := cmd.CombinedOutput()
				if err != nil {
					t.Fatalf("%s: %v\n%s", line, err, got)
				}
				for _, w := range want {
					if !slices.Contains(strings.Split(string(bytes.TrimSpace(got)), "\n"), w) {
						t.Errorf("%q completes to %q, want %q", line, got, w)
					}
				}
				if strings.HasSuffix(line, "en") && strings.Contains(string(got), "token") {
					t.Errorf("%q completes to %q", line, got)
				}
			}
		})
	}
	t.Run("zsh", func(t *testing.T) {
		path, err := exec.LookPath("zsh")
		if err != nil {
			t.Skip(err)
		}
		script := filepath.Join(t.TempDir(), "script")
		_, out, _ := run(t, "completion", "zsh")
		if err := os.WriteFile(script, []byte(out), 0o600); err != nil {
			t.Fatal(err)
		}
		// What zsh's own functions are called with stands for what they show.
		got, err := exec.CommandContext(t.Context(), path, "-f", "-c", `
compdef() { :; }
_describe() { print -l -- "${commands[@]}"; }
_arguments() { print -l -- "$@"; }
source `+script+`
words=(signet-agent en); CURRENT=2; _signet_agent
words=(signet-agent enroll --ca); CURRENT=3; _signet_agent
compadd() { print -l -- "$@"; }
XDG_STATE_HOME= HOME=`+home+`
words=(signet-agent --name la); CURRENT=3; _signet_agent
words=(signet-agent --name run toke); CURRENT=4; _signet_agent
words=(signet-agent --name l token --form); CURRENT=5; _signet_agent
print -- "$words / $CURRENT"`).CombinedOutput()
		if err != nil || !strings.Contains(string(got), "lamp-1\nlamp-2\n") || strings.Count(string(got), "enroll:make this device known") != 2 ||
			!strings.Contains(string(got), "token --name l --form / 4") || !strings.Contains(string(got), "enroll:make this device known") || !strings.Contains(string(got), "--ca-fingerprint[SHA-256") || !strings.Contains(string(got), "--ca[PEM file") {
			t.Errorf("%v\n%s", err, got)
		}
	})
}
