package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"github.com/signetd/signet/broker/adminapi"
	broker "github.com/signetd/signet/broker/daemon"
	"github.com/signetd/signet/certs"
)

func (o *options) initCommand() *cobra.Command {
	var b bringing
	c := o.leaf("init", "Make the data folder, its certificate authority and a first operator",
		"signetd init --data /var/lib/signet\nsignetd init --config /etc/signet/signetd.yaml\n"+
			"signetd init --data /var/lib/signet --ca-root company.pem --ca-root-key company.key",
		func(ctx context.Context, _ []string) error { return o.init(ctx, b) })
	b.flags(c)
	c.Long = "Makes the data folder, its certificate authority and a first operator, admin, whose token is printed once\n" +
		"and lives 90 days. Who has none left: signetd operator create."
	return c
}

func (o *options) init(ctx context.Context, b bringing) error {
	cfg, err := o.config(broker.Default())
	if err != nil {
		return err
	}
	authority, err := b.options()
	if err != nil {
		return err
	}
	if err := makeData(cfg, authority); errors.Is(err, certs.ErrExists) {
		return &nextError{fmt.Errorf("%s is made already", cfg.Data), "start it: signetd serve " + o.where(cfg)}
	} else if err != nil {
		return err
	}
	first, err := firstOperator(ctx, cfg)
	if err != nil {
		return err
	}
	ca, err := openCA(cfg, o.where(cfg))
	if err != nil {
		return err
	}
	defer ca.Close()
	folder := filepath.Join(cfg.Data, broker.CAFolder)
	fmt.Fprintf(o.stdout, `made %s
  root certificate  %s
  its SHA-256       %s
  operator's token, shown once: %s
  (operator %s, until %s)
Next:
`, cfg.Data, filepath.Join(folder, certs.RootFile), ca.Fingerprint(), first.Token, first.Name, first.Expires.UTC().Format("2006-01-02"))
	steps := []string{"signetd serve " + o.where(cfg), "signet login --server " + cfg.Issuer + " --ca-fingerprint " + ca.Fingerprint()}
	if b.none() {
		steps = append([]string{"take " + filepath.Join(folder, certs.RootKeyFile) + " to a safe: nothing here needs it any more"}, steps...)
	}
	for i, step := range steps {
		fmt.Fprintf(o.stdout, "  %d  %s\n", i+1, step)
	}
	return nil
}

// where gives the flags that name this configuration again.
func (o *options) where(cfg broker.Config) string {
	switch {
	case o.file == "":
		return "--data " + quoted(cfg.Data)
	case o.data == "":
		return "--config " + quoted(o.file)
	}
	return "--config " + quoted(o.file) + " --data " + quoted(cfg.Data)
}

// makeData makes the data folder and certificate authority.
func makeData(cfg broker.Config, authority certs.Options) error {
	if err := os.MkdirAll(cfg.Data, 0o700); err != nil {
		return fmt.Errorf("make data folder: %w", err)
	}
	if err := certs.Create(filepath.Join(cfg.Data, broker.CAFolder), authority); err != nil {
		return fmt.Errorf("make certificate authority: %w", err)
	}
	return nil
}

// firstOperator makes the store with the first operator's access, serving nobody.
func firstOperator(ctx context.Context, cfg broker.Config) (adminapi.Operator, error) {
	d, err := broker.OpenDirectory(ctx, cfg)
	if err != nil {
		return adminapi.Operator{}, err
	}
	made, secret, err := d.Directory.CreateOperator(ctx, "admin", 0)
	return adminapi.Operator{Name: made.Name, Token: secret, Expires: made.Expires}, errors.Join(err, d.Close())
}
