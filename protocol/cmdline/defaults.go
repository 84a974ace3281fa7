// Package cmdline has what the programs of many commands share in how they are typed
// and described; signet-agent is too small for it.
package cmdline

import (
	"regexp"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// Defaults says the defaults of all flags of a command and of those below it in words, behind
// what each is for, and no default where there is none: the library's own way quotes texts,
// and writes "(default )" and "(default 0s)".
func Defaults(root *cobra.Command) {
	for _, set := range []*pflag.FlagSet{root.Flags(), root.PersistentFlags()} {
		set.VisitAll(func(f *pflag.Flag) {
			if said := words(f); said != "" {
				f.Usage += " (default " + said + ")"
			}
			f.DefValue = none(f)
		})
	}
	for _, c := range root.Commands() {
		Defaults(c)
	}
}

// words is a flag's default, "" if it has none that is worth saying.
func words(f *pflag.Flag) string {
	if slices.Contains([]string{"", "0", "0s", "[]", "false", "<nil>"}, f.DefValue) {
		return ""
	}
	return regexp.MustCompile(`([hm])0m?0?s$|m0s$`).ReplaceAllStringFunc(f.DefValue, func(tail string) string { return tail[:1] })
}

// none is what the library takes for no default of a flag.
func none(f *pflag.Flag) string {
	switch {
	case f.Value.Type() == "string":
		return ""
	case f.Value.Type() == "bool":
		return "false"
	case strings.HasSuffix(f.Value.Type(), "Array"), strings.HasSuffix(f.Value.Type(), "Slice"):
		return "[]"
	}
	return "0"
}
