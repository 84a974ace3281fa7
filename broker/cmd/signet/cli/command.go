package cli

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/signetd/signet/broker/adminapi"
	"github.com/signetd/signet/protocol/cmdline"
	"github.com/signetd/signet/protocol/environ"
)

// leaf makes a command that does something. use names its arguments, optional ones in
// brackets; do is called with an accepted number of them.
func (a *app) leaf(use, short, example string, do func(cmd *cobra.Command, args []string) error) *cobra.Command {
	return &cobra.Command{
		Use: use, Short: short, Example: "  " + strings.ReplaceAll(example, "\n", "\n  "), Args: arguments,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, args []string) error {
			a.started = true
			return do(cmd, args)
		},
	}
}

// arguments refuses a line whose arguments are not those that its command's Use names.
func arguments(cmd *cobra.Command, args []string) error {
	names := strings.Fields(cmd.Use)[1:]
	for i, name := range names {
		if i >= len(args) && !strings.HasPrefix(name, "[") {
			return usagef("%s needs %s", cmd.CommandPath(), name)
		}
		if i < len(args) && args[i] == "" {
			return usagef("%s is empty", strings.Trim(name, "[]"))
		}
	}
	if len(args) > len(names) {
		return usagef("%s takes %s; %q is too many", cmd.CommandPath(), cmdline.Arguments(len(names)), args[len(names)])
	}
	return nil
}

// group makes a command that has commands only; cmdline.Help has it refuse a line without one.
func group(use, short string, commands ...*cobra.Command) *cobra.Command {
	g := &cobra.Command{Use: use, Short: short, Args: knownCommand}
	g.AddCommand(commands...)
	return g
}

// knownCommand refuses what is no command of cmd, with the nearest that is.
func knownCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	cmd.SuggestionsMinimumDistance = 2
	err := usagef("unknown command %q for %q", args[0], cmd.CommandPath())
	if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
		return &hintedError{err, "did you mean " + cmd.CommandPath() + " " + near[0] + "?"}
	}
	return err
}

// inPool makes a group whose commands work in one pool.
func (a *app) inPool(use, short string, commands ...*cobra.Command) *cobra.Command {
	g := group(use, short, commands...)
	g.PersistentFlags().StringVar(&a.pool, "pool", "", "`pool` to work in; may be left out if there is only one ($"+environ.Pool+")")
	complete(g, "pool", a.completing(a.poolNames))
	return g
}

// complete gives a flag its completion.
func complete(cmd *cobra.Command, flag string, f cobra.CompletionFunc) {
	if err := cmd.RegisterFlagCompletionFunc(flag, f); err != nil { // a flag's name mistyped here
		cmd.PreRunE = func(*cobra.Command, []string) error { return err }
	}
}

// completing makes a completion of names that the broker knows. Without a broker
// there is none, silently: a shell waits for it.
func (a *app) completing(names func(ctx context.Context, prefix string) ([]string, error)) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, prefix string) ([]string, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		ctx, cancel := context.WithTimeout(cmd.Context(), 2*time.Second)
		defer cancel()
		found, err := names(ctx, prefix)
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return found, cobra.ShellCompDirectiveNoFileComp
	}
}

func (a *app) poolNames(ctx context.Context, _ string) ([]string, error) {
	c, err := a.connect()
	if err != nil {
		return nil, err
	}
	pools, err := c.Pools(ctx)
	names := make([]string, 0, len(pools))
	for _, p := range pools {
		names = append(names, p.Name)
	}
	return names, err
}

// A shelf is one kind of thing that pools hold, with how it is shown. The first
// column is its name.
type shelf[T any] struct {
	noun   string
	header []string
	row    func(T) []string
	// more, if set, is what only show shows.
	more func(T) (header, row []string)
	all  func(adminapi.PoolClient, context.Context) ([]T, error)
	// names gives some names that begin with prefix.
	names func(p adminapi.PoolClient, ctx context.Context, prefix string) ([]string, error)
}

// listing makes the command list.
func (s shelf[T]) listing(a *app) *cobra.Command {
	return a.leaf("list", "List "+s.noun+"s", "signet "+s.word()+" list --pool demo\nsignet "+s.word()+" list --pool demo -o json",
		func(cmd *cobra.Command, _ []string) error {
			p, err := a.enter(cmd.Context())
			if err != nil {
				return err
			}
			items, err := s.all(p, cmd.Context())
			if err != nil {
				return err
			}
			return list(a, items, s.header, s.row)
		})
}

