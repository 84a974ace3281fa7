package command

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"slices"
	"strings"

	"github.com/signetd/signet/protocol/build"
	"github.com/signetd/signet/protocol/exit"
)

// A command is one row of the table from which dispatch, help, completion and, by
// Pages, the manual follow. Its flags are those that run declares before it parses.
type command struct {
	name, args, short string // name has two words where a second one is required
	examples          []string
	run               func(*program, context.Context, []string) error
}

func commands() []command {
	const broker, device = "--broker mqtts://broker.example:8883 --ca root.pem --pool demo", " --name lamp-1"
	return []command{
		{"enroll", "", "make this device known to a broker (--broker, --pool, --name, --token)", []string{
			"enroll " + broker + device + " --token @token.txt",
			"enroll " + broker + device + " --token @token.txt --wait",
			"enroll " + broker + device + " --anchor 60779c89df4b17f63a29bc85922a6e58",
			"enroll " + broker + device + " --psk-file lamp-1.key --anchor 60779c89df4b17f63a29bc85922a6e58",
		}, (*program).enroll},
		{"key", "", "print the public key, for signet device create --key; makes one if there is none", []string{
			"key" + device, "key --state /var/lib/lamp --key file:ed25519",
		}, (*program).key},
		{"run", "", "keep the device authenticated and serve tokens to its programs", []string{
			"run", "run --state /var/lib/lamp --socket /run/signet/agent.sock --group 50",
		}, (*program).run},
		{"status", "", "where the device stands (-o json)", []string{"status", "status" + device + " -o json"}, (*program).status},
		{"check", "", "DNS, clock, TLS, login: ok, or why not", []string{"check" + device}, (*program).check},
		{"answer", "[CODE|-]", "show the challenge that waits for an answer, or give it one", []string{
			"answer", "answer 123456", "answer - --name lamp-1 < code",
		}, (*program).answer},
		{"token", "", "print a token (--type access|id, --format jwt|cwt, --audience A)", []string{
			"token", "token --audience telemetry", "token --type id --format jwt",
		}, (*program).token},
		{"credentials mqtt", "", "what an ordinary MQTT program connects with (-o text|json|password)", []string{
			"credentials mqtt", "credentials mqtt -o password",
		}, (*program).credentials},
		{"bugreport", "", "what a developer needs to know, without secrets", []string{"bugreport" + device}, (*program).bugreport},
		{"unenroll", "", "forget key and state on this device", []string{"unenroll" + device}, (*program).unenroll},
		{"completion", "bash|zsh|fish", "print what completes these commands in a shell", []string{
			"completion bash > /etc/bash_completion.d/signet-agent", "completion fish > ~/.config/fish/completions/signet-agent.fish",
		}, (*program).completion},
		{"version", "", "print the version", nil, (*program).version},
	}
}

// named finds a command by its first word.
func named(word string) (command, bool) {
	if word == "--version" {
		word = "version"
	}
	all := commands()
	i := slices.IndexFunc(all, func(c command) bool { return c.word() == word })
	if i < 0 {
		return command{}, false
	}
	return all[i], true
}

// nearest is the command that begins as a mistyped word does.
func nearest(word string) (string, bool) {
	const alike = 3 // letters
	if len(word) < alike {
		return "", false
	}
	all := commands()
	i := slices.IndexFunc(all, func(c command) bool { return strings.HasPrefix(c.name, strings.ToLower(word[:alike])) })
	if i < 0 {
		return "", false
	}
	return all[i].name, true
}

func (c *command) word() string {
	word, _, _ := strings.Cut(c.name, " ")
	return word
}

// usage lists the commands.
func usage() string {
	var out strings.Builder
	out.WriteString("signet-agent is a device's side of Signet.\n\n")
	for _, c := range commands() {
		fmt.Fprintf(&out, "  %-17s %s\n", c.name, c.short)
	}
	out.WriteString("\nsignet-agent COMMAND -h lists a command's flags and shows examples.\n")
	return out.String()
}

// help prints a command's help.
func (p *program) help(f *flag.FlagSet) error {
	c, _ := named(strings.Fields(f.Name())[0])
	var out strings.Builder
	fmt.Fprintf(&out, "signet-agent %s: %s\n", strings.TrimSpace(c.name+" "+c.args), c.short)
	for i, line := range c.examples {
		if i == 0 {
			out.WriteString("\nExamples:\n")
		}
		fmt.Fprintf(&out, "  signet-agent %s\n", line)
	}
	all := pageFlags(f)
	if len(all) > 0 {
		out.WriteString("\nFlags:\n")
	}
	for _, f := range all {
		fmt.Fprintf(&out, "  %s\n    \t%s\n", strings.TrimSpace(dashed(f.Name)+" "+f.Value), f.Usage)
	}
	_, err := io.WriteString(p.out, out.String())
	return err
}

// A Page is what the manual says of one command.
type Page struct {
	Name      string // "credentials mqtt"
	Arguments string // as in "[CODE|-]"; empty for none
	Summary   string // without a full stop
	Examples  []string
	Flags     []Flag // by name
}

