package main

import (
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	agent "github.com/signetd/signet/agent/command"
	"github.com/signetd/signet/protocol/build"
)

// A named is a flag's value with what stands for it in help, which the agent's table has apart.
type named struct {
	pflag.Value
	name string
}

// Type gives that name.
func (n named) Type() string { return n.name }

// signetAgent is the agent's table of commands as the others have theirs: the agent itself
// is too small to carry their library.
func signetAgent() *cobra.Command {
	nothing := func(*cobra.Command, []string) {}
	root := &cobra.Command{Use: "signet-agent", Short: "A device's side of Signet", Version: build.Version(),
		Example: "  signet-agent enroll --broker mqtts://broker.example:8883 --ca root.pem --pool demo --name lamp-1 --token @token.txt\n  signet-agent run\n  signet-agent token --audience telemetry"}
	root.CompletionOptions.DisableDefaultCmd = true // it has its own
	for _, page := range agent.Pages() {
		parent, words := root, strings.Fields(page.Name)
		if len(words) > 1 {
			parent = &cobra.Command{Use: words[0], Short: page.Summary}
			root.AddCommand(parent)
		}
		c := &cobra.Command{
			Use: strings.TrimSpace(words[len(words)-1] + " " + page.Arguments), Short: page.Summary, Run: nothing,
			Example: "  " + strings.Join(page.Examples, "\n  "),
		}
		if len(page.Examples) == 0 {
			c.Example = ""
		}
		for _, f := range page.Flags {
			short := ""
			if len(f.Name) == 1 {
				short = f.Name
			}
			if f.Value == "" {
				c.Flags().BoolP(f.Name, short, false, f.Usage)
			} else {
				c.Flags().StringP(f.Name, short, "", f.Usage)
				c.Flags().Lookup(f.Name).Value = named{c.Flags().Lookup(f.Name).Value, f.Value}
			}
		}
		parent.AddCommand(c)
	}
	return root
}