// word is the noun as it is typed in commands.
func (s shelf[T]) word() string {
	if s.noun == "signing key" {
		return "key"
	}
	return s.noun
}

// one makes a command whose one argument names a thing, and that answers with one.
func (s shelf[T]) one(a *app, use, short, example string, do func(adminapi.PoolClient, context.Context, string) (T, error)) *cobra.Command {
	cmd := a.leaf(use, short, example, func(cmd *cobra.Command, args []string) error {
		p, err := a.enter(cmd.Context())
		if err != nil {
			return err
		}
		v, err := do(p, cmd.Context(), args[0])
		if err != nil {
			return err
		}
		return a.show(v, s.header, s.row(v))
	})
	if !strings.HasPrefix(use, "create") {
		cmd.ValidArgsFunction = s.completion(a)
	}
	return cmd
}

// showing makes the command show: all there is to see of one thing, line by line.
func (s shelf[T]) showing(a *app, argument string, get func(adminapi.PoolClient, context.Context, string) (T, error)) *cobra.Command {
	cmd := a.leaf("show "+argument, "Show one "+s.noun, "signet "+s.word()+" show "+argument+" --pool demo", func(cmd *cobra.Command, args []string) error {
		p, err := a.enter(cmd.Context())
		if err != nil {
			return err
		}
		v, err := get(p, cmd.Context(), args[0])
		if err != nil {
			return err
		}
		header, row := s.header, s.row(v)
		if s.more != nil {
			h, r := s.more(v)
			header, row = append(header[:len(header):len(header)], h...), append(row, r...)
		}
		return a.detail(v, header, row)
	})
	cmd.ValidArgsFunction = s.completion(a)
	return cmd
}

// removing makes the command delete, which tells the human only.
func (s shelf[T]) removing(a *app, argument, short string, do func(adminapi.PoolClient, context.Context, string) error) *cobra.Command {
	cmd := a.leaf("delete "+argument, short, "signet "+s.word()+" delete "+argument+" --pool demo", func(cmd *cobra.Command, args []string) error {
		p, err := a.enter(cmd.Context())
		if err != nil {
			return err
		}
		if err := do(p, cmd.Context(), args[0]); err != nil {
			return err
		}
		return a.did(outcome{Action: "delete", Kind: s.noun, Pool: a.pool, Name: args[0]}, "deleted %s %s%s", s.noun, args[0], a.on())
	})
	cmd.ValidArgsFunction = s.completion(a)
	return cmd
}

// completion completes the name of a thing of this kind, from one page of them.
func (s shelf[T]) completion(a *app) cobra.CompletionFunc {
	return a.completing(func(ctx context.Context, prefix string) ([]string, error) {
		p, err := a.enter(ctx)
		if err != nil {
			return nil, err
		}
		return s.names(p, ctx, prefix)
	})
}

// spanFlag adds a flag for a length of time; def is the default that help shows,
// which is the broker's to apply.
func spanFlag(cmd *cobra.Command, d *adminapi.Duration, name, def, usage string) {
	cmd.Flags().Var(d, name, usage)
	cmd.Flags().Lookup(name).DefValue = def
}

// given gives a flag's value if the flag was given.
func given[T any](cmd *cobra.Command, flag string, v T) *T {
	if !cmd.Flags().Changed(flag) {
		return nil
	}
	return &v
}

// needsOne refuses a line with none of some flags.
func needsOne(cmd *cobra.Command, flags ...string) error {
	for _, f := range flags {
		if cmd.Flags().Changed(f) {
			return nil
		}
	}
	err := usagef("%s needs --%s", cmd.CommandPath(), strings.Join(flags, " or --"))
	return &hintedError{err, "see " + cmd.CommandPath() + " --help"}
}

// notBoth refuses a line with two flags that exclude each other.
func notBoth(cmd *cobra.Command, one, other string) error {
	if cmd.Flags().Changed(one) && cmd.Flags().Changed(other) {
		return usagef("either --%s or --%s, not both", one, other)
	}
	return nil
}

// oneOf is the error for an argument that is none of the words allowed.
func oneOf(what, got string, want ...string) error {
	last := len(want) - 1
	return usagef("%s %q: want %s or %s", what, got, strings.Join(want[:last], ", "), want[last])
}

// counted writes a number with its noun.
func counted(n int, noun string) string {
	if n == 1 {
		return fmt.Sprintf("1 %s", noun)
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