// A Flag is one flag of a command.
type Flag struct {
	Name  string // without dashes
	Value string // what stands for its value; empty for a switch
	Usage string // with the default, if there is one
}

// Pages gives the manual's pages, in the order of the help.
func Pages() []Page {
	var pages []Page
	for _, c := range commands() {
		page := Page{Name: c.name, Arguments: c.args, Summary: c.short}
		for _, e := range c.examples {
			page.Examples = append(page.Examples, "signet-agent "+e)
		}
		page.Flags = pageFlags(c.flags())
		pages = append(pages, page)
	}
	return pages
}

// pageFlags are the flags of a set by name, with their defaults in words.
func pageFlags(set *flag.FlagSet) (all []Flag) {
	set.VisitAll(func(f *flag.Flag) {
		value, text := flag.UnquoteUsage(f)
		if f.DefValue != "" && f.DefValue != "false" {
			text += " (default " + f.DefValue + ")"
		}
		all = append(all, Flag{f.Name, value, text})
	})
	return all
}

// flags are those that run declares: it is called as for help, which does nothing else.
func (c *command) flags() *flag.FlagSet {
	found := new(flag.FlagSet)
	p := &program{out: io.Discard, err: io.Discard, getenv: func(string) string { return "" }, declared: func(f *flag.FlagSet) { found = f }}
	_ = c.run(p, context.Background(), []string{"-h"}) // flag.ErrHelp
	return found
}

func (p *program) version(_ context.Context, args []string) error {
	if err := p.parse(p.flags("version"), args); err != nil {
		return err
	}
	fmt.Fprintln(p.out, build.Line("signet-agent"))
	return nil
}

// parse reads the flags of a command that takes no words.
func (p *program) parse(f *flag.FlagSet, args []string) error {
	words, err := p.words(f, args)
	if err == nil && len(words) > 0 {
		return exit.Usagef("unexpected argument %q", words[0])
	}
	return err
}

// words reads a command's flags, which may come before, between and after its words, and
// gives the words. What follows -- is words only.
func (p *program) words(f *flag.FlagSet, args []string) (words []string, err error) {
	for len(args) > 0 && err == nil {
		if args[0] == "--" {
			return append(words, args[1:]...), nil
		}
		n := span(f, args[0])
		if n == 0 {
			words, args = append(words, args[0]), args[1:]
			continue
		}
		n = min(n, len(args))
		err = f.Parse(args[:n])
		args = args[n:]
	}
	switch {
	case errors.Is(err, flag.ErrHelp) && p.declared != nil:
		p.declared(f)
	case errors.Is(err, flag.ErrHelp):
		err = p.help(f)
		if err == nil {
			err = flag.ErrHelp
		}
	case err != nil:
		return nil, exit.Usagef("%s", flagWords(err))
	}
	return words, err
}

// span is how many arguments one takes up that may be a flag: 0 if it is a word, 1 for a
// switch and for a flag with its value behind =, 2 if the value is the next.
func span(f *flag.FlagSet, arg string) int {
	name := strings.TrimPrefix(strings.TrimPrefix(arg, "-"), "-")
	if name == arg || name == "" {
		return 0
	}
	known := f.Lookup(name)
	if known == nil || strings.Contains(name, "=") {
		return 1
	}
	if b, ok := known.Value.(interface{ IsBoolFlag() bool }); ok && b.IsBoolFlag() {
		return 1
	}
	return 2
}

// firstWord finds the command in a line, whatever flags stand before it, and gives the line
// without it; "" if there are only flags.
func firstWord(args []string) (word string, rest []string, err error) {
	all := new(flag.FlagSet)
	for _, c := range commands() {
		c.flags().VisitAll(func(f *flag.Flag) {
			if all.Lookup(f.Name) == nil {
				all.Var(f.Value, f.Name, "")
			}
		})
	}
	for i := 0; i < len(args); {
		if args[i] == "--version" || args[i] == "-v" {
			return "version", nil, nil
		}
		n := span(all, args[i])
		switch {
		case n == 0:
			return args[i], append(slices.Clone(args[:i]), args[i+1:]...), nil
		case n == 1 && !isHelp(args[i]) && all.Lookup(flagName(args[i])) == nil:
			return "", nil, exit.Usagef("no flag %s before a command", args[i])
		}
		i += n
	}
	return "", args, nil
}

// flagName is the name in a flag as it is typed.
func flagName(arg string) string {
	name, _, _ := strings.Cut(strings.TrimLeft(arg, "-"), "=")
	return name
}

func isHelp(arg string) bool {
	return slices.Contains([]string{"-h", "-help", "--help", "--h"}, arg)
}

// flagWords says an error of the flags' parser to who does not know Go.
func flagWords(err error) string {
	text := err.Error()
	if name, ok := strings.CutPrefix(text, "flag provided but not defined: -"); ok {
		return "no flag " + dashed(name)
	}
	if name, ok := strings.CutPrefix(text, "flag needs an argument: -"); ok {
		return dashed(name) + " needs a value"
	}
	return text
}
