package cmdline

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	"github.com/spf13/cobra"
)

// FlagError rewords an error of the flags' parser for people who do not know Go; next says
// what to do about it, if there is something better than to read the help.
func FlagError(cmd *cobra.Command, err error) (text, next string) {
	var unknown interface {
		GetSpecifiedName() string
		GetSpecifiedShortnames() string
	}
	text = err.Error()
	if errors.As(err, &unknown) && unknown.GetSpecifiedShortnames() != "" && strings.HasPrefix(text, "unknown shorthand") {
		return text, fmt.Sprintf("put -- before an argument that begins with -, as in: %s -- -%s", cmd.CommandPath(), unknown.GetSpecifiedShortnames())
	}
	if i := strings.LastIndex(text, ": strconv."); i >= 0 {
		text = text[:i] + ": want " + wanted(text[i:])
	}
	text = regexp.MustCompile(`time: (unknown|missing|invalid).*`).ReplaceAllString(text, "want such as 90s, 15m or 24h")
	return regexp.MustCompile(`^invalid argument ("[^"]*") for "([^"]*)" flag: (invalid duration "[^"]*": )?`).ReplaceAllString(text, "$2 $1: "), ""
}

// Misspelt gives the word that stands where a command of cmd's should, when the parser fails at
// a flag behind it, which it takes for one of cmd's; "" if there is none.
func Misspelt(cmd *cobra.Command) string {
	if !cmd.HasSubCommands() {
		return ""
	}
	return cmd.Flags().Arg(0)
}

// wanted is what a function of Go's that failed reads.
func wanted(of string) string {
	switch {
	case strings.Contains(of, "ParseBool"):
		return "true or false"
	case strings.Contains(of, "out of range"):
		return "a smaller number"
	case strings.Contains(of, "ParseFloat"):
		return "a number"
	}
	return "a whole number"
}
