// Package command is what signetd does: its subcommands, their flags and what they print.
// Tests run it without a process.
//
// Data goes to standard output, errors to standard error with what to do next. It decides
// nothing about devices: it opens what the broker stands on and puts it together.
package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/broker/atrest"
	"github.com/signetd/signet/broker/backup"
	"github.com/signetd/signet/broker/boltstore"
	"github.com/signetd/signet/broker/config"
	"github.com/signetd/signet/broker/listing"
	"github.com/signetd/signet/broker/problem"
	"github.com/signetd/signet/certs"
	"github.com/signetd/signet/protocol/build"
	"github.com/signetd/signet/protocol/cmdline"
	"github.com/signetd/signet/protocol/exit"
	"github.com/signetd/signet/protocol/output"
)

type options struct {
	file, data, mqtt, https, health string
	dev                             bool
	environ                         map[string]string
	stdout, stderr                  io.Writer
	log                             io.Writer     // standard error, for a log that goes on after an error of one line
	started                         bool          // the command line was understood
	read                            config.Config // the configuration that was read last
}

// Main carries out one command line and gives its exit code.
func Main(ctx context.Context, environ, args []string, stdout, stderr io.Writer) int {
	out := output.To(stdout)
	o := &options{stdout: out, stderr: output.Lines(stderr), log: stderr, environ: map[string]string{}}
	for _, kv := range environ {
		if k, v, ok := strings.Cut(kv, "="); ok {
			o.environ[k] = v
		}
	}
	root := o.root()
	root.SetArgs(args)
	cmd, err := root.ExecuteContextC(ctx)
	if lost := out.Err(); lost != nil {
		o.started, err = true, lost
	}
	if err == nil {
		return int(exit.Done)
	}
	if errors.Is(err, atrest.ErrOpen) && !errors.As(err, new(*nextError)) {
		err = &nextError{fmt.Errorf("%s does not open the secrets in %s: it is the key of another folder, or one of the two is damaged", o.read.KeyPath(), o.read.StorePath()),
			"put back the key that belongs to it, from a backup, or say where that is with key_file or SIGNET_KEY_FILE"}
	}
	if held, ok := errors.AsType[*boltstore.HeldError](err); ok && !errors.As(err, new(*nextError)) {
		err = &nextError{held, "a signetd is at work there: stop it, or name another folder with --data"}
	}
	if errors.Is(err, fs.ErrPermission) && !errors.As(err, new(*nextError)) {
		err = &nextError{err, "this user may not use it: run it as the user that signetd runs as, or as root"}
	}
	fmt.Fprintln(o.stderr, "signetd:", strings.TrimPrefix(output.Words(err), broker.ErrInvalid.Error()+": "))
	var next *nextError
	switch {
	case errors.As(err, &next):
		fmt.Fprintln(o.stderr, "  "+next.next)
	case !o.started:
		fmt.Fprintf(o.stderr, "  see %s --help\n", cmd.CommandPath())
	}
	return int(o.code(err))
}

// code is what the program exits with for an error.
func (o *options) code(err error) exit.Code {
	var refused *problem.Problem
	var held *boltstore.HeldError
	var path *fs.PathError
	switch {
	case !o.started:
		return exit.Usage
	case errors.Is(err, config.ErrKeyMissing), errors.Is(err, config.ErrNoStore):
		return exit.NotFound
	case errors.Is(err, config.ErrConfig) && !errors.As(err, &path), errors.Is(err, broker.ErrInvalid):
		return exit.Usage
	case errors.As(err, &refused):
		return refused.Exit()
	case errors.As(err, &held), errors.Is(err, backup.ErrNotEmpty), errors.Is(err, certs.ErrExists), errors.Is(err, errMade), errors.Is(err, errOtherAuthority):
		return exit.Conflict
	}
	return exit.Of(err)
}

// A nextError says what to do next.
type nextError struct {
	error
	next string
}

func (e *nextError) Unwrap() error { return e.error }

// Command is the whole command with its subcommands, for programs that document it.
func Command() *cobra.Command {
	return (&options{stdout: io.Discard, stderr: io.Discard, log: io.Discard}).root()
}

func (o *options) root() *cobra.Command {
	root := &cobra.Command{
		Use: "signetd", Short: "Signet's broker: device identity for fleets, self-hosted",
		Long: "Signet's broker: device identity for fleets, self-hosted.\n\n" +
			"Settings come from flags, then the environment (SIGNET_ and the key in capitals, such as SIGNET_LISTEN_MQTT),\n" +
			"then the file that --config names.",
		Example:      "  signetd serve --dev\n  signetd init --data /var/lib/signet\n  signetd check-config --config /etc/signet/signetd.yaml",
		SilenceUsage: true, SilenceErrors: true, Version: build.Version(),
		Args: knownCommand, RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.SetVersionTemplate(build.Line("signetd") + "\n")
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		if word := cmdline.Misspelt(cmd); word != "" {
			return knownCommand(cmd, []string{word})
		}
		text, next := cmdline.FlagError(cmd, err)
		if next == "" {
			return errors.New(text)
		}
		return &nextError{errors.New(text), next}
	})
	root.SetOut(o.stdout)
	root.SetErr(o.stderr)
	root.PersistentFlags().StringVar(&o.file, "config", "", "configuration `file` (YAML)")
	root.PersistentFlags().StringVar(&o.data, "data", "", "data `folder` (default /var/lib/signet)")
	if err := root.MarkPersistentFlagDirname("data"); err != nil {
		root.PreRunE = func(*cobra.Command, []string) error { return err }
	}
	defer cmdline.Defaults(root)
	defer func() { cmdline.Help(root, func(text string) error { return errors.New(text) }) }()
	defer cmdline.Completions(root)
	root.AddCommand(o.serveCommand(), o.initCommand(), o.checkCommand(), o.backupCommand(), o.restoreCommand(), o.operatorCommand(), o.caCommand(), o.versionCommand())
	return root
}

