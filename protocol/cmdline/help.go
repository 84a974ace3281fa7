package cmdline

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
)

// Help gives a program the command help, which refuses what is no command: the library's own
// shows the whole program's help then, as if nothing were wrong. refuse makes the error of a
// line that makes no sense. That is also one that names a command which consists of commands, and
// none of those: the library's own completion says that all was done then. What Help makes writes to
// where root does when it is called.
func Help(root *cobra.Command, refuse func(text string) error) {
	root.SetHelpCommand(&cobra.Command{
		Use: "help [COMMAND]", Short: "Help about any command", Example: "  " + root.Name() + " help " + root.Commands()[0].Name(),
		ValidArgsFunction: func(cmd *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
			at, _, err := cmd.Root().Find(args)
			if err != nil {
				return nil, cobra.ShellCompDirectiveNoFileComp
			}
			var names []string
			for _, c := range at.Commands() {
				if c.IsAvailableCommand() {
					names = append(names, c.Name()+"\t"+c.Short)
				}
			}
			return names, cobra.ShellCompDirectiveNoFileComp
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			at, rest, err := cmd.Root().Find(args)
			if err != nil || len(rest) > 0 {
				return refuse(fmt.Sprintf("no command %q", strings.Join(args, " ")))
			}
			at.InitDefaultHelpFlag()
			return at.Help()
		},
	})
	root.InitDefaultCompletionCmd()
	for _, c := range root.Commands() {
		needsCommand(c, refuse)
	}
}

// needsCommand has c refuse a line that ends with it, if it consists of commands.
func needsCommand(c *cobra.Command, refuse func(text string) error) {
	if !c.HasSubCommands() {
		return
	}
	c.RunE = func(cmd *cobra.Command, _ []string) error {
		var names []string
		for _, sub := range cmd.Commands() {
			if sub.IsAvailableCommand() {
				names = append(names, sub.Name())
			}
		}
		return refuse(fmt.Sprintf("%s needs one of: %s", cmd.CommandPath(), strings.Join(names, ", ")))
	}
	for _, sub := range c.Commands() {
		needsCommand(sub, refuse)
	}
}

// Arguments writes a number of arguments.
func Arguments(n int) string {
	if n == 1 {
		return "1 argument"
	}
	return fmt.Sprintf("%d arguments", n)
}
