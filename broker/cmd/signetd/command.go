package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"

	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/signetd/signet/broker/boltstore"
	broker "github.com/signetd/signet/broker/daemon"
	"github.com/signetd/signet/certs"
	"github.com/spf13/cobra"
)

// version is set at build time.
var version = "0.1.0-dev"

type options struct {
	file, data, mqtt, https, health string
	dev                             bool
	stdout, stderr                  io.Writer
}

func command(stdout, stderr io.Writer) *cobra.Command {
	o := &options{stdout: stdout, stderr: stderr}
	root := &cobra.Command{
		Use: "signetd", Short: "Signet's broker: device identity for fleets, self-hosted",
		SilenceUsage: true, SilenceErrors: true, Version: version,
	}
	root.SetOut(stdout)
	root.SetErr(stderr)
	root.PersistentFlags().StringVar(&o.file, "config", "", "configuration `file` (YAML)")
	root.PersistentFlags().StringVar(&o.data, "data", "", "data `folder` (overrides the configuration)")
	root.AddCommand(o.serveCommand(), o.initCommand(), o.checkCommand(), o.backupCommand(), o.restoreCommand(), o.versionCommand())
	return root
}

func (o *options) config() (broker.Config, error) {
	environ := make(map[string]string)
	for _, kv := range os.Environ() {
		if k, v, ok := strings.Cut(kv, "="); ok && strings.HasPrefix(k, "SIGNET_") {
			environ[k] = v
		}
	}
	cfg, err := broker.Load(o.file, environ)
	if err != nil {
		return cfg, err
	}
	for _, f := range []struct{ flag, to *string }{{&o.data, &cfg.Data}, {&o.mqtt, &cfg.Listen.MQTT}, {&o.https, &cfg.Listen.HTTPS}, {&o.health, &cfg.Listen.Health}} {
		if *f.flag != "" {
			*f.to = *f.flag
		}
	}
	cfg.Version = version
	return cfg, cfg.Check()
}

func (o *options) serveCommand() *cobra.Command {
	c := &cobra.Command{
		Use: "serve", Short: "Run the broker", Args: cobra.NoArgs,
		Example: "  signetd serve --dev\n  signetd serve --config /etc/signet/signetd.yaml",
		RunE:    func(cmd *cobra.Command, _ []string) error { return o.serve(cmd.Context()) },
	}
	c.Flags().BoolVar(&o.dev, "dev", false, "development: make what is missing, listen on loopback, print what to try")
	c.Flags().StringVar(&o.mqtt, "listen-mqtt", "", "`address` for MQTT over TLS")
	c.Flags().StringVar(&o.https, "listen-https", "", "`address` for HTTPS")
	c.Flags().StringVar(&o.health, "listen-health", "", "`address` for health and metrics")
	return c
}

func (o *options) serve(ctx context.Context) error {
	if o.dev {
		return o.serveDev(ctx)
	}
	cfg, err := o.config()
	if err != nil {
		return err
	}
	log, err := cfg.Log.Logger(o.stderr)
	if err != nil {
		return err
	}
	ca, err := openCA(cfg)
	if err != nil {
		return err
	}
	defer ca.Close()
	own, err := newServerCertificate(ctx, ca, cfg)
	if err != nil {
		return err
	}
	d, err := broker.Open(ctx, cfg, own, log)
	if err != nil {
		return err
	}
	if _, err := daemon.SdNotify(false, daemon.SdNotifyReady); err != nil {
		log.WarnContext(ctx, "systemd not told", "err", err)
	}
	return d.Run(ctx)
}

// serverCertificate is the daemon's view of the certificate authority.
type serverCertificate struct {
	*certs.ServerCertificate
	ca *certs.Authority
}

func (s serverCertificate) Roots() []byte { return s.ca.Roots() }

func newServerCertificate(ctx context.Context, ca *certs.Authority, cfg broker.Config) (serverCertificate, error) {
	var names certs.ServerNames
	for _, n := range cfg.Names {
		if ip, err := netip.ParseAddr(n); err == nil {
			names.IPs = append(names.IPs, ip)
		} else {
			names.DNS = append(names.DNS, n)
		}
	}
	own, err := ca.NewServerCertificate(ctx, names, 0)
	if err != nil {
		return serverCertificate{}, fmt.Errorf("server certificate: %w", err)
	}
	return serverCertificate{own, ca}, nil
}

func openCA(cfg broker.Config) (*certs.Authority, error) {
	ca, err := certs.Open(filepath.Join(cfg.Data, broker.CAFolder), certs.Config{TrustDomain: trustDomain(cfg)})
	if errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("no certificate authority in %s: run signetd init --data %s", cfg.Data, cfg.Data)
	}
	if err != nil {
		return nil, fmt.Errorf("certificate authority: %w", err)
	}
	return ca, nil
}

// trustDomain is the issuer's host: stable for as long as the issuer is.
func trustDomain(cfg broker.Config) string {
	host := strings.TrimPrefix(cfg.Issuer, "https://")
	host, _, _ = strings.Cut(host, "/")
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	return strings.Trim(strings.ToLower(host), "[]")
}

func (o *options) initCommand() *cobra.Command {
	return &cobra.Command{
		Use: "init", Short: "Make the data folder and its certificate authority", Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			cfg, err := o.config()
			if err != nil {
				return err
			}
			if err := makeData(cfg); err != nil {
				return err
			}
			token, err := o.firstOperator(cmd.Context(), cfg)
			if err != nil {
				return err
			}
			ca, err := openCA(cfg)
			if err != nil {
				return err
			}
			defer ca.Close()
			fmt.Fprintf(o.stdout, "made %s\n  root certificate %s\n  sha256 %s\n  operator's token, shown once: %s\nTake %s to a safe: nothing here needs it any more.\n",
				cfg.Data, filepath.Join(cfg.Data, broker.CAFolder, certs.RootFile), ca.Fingerprint(), token,
				filepath.Join(cfg.Data, broker.CAFolder, certs.RootKeyFile))
			return nil
		},
	}
}

// makeData makes the data folder and certificate authority.
func makeData(cfg broker.Config) error {
	if err := os.MkdirAll(cfg.Data, 0o700); err != nil {
		return fmt.Errorf("make data folder: %w", err)
	}
	if err := certs.Create(filepath.Join(cfg.Data, broker.CAFolder), certs.Options{}); err != nil {
		return fmt.Errorf("make certificate authority: %w", err)
	}
	return nil
}

// firstOperator makes the first operator's access without serving anybody.
func (o *options) firstOperator(ctx context.Context, cfg broker.Config) (string, error) {
	d, err := broker.OpenDirectory(ctx, cfg)
	if err != nil {
		return "", err
	}
	_, token, err := d.Directory.CreateOperator(ctx, "admin", 0)
	return token, errors.Join(err, d.Close())
}

func (o *options) checkCommand() *cobra.Command {
	return &cobra.Command{
		Use: "check-config", Short: "Say whether the configuration is understood, without starting", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			if _, err := o.config(); err != nil {
				return err
			}
			fmt.Fprintln(o.stdout, "configuration ok")
			return nil
		},
	}
}

func (o *options) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Print the version", Args: cobra.NoArgs,
		Run: func(*cobra.Command, []string) {
			goVersion := "unknown"
			if info, ok := debug.ReadBuildInfo(); ok {
				goVersion = info.GoVersion
			}
			fmt.Fprintf(o.stdout, "signetd %s %s store format %d\n", version, goVersion, boltstore.FormatVersion)
		},
	}
}
