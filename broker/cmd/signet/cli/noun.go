package cli

import (
	"context"
	"strings"

	"github.com/spf13/cobra"

	"github.com/signetd/signet/broker/adminapi"
)

// A nounCommand makes the commands of one kind of setting from its description.
type nounCommand struct {
	a *app
	n adminapi.Noun
}

// nouns makes the commands of every kind of setting.
func (a *app) nouns() []*cobra.Command {
	var all []*cobra.Command
	for _, n := range adminapi.Nouns() {
		c := nounCommand{a, n}
		all = append(all, a.inPool(n.Command, n.About, c.create(), c.list(), c.show(), c.update(), c.edit(), c.remove()))
	}
	return all
}

// settings enters the pool and gives access to its settings of this kind.
func (c nounCommand) settings(ctx context.Context) (adminapi.Settings, error) {
	p, err := c.a.enter(ctx)
	return p.Of(c.n), err
}

// argument is the name of the command's argument in help, such as NAME.
func (c nounCommand) argument() string { return strings.ToUpper(c.n.Key) }

// leaf makes a command about one setting that exists.
func (c nounCommand) leaf(verb, short, example string, do func(cmd *cobra.Command, s adminapi.Settings, name string) error) *cobra.Command {
	cmd := c.a.leaf(verb+" "+c.argument(), short, example, func(cmd *cobra.Command, args []string) error {
		s, err := c.settings(cmd.Context())
		if err != nil {
			return err
		}
		return do(cmd, s, args[0])
	})
	cmd.ValidArgsFunction = c.a.completing(func(ctx context.Context, prefix string) ([]string, error) {
		s, err := c.settings(ctx)
		if err != nil {
			return nil, err
		}
		return s.Names(ctx, prefix)
	})
	return cmd
}

// example is a command's plainest line.
func (c nounCommand) example(verb, rest string) string {
	return "signet " + c.n.Command + " " + verb + " " + rest + "--pool demo"
}

func (c nounCommand) create() *cobra.Command {
	use := "create"
	_, named := formOf(c.n.Create.New()).member(c.n.Key)
	if named {
		use += " " + c.argument()
	}
	var take func(form) error
	var needs, choice []string
	cmd := c.a.leaf(use, c.n.Create.About, c.n.Create.Example, nil)
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c.a.started = true
		if err := c.complete(cmd, needs, choice); err != nil {
			return err
		}
		body := c.n.Create.New()
		if named {
			name, _ := formOf(body).member(c.n.Key)
			name.SetString(args[0])
		}
		if err := take(formOf(body)); err != nil {
			return err
		}
		s, err := c.settings(cmd.Context())
		if err != nil {
			return err
		}
		made, err := s.Create(cmd.Context(), body)
		if err != nil {
			return err
		}
		return c.print(made)
	}
	f := formOf(c.n.Create.New())
	_, take = f.flags(cmd, true)
	needs, choice = f.needs()
	return cmd
}

// needs gives the flags that must all be given, and those of which at least one must: what
// they say, they say together.
func (f form) needs() (all, one []string) {
	for _, x := range f.fields() {
		name := x.tag.Get("flag")
		switch {
		case name == "":
		case x.tag.Get("with") != "":
			one = append(one, name)
		case x.must:
			all = append(all, name)
		}
	}
	return all, one
}

// complete refuses a line that lacks a flag which must be given.
func (c nounCommand) complete(cmd *cobra.Command, all, one []string) error {
	for _, name := range all {
		if err := needsOne(cmd, name); err != nil {
			return err
		}
	}
	if len(one) > 0 {
		if err := needsOne(cmd, one...); err != nil {
			return err
		}
	}
	return nil
}

// print prints an answer. If it has a secret, only that, so that a script can take it.
func (c nounCommand) print(made any) error {
	f := formOf(made)
	if secret, heading := f.secret(); secret != "" {
		about := c.n.One + ": its secret is shown only now"
		if says, ok := made.(interface{ SecretNote(pool string) string }); ok {
			about = says.SecretNote(c.a.pool)
		}
		return c.a.secret(made, secret, heading, about)
	}
	header, row := f.columns(false)
	return c.a.show(made, header, row)
}

func (c nounCommand) list() *cobra.Command {
	return c.a.leaf("list", "List "+c.n.One+"s", c.example("list", "")+"\n"+c.example("list", "")+" -o json", func(cmd *cobra.Command, _ []string) error {
		s, err := c.settings(cmd.Context())
		if err != nil {
			return err
		}
		all, err := s.List(cmd.Context())
		if err != nil {
			return err
		}
		header, _ := formOf(c.n.New()).columns(false)
		return list(c.a, all, header, func(v any) []string {
			_, row := formOf(v).columns(false)
			return row
		})
	})
}

func (c nounCommand) show() *cobra.Command {
	return c.leaf("show", "Show one "+c.n.One, c.example("show", c.argument()+" "), func(cmd *cobra.Command, s adminapi.Settings, name string) error {
		v, _, err := s.Get(cmd.Context(), name)
		if err != nil {
			return err
		}
		header, row := formOf(v).columns(true)
		return c.a.detail(v, header, row)
	})
}

// update sends a change. A kind without a form for changes is read, changed here and sent
// back whole, for the revision that was read.
func (c nounCommand) update() *cobra.Command {
	shape := c.n.New
	if c.n.Change.New != nil {
		shape = c.n.Change.New
	}
	var names, choice []string
	var take func(form) error
	cmd := c.leaf("update", c.n.Change.About, c.n.Change.Example, func(cmd *cobra.Command, s adminapi.Settings, name string) error {
		body, etag := shape(), ""
		if c.n.Change.New == nil {
			var err error
			if body, etag, err = s.Get(cmd.Context(), name); err != nil {
				return err
			}
		}
		if err := take(formOf(body)); err != nil {
			return err
		}
		send := s.Replace
		if c.n.Change.New != nil {
			send = s.Change
		}
		v, err := send(cmd.Context(), name, body, etag)
		if err != nil {
			return err
		}
		return c.print(v)
	})
	do := cmd.RunE
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		c.a.started = true
		if err := needsOne(cmd, names...); err != nil {
			return err
		}
		if err := c.complete(cmd, nil, choice); err != nil {
			return err
		}
		return do(cmd, args)
	}
	f := formOf(shape())
	names, take = f.flags(cmd, false)
	_, choice = f.needs()
	return cmd
}

func (c nounCommand) remove() *cobra.Command {
	var force bool
	cmd := c.leaf("delete", c.n.Delete.About, c.example("delete", c.argument()+" "), func(cmd *cobra.Command, s adminapi.Settings, name string) error {
		if err := s.Delete(cmd.Context(), name, force); err != nil {
			return err
		}
		return c.a.did(outcome{Action: "delete", Kind: c.n.Command, Pool: c.a.pool, Name: name}, "deleted %s %s%s", c.n.One, name, c.a.on())
	})
	if c.n.Forced != "" {
		cmd.Flags().BoolVar(&force, "force", false, c.n.Forced)
	}
	return cmd
}
