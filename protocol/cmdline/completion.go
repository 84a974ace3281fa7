package cmdline

import (
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// Completions sees to it that a shell offers files only where a file is wanted: for flags
// whose value is called file or folder, and arguments called FILE. What has a completion of
// its own keeps it.
func Completions(root *cobra.Command) {
	for _, set := range []*pflag.FlagSet{root.Flags(), root.PersistentFlags()} {
		set.VisitAll(func(f *pflag.Flag) {
			value, _ := pflag.UnquoteUsage(f)
			if _, own := root.GetFlagCompletionFunc(f.Name); own || value == "" || slices.Contains([]string{"file", "folder", "FILE"}, value) {
				return
			}
			_ = root.RegisterFlagCompletionFunc(f.Name, cobra.NoFileCompletions) // it fails for a flag that is not there
		})
	}
	if root.ValidArgsFunction == nil && !root.HasSubCommands() && !strings.Contains(root.Use, "FILE") {
		root.ValidArgsFunction = cobra.NoFileCompletions
	}
	for _, c := range root.Commands() {
		Completions(c)
	}
}
