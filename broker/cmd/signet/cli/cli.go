// Package cli is the command signet without its main: commands, flags, profiles,
// output. Tests run it in process.
//
// It imports the operators' API's client and, for tokens, protocol/token and
// protocol/verify; never the broker's core, a store or an MQTT library.
//
// Its voice: standard output has data and nothing else; errors and hints go to
// standard error, say what is wrong in one line and what to do next in another;
// the exit code is 0 for done, 1 for refused or failed, 2 for a command line that
// cannot be understood.
package cli

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime/debug"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/signetd/signet/broker/adminapi"
)

// Exit codes.
const (
	exitDone  = 0
	exitNo    = 1
	exitUsage = 2
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
	a := &app{Surroundings: s}
	root := a.root()
	root.SetArgs(args)
	root.SetIn(s.In)
	root.SetOut(s.Out)
	root.SetErr(s.Err)
	err := root.ExecuteContext(ctx)
	if err == nil {
		return exitDone
	}
	fmt.Fprintln(s.Err, "signet:", err)
	if hint := a.hint(err); hint != "" {
		fmt.Fprintln(s.Err, "  "+hint)
	}
	var usage *usageError
	if !a.started || errors.As(err, &usage) {
		return exitUsage
	}
	return exitNo
}

// An app is one run: its flags and what follows from them.
type app struct {
	Surroundings
	flags   connection
	profile string
	pool    string
	format  string
	started bool // a command's own work began, so the command line was understood
}

// A usageError is a command line that was parsed and still makes no sense.
type usageError struct{ text string }

func (e *usageError) Error() string { return e.text }

func usagef(format string, args ...any) error { return &usageError{fmt.Sprintf(format, args...)} }

// A hintedError says what to do next.
type hintedError struct {
	error
	next string
}

func (e *hintedError) Unwrap() error { return e.error }

func (a *app) root() *cobra.Command {
	root := &cobra.Command{
		Use:           "signet",
		Short:         "Manage pools and devices of a Signet broker, read and verify tokens",
		SilenceUsage:  true,
		SilenceErrors: true,
		Example: "  signet login --server https://localhost:8443 --ca ./signet-dev/root.pem\n" +
			"  signet enrollment create --pool demo --uses 100 --expires 24h\n" +
			"  signet device list --pool demo -o json",
		PersistentPreRunE: func(*cobra.Command, []string) error { return checkFormat(a.format) },
	}
	f := root.PersistentFlags()
	f.StringVar(&a.flags.Server, "server", "", "the broker's URL ($SIGNET_SERVER)")
	f.StringVar(&a.flags.Token, "token", "", "operator's token ($SIGNET_TOKEN)")
	f.StringVar(&a.flags.CA, "ca", "", "file with the root certificate of the broker ($SIGNET_CA)")
	f.StringVar(&a.profile, "profile", "", "profile to use ($SIGNET_PROFILE)")
	f.StringVarP(&a.format, "output", "o", "table", "table, json, yaml or csv")
	root.AddCommand(a.login(), a.status(), a.version(), a.pools(), a.devices(), a.enrollment(), a.clients(),
		a.flows(), a.hooks(), a.keys(), a.operators(), a.tokens())
	return root
}

// leaf makes a command that does something. do is called with a parsed line.
func (a *app) leaf(use, short string, args cobra.PositionalArgs, do func(cmd *cobra.Command, args []string) error) *cobra.Command {
	return &cobra.Command{Use: use, Short: short, Args: args, RunE: func(cmd *cobra.Command, args []string) error {
		a.started = true
		return do(cmd, args)
	}}
}

// group makes a command that has commands only.
func group(use, short string, commands ...*cobra.Command) *cobra.Command {
	g := &cobra.Command{Use: use, Short: short, Args: cobra.NoArgs, RunE: func(cmd *cobra.Command, _ []string) error {
		var names []string
		for _, c := range cmd.Commands() {
			names = append(names, c.Name())
		}
		return usagef("%s needs one of: %s", cmd.CommandPath(), strings.Join(names, ", "))
	}}
	g.AddCommand(commands...)
	return g
}

// inPool makes a group whose commands work in one pool.
func (a *app) inPool(use, short string, commands ...*cobra.Command) *cobra.Command {
	g := group(use, short, commands...)
	g.PersistentFlags().StringVar(&a.pool, "pool", "", "pool to work in; may be left out if there is only one")
	return g
}

// connect makes the API's client.
func (a *app) connect() (*adminapi.Client, error) {
	c, err := a.connection()
	if err != nil {
		return nil, err
	}
	return c.client()
}

// enter connects and chooses the pool: the one named, or the only one.
func (a *app) enter(ctx context.Context) (adminapi.PoolClient, error) {
	c, err := a.connect()
	if err != nil {
		return adminapi.PoolClient{}, err
	}
	if a.pool != "" {
		return c.In(a.pool), nil
	}
	pools, err := c.Pools(ctx)
	if err != nil {
		return adminapi.PoolClient{}, err
	}
	if len(pools) == 1 {
		return c.In(pools[0].Name), nil
	}
	var names []string
	for _, p := range pools {
		names = append(names, p.Name)
	}
	if names == nil {
		return adminapi.PoolClient{}, &hintedError{usagef("there is no pool yet"), "signet pool create NAME"}
	}
	return adminapi.PoolClient{}, usagef("which pool? add --pool with one of: %s", strings.Join(names, ", "))
}

// hint gives the next step after an error, if there is an obvious one.
func (a *app) hint(err error) string {
	var hinted *hintedError
	var problem *adminapi.Problem
	var authority x509.UnknownAuthorityError
	var host x509.HostnameError
	var dial *net.OpError
	switch {
	case errors.As(err, &hinted):
		return hinted.next
	case errors.As(err, &problem) && problem.Status == http.StatusUnauthorized:
		return "the operator's token is wrong or has expired: signet login --server URL"
	case errors.As(err, &problem) && problem.Status >= http.StatusInternalServerError:
		return "look for request " + problem.RequestID + " in the broker's log"
	case errors.As(err, &authority):
		return "give the broker's root certificate: --ca FILE (signetd serve --dev prints where it is)"
	case errors.As(err, &host):
		return "use the name that is in the broker's certificate in --server"
	case errors.As(err, &dial) && dial.Op == "dial":
		return "is signetd running there? check --server or SIGNET_SERVER"
	case !a.started:
		return "see signet help"
	}
	return ""
}

func (a *app) status() *cobra.Command {
	return a.leaf("status", "Ask the broker how it is and who you are", cobra.NoArgs, func(cmd *cobra.Command, _ []string) error {
		c, err := a.connect()
		if err != nil {
			return err
		}
		s, err := c.Status(cmd.Context())
		if err != nil {
			return err
		}
		return a.show(s, []string{"VERSION", "TIME", "POOLS", "OPERATOR", "TOKEN EXPIRES"},
			[]string{s.Version, stamp(&s.Time), fmt.Sprint(s.Pools), s.Operator, stamp(&s.Expires)})
	})
}

func (a *app) version() *cobra.Command {
	return a.leaf("version", "Print the version of this program", cobra.NoArgs, func(*cobra.Command, []string) error {
		version := "unknown"
		if info, ok := debug.ReadBuildInfo(); ok && info.Main.Version != "" {
			version = info.Main.Version
		}
		return a.show(map[string]string{"version": version}, []string{"VERSION"}, []string{version})
	})
}
