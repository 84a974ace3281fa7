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
func (p *program) help(f *flag.FlagSet) {
	c, _ := named(strings.Fields(f.Name())[0])
	fmt.Fprintf(p.out, "signet-agent %s: %s\n", strings.TrimSpace(c.name+" "+c.args), c.short)
	for i, line := range c.examples {
		if i == 0 {
			fmt.Fprint(p.out, "\nExamples:\n")
		}
		fmt.Fprintf(p.out, "  signet-agent %s\n", line)
	}
	first := true
	f.VisitAll(func(*flag.Flag) {
		if first {
			fmt.Fprint(p.out, "\nFlags:\n")
		}
		first = false
	})
	f.SetOutput(p.out)
	f.PrintDefaults()
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
	Name    string // without dashes
	Value   string // what stands for its value; empty for a switch
	Usage   string
	Default string // empty for none
}

// Pages gives the manual's pages, in the order of the help.
func Pages() []Page {
	var pages []Page
	for _, c := range commands() {
		page := Page{Name: c.name, Arguments: c.args, Summary: c.short}
		for _, e := range c.examples {
			page.Examples = append(page.Examples, "signet-agent "+e)
		}
		c.flags().VisitAll(func(f *flag.Flag) {
			value, text := flag.UnquoteUsage(f)
			preset := f.DefValue
			if preset == "false" {
				preset = ""
			}
			page.Flags = append(page.Flags, Flag{f.Name, value, text, preset})
		})
		pages = append(pages, page)
	}
	return pages
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

// parse reads a command's flags.
func (p *program) parse(f *flag.FlagSet, args []string) error {
	err := f.Parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp) && p.declared != nil:
		p.declared(f)
		return err
	case errors.Is(err, flag.ErrHelp):
		p.help(f)
		return err
	case err != nil:
		return fmt.Errorf("%w: %w", errUsage, err)
	case f.NArg() > 0:
		return fmt.Errorf("%w: unexpected argument %q", errUsage, f.Arg(0))
	}
	return nil
}