// leaf makes a command that does something; use names its arguments, files all.
func (o *options) leaf(use, short, example string, do func(ctx context.Context, args []string) error) *cobra.Command {
	return &cobra.Command{
		Use: use, Short: short, Example: "  " + strings.ReplaceAll(example, "\n", "\n  "), Args: arguments,
		RunE: func(cmd *cobra.Command, args []string) error {
			o.started = true
			return do(cmd.Context(), args)
		},
	}
}

// formatFlag lets a command's user say in which form its data is printed.
func (o *options) formatFlag(c *cobra.Command, format *string) {
	c.Flags().StringVarP(format, "output", "o", listing.Formats()[0], "`format` of data: table, json, yaml or csv")
	complete(c, "output", listing.Formats()...)
	run := c.RunE
	c.RunE = func(cmd *cobra.Command, args []string) error {
		if !slices.Contains(listing.Formats(), *format) {
			return fmt.Errorf("-o %q: want table, json, yaml or csv", *format)
		}
		return run(cmd, args)
	}
}

// complete has a shell offer a flag's values.
func complete(c *cobra.Command, flag string, values ...string) {
	if err := c.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp)); err != nil { // a flag's name mistyped here
		c.PreRunE = func(*cobra.Command, []string) error { return err }
	}
}

// arguments holds a line to the arguments that its command's Use names.
func arguments(cmd *cobra.Command, args []string) error {
	names := strings.Fields(cmd.Use)[1:]
	switch {
	case len(args) < len(names):
		return fmt.Errorf("%s needs %s", cmd.CommandPath(), names[len(args)])
	case len(args) > len(names):
		return fmt.Errorf("%s takes %s; %q is too many", cmd.CommandPath(), cmdline.Arguments(len(names)), args[len(names)])
	}
	return nil
}

// knownCommand refuses what is no command, with the nearest that is.
func knownCommand(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	cmd.SuggestionsMinimumDistance = 2
	err := fmt.Errorf("unknown command %q for %q", args[0], cmd.CommandPath())
	if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
		return &nextError{err, "did you mean " + cmd.CommandPath() + " " + near[0] + "?"}
	}
	return err
}

// config puts flags over environment over file over the defaults, and judges the whole.
func (o *options) config(defaults config.Config) (config.Config, error) {
	cfg, wrong := defaults.Read(o.file, o.environ)
	for _, f := range []struct{ flag, to *string }{{&o.data, &cfg.Data}, {&o.mqtt, &cfg.Listen.MQTT}, {&o.https, &cfg.Listen.HTTPS}, {&o.health, &cfg.Listen.Health}} {
		if *f.flag != "" {
			*f.to = *f.flag
		}
	}
	cfg.Version = build.Version()
	o.read = cfg
	return cfg, config.Together(wrong, judge(&cfg))
}

// judge says all that is wrong with a configuration, what a certificate could not carry
// included.
func judge(cfg *config.Config) error {
	wrong := []error{cfg.Check()}
	for i, n := range cfg.Names {
		one := config.Config{Names: []string{n}}
		if serverNames(&one).Check() != nil {
			wrong = append(wrong, fmt.Errorf("names: %q (number %d) is neither a DNS name nor an address", n, i+1))
		}
	}
	for i, n := range cfg.Health.Hosts { // compared whole with a Host that has lost its port
		one := config.Config{Names: []string{n}}
		if strings.HasPrefix(n, "*") || serverNames(&one).Check() != nil {
			wrong = append(wrong, fmt.Errorf("health.hosts: %q (number %d) is neither a DNS name nor an address, without a port", n, i+1))
		}
	}
	if host := cfg.IssuerHost(); host != "" {
		of := config.Config{Names: []string{host}}
		if err := errors.Join(certs.CheckTrustDomain(trustDomain(*cfg)), serverNames(&of).Check()); err != nil {
			wrong = append(wrong, fmt.Errorf("issuer %q: its host: %w", cfg.Issuer, err))
		}
	}
	if n := len(cfg.ServerNames()); n > certs.MaxServerNames {
		wrong = append(wrong, fmt.Errorf("names: %d with the issuer's host, at most %d", n, certs.MaxServerNames))
	}
	return config.Together(wrong...)
}

func (o *options) checkCommand() *cobra.Command {
	c := o.leaf("check-config", "Say whether signetd would take the configuration, without starting",
		"signetd check-config --config /etc/signet/signetd.yaml", func(ctx context.Context, _ []string) error {
			cfg, err := o.config(config.Default())
			if err := config.Together(err, cfg.CheckKey()); err != nil {
				return err
			}
			if err := o.checkCA(cfg); err != nil {
				return err
			}
			err = checkStore(ctx, &cfg)
			if _, held := errors.AsType[*boltstore.HeldError](err); held || errors.Is(err, fs.ErrPermission) {
				fmt.Fprintln(o.stderr, "signetd: the store was not looked at:", err)
				err = nil
			}
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(o.stdout, "configuration ok")
			return err
		})
	c.Long = "Judges the configuration as serve does, and names all that is wrong with it in one run; then the store in\n" +
		"the data folder, if there is one and no signetd has it open, and whether the key opens its secrets. What only a\n" +
		"start can tell it does not: whether ports are free, and whether the data folder has been made (signetd init)."
	return c
}

func (o *options) versionCommand() *cobra.Command {
	return o.leaf("version", "Print the version", "signetd version", func(context.Context, []string) error {
		fmt.Fprintf(o.stdout, "%s  store format %d\n", build.Line("signetd"), boltstore.FormatVersion)
		return nil
	})
}
