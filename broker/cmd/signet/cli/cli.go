// Package cli is the command signet without its main: commands, flags, profiles,
// output. Tests run it in process.
//
// It is a client of the operators' API and nothing more: it never opens a store and never
// decides what an operator may do.
//
// Its voice: standard output has data and nothing else; errors and hints go to
// standard error, say what is wrong in one line and what to do next in another;
// the exit code is one of package exit's.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"
	"unicode"

	"github.com/spf13/cobra"

	"github.com/signetd/signet/broker/adminapi"
	"github.com/signetd/signet/broker/listing"
	"github.com/signetd/signet/protocol/build"
	"github.com/signetd/signet/protocol/cmdline"
	"github.com/signetd/signet/protocol/environ"
	"github.com/signetd/signet/protocol/exit"
	"github.com/signetd/signet/protocol/output"
)

// Surroundings are what a run of the command has around it.
type Surroundings struct {
	In     io.Reader
	Out    io.Writer
	Err    io.Writer
	Getenv func(string) string
	Now    func() time.Time // nil: time.Now
}

// Run carries out one command line and gives its exit code.
func Run(ctx context.Context, s Surroundings, args []string) int {
	if s.Now == nil {
		s.Now = time.Now
	}
	screen, _ := s.Out.(*os.File)
	out := output.To(s.Out)
	s.Out, s.Err = out, output.Lines(s.Err)
	a := &app{Surroundings: s, out: out, screen: screen, line: args}
	root := a.root()
	root.SetArgs(args)
	cmd, err := root.ExecuteContextC(ctx)
	if lost := out.Err(); lost != nil {
		a.started, err = true, lost
	}
	if err == nil {
		return int(exit.Done)
	}
	if ctx.Err() != nil && out.Err() == nil {
		fmt.Fprintln(s.Err, "signet: interrupted")
		return int(exit.Interrupted)
	}
	if errors.Is(err, errDiffers) {
		return int(a.code(err))
	}
	fmt.Fprintln(s.Err, "signet:", output.Words(err))
	if hint := a.hint(cmd, err); hint != "" {
		fmt.Fprintln(s.Err, "  "+hint)
	}
	return int(a.code(err))
}

// Command is the whole command with its subcommands, for programs that document it.
func Command() *cobra.Command {
	return (&app{Surroundings: Surroundings{Out: io.Discard, Err: io.Discard}}).root()
}

// An app is one run: its flags and what follows from them.
type app struct {
	Surroundings
	out     *output.Writer // Out
	screen  *os.File       // what Out leads to, if that is a file
	line    []string       // as it was typed, without the program's name
	flags   connection
	profile string
	pool    string
	format  string
	reason  string     // for the audit trail
	at      connection // that commands go to, once connected
	started bool       // a command's own work began, so the command line was understood
}

func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:           "signet",
		Short:         "Manage pools and devices of a Signet broker, read and verify tokens",
		SilenceUsage:  true,
		SilenceErrors: true,
		Version:       build.Version(),
		Args:          knownCommand,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
		Example: "  signet login --server https://localhost:8443 --ca signet-dev/ca/root.pem\n" +
			"  signet enrollment create --pool demo --uses 100 --expires 24h\n" +
			"  signet device list --pool demo -o json",
		PersistentPreRunE: func(*cobra.Command, []string) error { return checkFormat(a.format) },
	}
	root.SetIn(a.In)
	root.SetOut(a.Out)
	root.SetErr(a.Err)
	root.SetVersionTemplate(build.Line("signet") + "\n")
	root.SetFlagErrorFunc(flagError)
	f := root.PersistentFlags()
	f.StringVar(&a.flags.Server, "server", "", "the broker's `URL` ($"+environ.Server+")")
	f.StringVar(&a.flags.Token, "token", "", "operator's `token`; others may see it in the process list ($"+environ.Token+")")
	f.StringVar(&a.flags.tokenFile, "token-file", "", "`file` with the operator's token ($"+environ.TokenFile+")")
	f.StringVar(&a.flags.CA, "ca", "", "`file` with the root certificate of the broker ($"+environ.CA+")")
	f.StringVar(&a.flags.Fingerprint, "ca-fingerprint", "", "SHA-256 of that root in `hex`, instead of its file ($"+environ.CAFingerprint+")")
	f.StringVar(&a.profile, "profile", "", "`profile` to use ($"+environ.Profile+")")
	f.StringVarP(&a.format, "output", "o", "table", "`format` of data: table, json, yaml or csv")
	f.StringVar(&a.reason, "reason", "", "why, in one `line` of at most 256 bytes, for the audit trail")
	complete(root, "output", cobra.FixedCompletions(listing.Formats(), cobra.ShellCompDirectiveNoFileComp))
	complete(root, "profile", a.completing(func(context.Context, string) ([]string, error) { return a.profileNames() }))
	root.AddCommand(a.login(), a.logout(), a.profileCommands(), a.status(), a.version(), a.pools(), a.devices(), a.apply(), a.diff(),
		a.keys(), a.operators(), a.audit(), a.connections(), a.tokens())
	root.AddCommand(a.nouns()...)
	cmdline.Help(root, func(text string) error { return usagef("%s", text) })
	a.completions(root)
	cmdline.Defaults(root)
	return root
}

