package command

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/broker/config"
	"github.com/signetd/signet/broker/control"
	"github.com/signetd/signet/broker/daemon"
	"github.com/signetd/signet/certs"
	"github.com/signetd/signet/protocol/build"
	"github.com/signetd/signet/protocol/environ"
	"github.com/signetd/signet/protocol/ident"
)

const devPool = "demo"

// serveDev runs a broker that needs no configuration: all on loopback, all in one folder.
func (o *options) serveDev(ctx context.Context) error {
	cfg, err := o.devConfig()
	if err != nil {
		return err
	}
	if err := makeData(cfg, certs.Options{}); err != nil && !errors.Is(err, certs.ErrExists) {
		return err
	}
	b, err := o.open(ctx, cfg)
	if err != nil {
		return err
	}
	v, err := devSetup(ctx, b.Daemon)
	if err != nil {
		return errors.Join(err, b.Close())
	}
	if err := o.banner(cfg, b.ca, b.Daemon, v); err != nil {
		return errors.Join(err, b.Close())
	}
	return errors.Join(b.Run(ctx), b.Close())
}

// devConfig is the configuration of development mode, under file, environment and
// flags like any other.
func (o *options) devConfig() (config.Config, error) {
	defaults := config.Default()
	defaults.Data, defaults.Log.Format, defaults.Log.Level = "signet-dev", "text", "info"
	defaults.Listen = config.Listen{MQTT: "127.0.0.1:8883", HTTPS: "127.0.0.1:8443", Health: "127.0.0.1:9464"}
	defaults.Hooks.Allow = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}
	cfg, err := o.config(defaults)
	if err != nil {
		return cfg, err
	}
	if cfg.Issuer == defaults.Issuer { // nobody chose one
		_, port, err := net.SplitHostPort(cfg.Listen.HTTPS)
		if err != nil {
			return cfg, config.Together(fmt.Errorf("listen.https %q: want host:port", cfg.Listen.HTTPS))
		}
		cfg.Issuer = "https://localhost:" + port
	}
	return cfg, judge(&cfg)
}

// devValues is what development mode makes at each start.
type devValues struct{ operator, enrollment, anchor string }

// devSetup makes the pool, once, and an operator and an enrollment token at each start.
func devSetup(ctx context.Context, d *daemon.Daemon) (v devValues, err error) {
	name, err := ident.ParsePool(devPool)
	if err != nil {
		return v, err
	}
	pool, err := d.Control.CreatePool(ctx, broker.By{Actor: broker.ActorLocal}, name)
	if errors.Is(err, broker.ErrExists) {
		pool, err = d.Control.Pool(ctx, name)
	}
	if err != nil {
		return v, err
	}
	anchor, err := control.Anchor(pool)
	if err != nil {
		return v, err
	}
	thumb := anchor.Thumbprint()
	v.anchor = hex.EncodeToString(thumb[:])
	if err := d.Control.DeleteOperator(ctx, broker.By{Actor: broker.ActorLocal}, "dev", true); err != nil && !errors.Is(err, broker.ErrNotFound) {
		return v, err
	}
	if _, v.operator, err = d.Control.CreateOperator(ctx, broker.By{Actor: broker.ActorLocal}, control.NewOperator{Name: "dev", Life: 24 * time.Hour, Scope: broker.OperatorAdmin}); err != nil {
		return v, err
	}
	_, v.enrollment, err = d.Control.CreateEnrollToken(ctx, broker.By{Actor: broker.ActorLocal}, control.NewEnrollToken{Pool: name, Uses: 10, Life: 24 * time.Hour})
	return v, err
}

// banner says where everything is and what to try, and leaves the same for scripts.
func (o *options) banner(cfg config.Config, ca *authority, d *daemon.Daemon, v devValues) error {
	data, err := filepath.Abs(cfg.Data)
	if err != nil {
		return fmt.Errorf("data folder: %w", err)
	}
	root := filepath.Join(cfg.Data, config.CAFolder, certs.RootFile)
	mqtt, env := "mqtts://localhost:"+portOf(d.Addrs.MQTT), filepath.Join(data, "dev.env")
	values := map[string]string{
		environ.Server: d.Issuer(), environ.Token: v.operator, environ.CA: quoted(filepath.Join(data, config.CAFolder, certs.RootFile)),
		environ.Broker: mqtt, environ.Pool: devPool, environ.Enrollment: v.enrollment,
	}
	var text strings.Builder
	for _, row := range environ.Table() {
		if row.Dev {
			fmt.Fprintf(&text, "%s=%s\n", row.Name, values[row.Name])
		}
	}
	if err := os.WriteFile(env, []byte(text.String()), 0o600); err != nil {
		return fmt.Errorf("leave %s: %w", env, err)
	}
	_, err = fmt.Fprintf(o.stdout, `Signet %s  development mode: data in %s, one pool "%s", secrets below: not for production
  MQTT    %s
  API     %s/api/docs
  CA      %s
          sha256 %s  (pins it without the file: --ca-fingerprint)
  anchor  %s  (of pool %s)
Try, in another terminal:
  1  signet-agent enroll --broker %s --ca %s --pool %s --name lamp-1 --token %s
  2  signet-agent token --name lamp-1 | signet token inspect -
  3  signet device list --pool %s --server %s --ca %s --token %s
For a shell that knows server, CA and token:  set -a; . %s; set +a
Stop with Ctrl-C.
`, build.Version(), cfg.Data, devPool, mqtt, d.Issuer(), root, ca.Fingerprint(), v.anchor, devPool,
		mqtt, root, devPool, v.enrollment, devPool, d.Issuer(), root, v.operator, quoted(env))
	return err
}

func portOf(a net.Addr) string {
	_, port, _ := net.SplitHostPort(a.String()) // a listener's
	return port
}

// quoted makes a path fit for a shell, and leaves most as they are.
func quoted(path string) string {
	if regexp.MustCompile(`^[A-Za-z0-9_./:@%+,=-]+$`).MatchString(path) {
		return path
	}
	return "'" + strings.ReplaceAll(path, "'", `'\''`) + "'"
}
