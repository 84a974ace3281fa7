package command

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"

	systemd "github.com/coreos/go-systemd/v22/daemon"
	"github.com/spf13/cobra"

	"github.com/signetd/signet/broker/backup"
	"github.com/signetd/signet/broker/config"
	"github.com/signetd/signet/broker/daemon"
	"github.com/signetd/signet/broker/durable"
	"github.com/signetd/signet/certs"
	"github.com/signetd/signet/protocol/exit"
)

func (o *options) serveCommand() *cobra.Command {
	c := o.leaf("serve", "Run the broker", "signetd serve --dev\nsignetd serve --config /etc/signet/signetd.yaml",
		func(ctx context.Context, _ []string) error {
			if o.dev {
				return o.serveDev(ctx)
			}
			return o.serve(ctx)
		})
	c.Flags().BoolVar(&o.dev, "dev", false, "development: make what is missing, listen on loopback, print what to try")
	c.Flags().StringVar(&o.mqtt, "listen-mqtt", "", "`address` for MQTT over TLS, host:port or :port")
	c.Flags().StringVar(&o.https, "listen-https", "", "`address` for HTTPS")
	c.Flags().StringVar(&o.health, "listen-health", "", "`address` for health and metrics")
	return c
}

func (o *options) serve(ctx context.Context) error {
	cfg, err := o.config(config.Default())
	if err != nil {
		return err
	}
	b, err := o.open(ctx, cfg)
	if err != nil {
		return err
	}
	if _, err := systemd.SdNotify(false, systemd.SdNotifyReady); err != nil {
		return errors.Join(fmt.Errorf("tell systemd: %w", err), b.Close())
	}
	context.AfterFunc(ctx, func() { _, _ = systemd.SdNotify(false, systemd.SdNotifyStopping) }) // it finds out itself
	return errors.Join(b.Run(ctx), b.Close())
}

// Run serves until ctx ends, and keeps the folder's mark meanwhile.
func (b *running) Run(ctx context.Context) error {
	var keeping sync.WaitGroup
	inner, stop := context.WithCancel(ctx)
	keeping.Go(func() { backup.KeepMark(inner, &b.folder.cfg, b.folder.Store, b.log) })
	keeping.Go(func() { b.ca.watch(inner, b.log) })
	err := b.Daemon.Run(ctx)
	stop()
	keeping.Wait()
	return err
}

// A running is a broker that listens, with what it stands on.
type running struct {
	*daemon.Daemon
	ca     *authority
	folder *folder
	log    *slog.Logger
}

// Close ends what there is of it, the store last.
func (b *running) Close() error {
	var errs []error
	if b.Daemon != nil {
		errs = append(errs, b.Daemon.Close())
	}
	if b.ca != nil {
		errs = append(errs, b.ca.Close())
	}
	if b.folder != nil {
		errs = append(errs, b.folder.Close())
	}
	return errors.Join(errs...)
}

// open opens the broker with its certificate authority and store. Close must follow.
func (o *options) open(ctx context.Context, cfg config.Config) (*running, error) {
	log, err := cfg.Log.Logger(o.log)
	if err != nil {
		return nil, err
	}
	b := &running{log: log}
	if b.ca, err = o.openAuthority(ctx, cfg); err != nil {
		return nil, err
	}
	if b.folder, err = openFolder(ctx, &cfg); err != nil {
		return nil, errors.Join(err, b.Close())
	}
	if b.Daemon, err = daemon.Open(ctx, cfg, b.folder.parts, b.ca, log); err != nil {
		return nil, errors.Join(err, b.Close())
	}
	return b, nil
}

// serverNames are what the broker's certificate is for.
func serverNames(cfg *config.Config) (names certs.ServerNames) {
	for _, n := range cfg.ServerNames() {
		if ip, err := netip.ParseAddr(n); err == nil {
			names.IPs = append(names.IPs, ip)
		} else {
			names.DNS = append(names.DNS, n)
		}
	}
	return names
}

func openCA(cfg config.Config, o *options) (*certs.Authority, error) {
	folder := filepath.Join(cfg.Data, config.CAFolder)
	log, err := cfg.Log.Logger(o.log)
	if err != nil {
		return nil, err
	}
	ca, err := certs.Open(folder, certs.Config{TrustDomain: trustDomain(cfg), Log: log})
	if errors.Is(err, os.ErrNotExist) && !durable.Exists(folder) {
		return nil, &nextError{exit.With(exit.NotFound, fmt.Errorf("no certificate authority in %s", cfg.Data)), "make it: run signetd init " + o.where(cfg)}
	}
	if err != nil {
		return nil, o.caError(cfg, err)
	}
	return ca, nil
}

// trustDomain is the issuer's host: stable for as long as the issuer is. One that is an
// IPv6 address has dashes for its colons, which a trust domain cannot have (SPIFFE ID, 2.1).
func trustDomain(cfg config.Config) string {
	return strings.ReplaceAll(cfg.IssuerHost(), ":", "-")
}
