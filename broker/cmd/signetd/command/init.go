package command

import (
	"bytes"
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/broker/adminapi"
	"github.com/signetd/signet/broker/config"
	"github.com/signetd/signet/broker/durable"
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
		"and lives 90 days. Who has none left: signetd operator create.\n\n" +
		"When it was cut off, type it again: it keeps what is there and makes what is missing."
	return c
}

func (o *options) init(ctx context.Context, b bringing) error {
	cfg, err := o.config(config.Default())
	if err != nil {
		return err
	}
	authority, err := b.options()
	if err != nil {
		return err
	}
	kept := present(cfg)
	if err := makeData(cfg, authority); err != nil && !errors.Is(err, certs.ErrExists) {
		return err
	}
	ca, err := openCA(cfg, o)
	if err != nil {
		return err
	}
	defer ca.Close()
	if authority.Root != nil && !sameRoot(authority.Root, ca.Roots()) {
		return &nextError{fmt.Errorf("%s has %w", cfg.Data, errOtherAuthority), "leave out --ca-root, or name another folder with --data"}
	}
	first, err := firstOperator(ctx, cfg)
	if errors.Is(err, errMade) {
		return &nextError{fmt.Errorf("%s is %w", cfg.Data, errMade), "start it: signetd serve " + o.where(cfg) +
			"\n  or, if the operator's token was not printed: signetd operator create NAME " + o.where(cfg)}
	}
	if err != nil {
		return err
	}
	made := "made " + cfg.Data
	if len(kept) > 0 {
		made = "completed " + cfg.Data + ", and kept what was there: " + strings.Join(kept, ", ")
	}
	folder := filepath.Join(cfg.Data, config.CAFolder)
	fmt.Fprintf(o.stdout, `%s
  root certificate  %s
  its SHA-256       %s
  operator's token, shown once: %s
  (operator %s, until %s: make another admin before, or signetd operator create)
Next:
`, made, filepath.Join(folder, certs.RootFile), ca.Fingerprint(), first.Token, first.Name, first.Expires.UTC().Format("2006-01-02"))
	steps := []string{"signetd serve " + o.where(cfg), "signet login --server " + cfg.Issuer + " --ca-fingerprint " + ca.Fingerprint()}
	if key := filepath.Join(folder, certs.RootKeyFile); durable.Exists(key) {
		steps = append([]string{"take " + key + " to a safe: nothing here needs it any more"}, steps...)
	}
	for i, step := range steps {
		fmt.Fprintf(o.stdout, "  %d  %s\n", i+1, step)
	}
	return nil
}

// where gives the flags that name this configuration again.
func (o *options) where(cfg config.Config) string {
	switch {
	case o.file == "":
		return "--data " + quoted(cfg.Data)
	case o.data == "":
		return "--config " + quoted(o.file)
	}
	return "--config " + quoted(o.file) + " --data " + quoted(cfg.Data)
}

// makeData makes the data folder and certificate authority.
func makeData(cfg config.Config, authority certs.Options) error {
	if err := os.MkdirAll(cfg.Data, 0o700); err != nil {
		return fmt.Errorf("make data folder: %w", err)
	}
	if err := certs.Create(filepath.Join(cfg.Data, config.CAFolder), authority); err != nil {
		return fmt.Errorf("make certificate authority: %w", err)
	}
	return nil
}

// present names what an earlier run that was cut off has left.
func present(cfg config.Config) (names []string) {
	for _, f := range []struct{ path, name string }{{config.CAFolder, "certificate authority"}, {config.StoreFile, "store"}} {
		if durable.Exists(filepath.Join(cfg.Data, f.path)) {
			names = append(names, f.name)
		}
	}
	return names
}

// sameRoot compares the first certificates of two PEM files.
func sameRoot(a, b []byte) bool {
	x, _ := pem.Decode(a)
	y, _ := pem.Decode(b)
	return x != nil && y != nil && bytes.Equal(x.Bytes, y.Bytes)
}

// errOtherAuthority: there was a certificate authority before.
var errOtherAuthority = errors.New("another certificate authority than --ca-root brings; it is kept")

// errMade: there was an operator before.
var errMade = errors.New("made already")

// firstOperator makes the store, if it is not there, with the first operator's
// access. If there is an operator it fails with errMade.
func firstOperator(ctx context.Context, cfg config.Config) (adminapi.Operator, error) {
	first := func(c *adminapi.Client) (adminapi.Operator, error) {
		return c.CreateOperator(ctx, adminapi.NewOperator{Name: "admin", Scope: string(broker.OperatorAdmin)})
	}
	if durable.Exists(filepath.Join(cfg.Data, config.StoreFile)) {
		all, err := onMachine(ctx, &cfg, func(c *adminapi.Client) ([]adminapi.Operator, error) { return c.Operators(ctx) })
		if err != nil {
			return adminapi.Operator{}, err
		}
		if len(all) > 0 {
			return adminapi.Operator{}, errMade
		}
		return onMachine(ctx, &cfg, first)
	}
	f, err := openFolder(ctx, &cfg)
	if err != nil {
		return adminapi.Operator{}, err
	}
	made, err := onFolder(ctx, f, first)
	return made, errors.Join(err, f.Close())
}
