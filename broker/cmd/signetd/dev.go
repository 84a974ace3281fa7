package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"time"

	domain "github.com/signetd/signet/broker"
	broker "github.com/signetd/signet/broker/daemon"
	"github.com/signetd/signet/broker/directory"
	"github.com/signetd/signet/certs"
	"github.com/signetd/signet/protocol/ident"
)

const devPool = "demo"

// serveDev runs a broker that needs no configuration: all on loopback, all in one folder.
func (o *options) serveDev(ctx context.Context) error {
	cfg, err := o.devConfig()
	if err != nil {
		return err
	}
	if err := makeData(cfg); err != nil && !errors.Is(err, certs.ErrExists) {
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
	secrets, err := devSetup(ctx, d)
	if err != nil {
		return errors.Join(err, d.Close())
	}
	o.banner(cfg, ca, d, secrets)
	return d.Run(ctx)
}

func (o *options) devConfig() (broker.Config, error) {
	cfg := broker.Default()
	cfg.Data, cfg.Log.Format, cfg.Log.Level = "signet-dev", "text", "warn"
	cfg.Listen = broker.Listen{MQTT: "127.0.0.1:8883", HTTPS: "127.0.0.1:8443", Health: "127.0.0.1:9464"}
	cfg.Hooks.Allow = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}
	for _, f := range []struct{ flag, to *string }{{&o.data, &cfg.Data}, {&o.mqtt, &cfg.Listen.MQTT}, {&o.https, &cfg.Listen.HTTPS}, {&o.health, &cfg.Listen.Health}} {
		if *f.flag != "" {
			*f.to = *f.flag
		}
	}
	_, port, err := net.SplitHostPort(cfg.Listen.HTTPS)
	if err != nil {
		return cfg, fmt.Errorf("--listen-https %q: want host:port", cfg.Listen.HTTPS)
	}
	cfg.Version = version
	cfg.Issuer = "https://localhost:" + port
	return cfg, cfg.Check()
}

type devSecrets struct{ operator, enrolment string }

// devSetup makes the pool, once, and an operator and an enrolment token at each start.
func devSetup(ctx context.Context, d *broker.Daemon) (s devSecrets, err error) {
	pool, err := ident.ParsePool(devPool)
	if err != nil {
		return s, err
	}
	if _, err = d.Directory.CreatePool(ctx, pool); err != nil && !errors.Is(err, domain.ErrExists) {
		return s, err
	}
	if err := d.Directory.DeleteOperator(ctx, "dev"); err != nil && !errors.Is(err, domain.ErrNotFound) {
		return s, err
	}
	if _, s.operator, err = d.Directory.CreateOperator(ctx, "dev", 24*time.Hour); err != nil {
		return s, err
	}
	_, s.enrolment, err = d.Directory.CreateEnrolToken(ctx, directory.NewEnrolToken{Pool: pool, Uses: 10, Life: 24 * time.Hour})
	return s, err
}

func (o *options) banner(cfg broker.Config, ca *certs.Authority, d *broker.Daemon, s devSecrets) {
	root := filepath.Join(cfg.Data, broker.CAFolder, certs.RootFile)
	_, mqtt, _ := net.SplitHostPort(d.Addrs.MQTT.String())
	fmt.Fprintf(o.stdout, `Signet %s  development mode: data in %s, one pool "%s", secrets below: not for production
  MQTT   mqtts://localhost:%s     API  %s/api/docs
  CA     %s     sha256 %s
Try, in another terminal:
  1  signet-agent enroll --broker mqtts://localhost:%s --ca %s --pool %s --name lamp-1 --token %s
  2  signet-agent token --name lamp-1 | signet token inspect -
  3  signet device list --pool %s --server %s --ca %s --token %s
Stop with Ctrl-C.
`, version, cfg.Data, devPool, mqtt, cfg.Issuer, root, ca.Fingerprint(), mqtt, root, devPool, s.enrolment, devPool, cfg.Issuer, root, s.operator)
	if err := writeDevEnv(cfg, root, mqtt, s); err != nil {
		fmt.Fprintln(o.stderr, "signetd:", err)
	}
}

// writeDevEnv leaves the same for scripts, readable by its owner only.
func writeDevEnv(cfg broker.Config, root, mqtt string, s devSecrets) error {
	text := fmt.Sprintf("SIGNET_SERVER=%s\nSIGNET_TOKEN=%s\nSIGNET_CA=%s\nSIGNET_BROKER=mqtts://localhost:%s\nSIGNET_ENROLMENT=%s\n", cfg.Issuer, s.operator, root, mqtt, s.enrolment)
	return os.WriteFile(filepath.Join(cfg.Data, "dev.env"), []byte(text), 0o600)
}