// connect makes the API's client.
func (a *app) connect() (*adminapi.Client, error) {
	c, err := a.connection()
	if err != nil {
		return nil, err
	}
	a.at = c
	client, err := c.client()
	if err != nil || a.reason == "" {
		return client, err
	}
	if strings.ContainsFunc(a.reason, unicode.IsControl) {
		return nil, usagef("--reason is not one line of text")
	}
	return client.Because(a.reason), nil
}

// usualPool is the pool that a command works in of which named is the flag's: that one, or the
// variable's or, once connected, the profile's; "" if none says.
func (a *app) usualPool(named string) string {
	if named == "" && a.profile == "" { // that of the environment's broker
		named = a.Getenv(environ.Pool)
	}
	return first(named, a.at.Pool)
}

// enter connects and chooses the pool: the one named, or the only one.
func (a *app) enter(ctx context.Context) (adminapi.PoolClient, error) {
	c, err := a.connect()
	if err != nil {
		return adminapi.PoolClient{}, err
	}
	if a.pool = a.usualPool(a.pool); a.pool != "" {
		return c.In(a.pool), nil
	}
	pools, err := c.Pools(ctx)
	if err != nil {
		return adminapi.PoolClient{}, err
	}
	if len(pools) == 1 {
		a.pool = pools[0].Name
		return c.In(a.pool), nil
	}
	var names []string
	for _, p := range pools {
		names = append(names, p.Name)
	}
	if names == nil {
		return adminapi.PoolClient{}, &hintedError{exit.With(exit.NotFound, errors.New("there is no pool yet")), "signet pool create NAME"}
	}
	return adminapi.PoolClient{}, usagef("which pool? add --pool with one of: %s", strings.Join(names, ", "))
}

func (a *app) status() *cobra.Command {
	return a.leaf("status", "Ask the broker how it is and who you are", "signet status --profile lab", func(cmd *cobra.Command, _ []string) error {
		c, err := a.connect()
		if err != nil {
			return err
		}
		s, err := c.Status(cmd.Context())
		if err != nil {
			return err
		}
		a.warn(s.Warnings)
		for _, c := range s.Certificates {
			if c.Warning != "" {
				a.note("warning: %s", c.Warning)
			}
		}
		here := struct {
			adminapi.Status
			Server  string `json:"server"`
			Profile string `json:"profile,omitempty"`
		}{s, a.at.Server, a.at.profile}
		return a.show(here, []string{"SERVER", "PROFILE", "VERSION", "TIME", "POOLS", "OPERATOR", "SCOPE", "IN POOLS", "TOKEN EXPIRES"},
			[]string{here.Server, here.Profile, s.Version, stamp(&s.Time), fmt.Sprint(s.Pools), s.Operator, s.Scope, boundTo(s.BoundTo), stamp(&s.Expires)})
	})
}

// warn tells a person what the broker warns of.
func (a *app) warn(all []string) {
	for _, w := range all {
		a.note("warning: %s", w)
	}
}

func (a *app) version() *cobra.Command {
	return a.leaf("version", "Print the version of this program", "signet version -o json", func(cmd *cobra.Command, _ []string) error {
		if !cmd.Flag("output").Changed {
			fmt.Fprintln(a.Out, build.Line("signet"))
			return nil
		}
		return a.show(map[string]string{"version": build.Version()}, []string{"VERSION"}, []string{build.Version()})
	})
}
