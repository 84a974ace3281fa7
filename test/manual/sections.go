package main

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/signetd/signet/protocol/environ"
	"github.com/signetd/signet/protocol/exit"
)

// complete gives a page, as the library makes it, the sections that the library knows nothing
// of, in the order of man-pages(7).
func complete(page string, c *cobra.Command) string {
	page = strings.Replace(page, "\n.SH EXAMPLE\n", "\n.SH EXAMPLES\n", 1)
	page = replaceSection(page, "OPTIONS", options(c.NonInheritedFlags()))
	page = replaceSection(page, "OPTIONS INHERITED FROM PARENT COMMANDS", options(c.InheritedFlags()))
	page = strings.ReplaceAll(page, "\n\n\n", "\n")
	before, rest := page, ""
	if i := regexp.MustCompile(`\n\.SH (EXAMPLES|SEE ALSO)\n`).FindStringIndex(page); i != nil {
		before, rest = page[:i[0]+1], page[i[0]+1:]
	}
	own := environment(c)
	if !c.HasSubCommands() || c.Parent() == nil {
		own += exitStatus(c) + files(c)
	}
	if c.Parent() == nil {
		rest = strings.TrimRight(rest, "\n") + ", " + strings.Join(neighbours(c), ", ") + "\n"
	}
	return before + own + rest
}

// replaceSection puts another text into a section, if the page has it.
func replaceSection(page, name, text string) string {
	head := "\n.SH " + name + "\n"
	before, rest, ok := strings.Cut(page, head)
	if !ok {
		return page
	}
	if _, next, more := strings.Cut(rest, "\n.SH "); more {
		return before + head + text + ".SH " + next
	}
	return before + head + text
}

// options are the flags of a set, as help has them.
func options(set *pflag.FlagSet) string {
	var out strings.Builder
	set.VisitAll(func(f *pflag.Flag) {
		if f.Hidden {
			return
		}
		value, usage := pflag.UnquoteUsage(f)
		names := `\fB\-\-` + roff(f.Name) + `\fP`
		if len(f.Name) == 1 {
			names = `\fB\-` + f.Name + `\fP`
		} else if f.Shorthand != "" {
			names = `\fB\-` + f.Shorthand + `\fP, ` + names
		}
		if value != "" {
			names += ` \fI` + roff(value) + `\fP`
		}
		fmt.Fprintf(&out, ".TP\n%s\n%s\n", names, roff(usage))
	})
	return out.String()
}

// environment are the variables that say what a flag of this command says.
func environment(c *cobra.Command) string {
	program := c.Root().Name()
	var out strings.Builder
	for _, v := range environ.Table() {
		flag := c.Flags().Lookup(strings.TrimLeft(v.Flag, "-"))
		if flag == nil {
			flag = c.InheritedFlags().Lookup(strings.TrimLeft(v.Flag, "-"))
		}
		if slices.Contains(v.Programs, program) && flag != nil && reads(flag, v.Name) {
			fmt.Fprintf(&out, ".TP\n\\fB%s\\fP\n%s; %s goes before it.\n", v.Name, roff(v.Meaning), roff(v.Flag))
		}
	}
	for _, v := range others(c) {
		fmt.Fprintf(&out, ".TP\n\\fB%s\\fP\n%s\n", v[0], roff(v[1]))
	}
	if out.Len() == 0 {
		return ""
	}
	return ".SH ENVIRONMENT\n" + out.String()
}

// reads tells whether a flag's help says that the variable counts for it.
func reads(flag *pflag.Flag, variable string) bool {
	return strings.Contains(flag.Usage, variable) && !strings.Contains(flag.Usage, "whatever $"+variable) && !strings.Contains(flag.Usage, "before which $"+variable)
}

// others are variables that no flag says.
func others(c *cobra.Command) [][2]string {
	switch c.CommandPath() {
	case "signet":
		return [][2]string{
			{"XDG_CONFIG_HOME, HOME", "where the profiles are."},
			{"HTTPS_PROXY, NO_PROXY", "the way to the broker goes through this proxy, but for these hosts."},
		}
	case "signetd":
		return [][2]string{
			{"SIGNET_...", "each key of the configuration in capitals, such as SIGNET_LISTEN_MQTT; a flag goes before it, and it before the file."},
			{"CREDENTIALS_DIRECTORY", "of systemd: signet.key in it is the key-encryption key."},
		}
	case "signet-agent":
		return [][2]string{
			{"SIGNET_...", "what most flags say, see the pages of the commands."},
			{"STATE_DIRECTORY, XDG_STATE_HOME, HOME", "where devices' folders are, unless --state or SIGNET_STATE says it."},
			{"XDG_RUNTIME_DIR", "where the socket is if the device's folder cannot be written."},
			{"HTTPS_PROXY, NO_PROXY", "the way to the broker goes through this proxy, but for these hosts."},
		}
	}
	return nil
}

// exitStatus is the table that all programs share, and what is different in this command.
func exitStatus(c *cobra.Command) string {
	var out strings.Builder
	out.WriteString(".SH EXIT STATUS\n")
	switch c.CommandPath() {
	case "signet diff":
		out.WriteString(".TP\n\\fB0\\fP\nnothing would change\n.TP\n\\fB1\\fP\nsomething would\n.TP\n\\fB2\\fP\ntrouble\n")
		return out.String()
	case "signet token verify":
		out.WriteString(".TP\n\\fB0\\fP\nthe token is accepted\n.TP\n\\fB1\\fP\nit is refused\n.TP\n\\fB2\\fP\nit cannot be judged\n")
		return out.String()
	}
	for _, r := range exit.Table() {
		fmt.Fprintf(&out, ".TP\n\\fB%d\\fP\n%s: %s\n", r.Code, r.Word, roff(r.Meaning))
	}
	return out.String()
}

// files are those that a program keeps.
func files(c *cobra.Command) string {
	all := map[string][][2]string{
		"signet":       {{"~/.config/signet/profiles.json", "the profiles, with tokens: readable by their owner only"}},
		"signet-agent": {{"~/.local/state/signet/NAME/", "a device's folder: device.key, state, agent.json, agent.sock"}},
		"signetd":      {{"/var/lib/signet/", "the data folder: signet.db, signet.key, signet.mark, control.sock and ca/"}, {"/etc/signet/signetd.yaml", "the configuration, where the unit file of docs/systemd looks for it"}},
	}[c.Root().Name()]
	if len(all) == 0 {
		return ""
	}
	var out strings.Builder
	out.WriteString(".SH FILES\n")
	for _, f := range all {
		fmt.Fprintf(&out, ".TP\n\\fI%s\\fP\n%s\n", roff(f[0]), roff(f[1]))
	}
	return out.String()
}

// neighbours are the pages of the other programs.
func neighbours(c *cobra.Command) (pages []string) {
	for _, name := range []string{"firmware-sim", "signet", "signet-agent", "signetd"} {
		if name != c.Root().Name() {
			pages = append(pages, fmt.Sprintf("\\fB%s(%s)\\fP", roff(name), section(name)))
		}
	}
	return pages
}

// section is that of a program's pages.
func section(program string) string {
	if program == "signetd" {
		return "8" // what an administrator runs
	}
	return "1"
}

// roff escapes what means something to a typesetter.
func roff(text string) string {
	text = strings.NewReplacer(`\`, `\e`, "-", `\-`, "`", "").Replace(text)
	if strings.HasPrefix(text, ".") || strings.HasPrefix(text, "'") {
		text = `\&` + text
	}
	return text
}
