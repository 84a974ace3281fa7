package command

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/signetd/signet/broker/config"
	"github.com/signetd/signet/broker/daemon"
	"github.com/signetd/signet/broker/durable"
	"github.com/signetd/signet/broker/listing"
	"github.com/signetd/signet/certs"
	"github.com/signetd/signet/protocol/exit"
)

func (o *options) caCommand() *cobra.Command {
	c := &cobra.Command{Use: "ca", Short: "The certificate authority of the data folder", Args: knownCommand}
	var format string
	show := o.leaf("show", "Show its certificates and how long they last", "signetd ca show --data /var/lib/signet\nsignetd ca show -o json",
		func(context.Context, []string) error { return o.showCA(format) })
	o.formatFlag(show, &format)
	c.AddCommand(show, o.renewCommand())
	return c
}

func (o *options) renewCommand() *cobra.Command {
	var b bringing
	c := o.leaf("renew", "Make a new intermediate under the same root",
		"signetd ca renew --data /var/lib/signet\nsignetd ca renew --data /var/lib/signet --ca-root-key /media/safe/root.key",
		func(context.Context, []string) error { return o.renewCA(b) })
	c.Long = "Makes a new intermediate certificate, with a key of its own, under the same root: nothing changes for devices,\n" +
		"which know the root. It takes the root's key from the data folder or, if it was taken to a safe, from\n" +
		"--ca-root-key; or it brings an intermediate that somebody else made. A broker that runs takes the new one\n" +
		"within seconds."
	f := c.Flags()
	f.StringVar(&b.rootKey, "ca-root-key", "", "the root's private key, if it is not in the data folder; not kept: `file`, PEM")
	f.StringVar(&b.intermediate, "ca-intermediate", "", "or bring an intermediate under the same root: `file`, PEM")
	f.StringVar(&b.intermediateKey, "ca-intermediate-key", "", "the intermediate's private key: `file`, PEM")
	return c
}

// An authorityShown is what ca show tells a program.
type authorityShown struct {
	Root         certificateShown `json:"root"`
	Intermediate certificateShown `json:"intermediate"`
	RootKey      string           `json:"root_key,omitempty"` // its file; absent: not in the folder
	Warnings     []string         `json:"warnings"`
}

type certificateShown struct {
	Subject   string    `json:"subject"`
	SHA256    string    `json:"sha256"` // of the certificate, in hex: what --ca-fingerprint takes
	NotBefore time.Time `json:"not_before"`
	NotAfter  time.Time `json:"not_after"`
}

func shown(c *x509.Certificate) certificateShown {
	sum := sha256.Sum256(c.Raw)
	return certificateShown{c.Subject.String(), hex.EncodeToString(sum[:]), c.NotBefore.UTC(), c.NotAfter.UTC()}
}

func (o *options) showCA(format string) error {
	cfg, err := o.config(config.Default())
	if err != nil {
		return err
	}
	folder := filepath.Join(cfg.Data, config.CAFolder)
	own, err := certs.Show(folder)
	if err != nil {
		return o.caError(cfg, err)
	}
	what := authorityShown{Root: shown(own.Root), Intermediate: shown(own.Intermediate), Warnings: []string{}}
	if own.RootKey {
		what.RootKey = filepath.Join(folder, certs.RootKeyFile)
	}
	for _, l := range lives(own, o.where(cfg)) {
		if w := l.Warning(time.Now()); w != "" {
			what.Warnings = append(what.Warnings, w)
		}
	}
	if format != "table" {
		row := func(name string, c certificateShown) []string {
			return []string{name, c.Subject, c.SHA256, c.NotBefore.Format(time.RFC3339), c.NotAfter.Format(time.RFC3339)}
		}
		return listing.Show(o.stdout, format, what, []string{"CERTIFICATE", "SUBJECT", "SHA-256", "NOT BEFORE", "NOT AFTER"}, row("root", what.Root), row("intermediate", what.Intermediate))
	}
	for _, c := range []struct {
		name string
		certificateShown
	}{{"root", what.Root}, {"intermediate", what.Intermediate}} {
		fmt.Fprintf(o.stdout, "%-12s  %s\n  SHA-256     %s\n  valid       %s to %s\n", c.name, c.Subject, c.SHA256, c.NotBefore.Format(time.DateOnly), c.NotAfter.Format(time.DateOnly))
	}
	where := "not in " + folder
	if own.RootKey {
		where = what.RootKey + ": take it to a safe, signetd ca renew alone needs it"
	}
	fmt.Fprintln(o.stdout, "root's key   ", where)
	for _, w := range what.Warnings {
		fmt.Fprintln(o.stdout, "warning:", w)
	}
	return nil
}

func (o *options) renewCA(b bringing) error {
	cfg, err := o.config(config.Default())
	if err != nil {
		return err
	}
	brought, err := b.options()
	if err != nil {
		return err
	}
	own, err := certs.ReplaceIntermediate(filepath.Join(cfg.Data, config.CAFolder), certs.Replacement{
		RootKey: brought.RootKey, Intermediate: brought.Intermediate, IntermediateKey: brought.IntermediateKey,
	})
	if err != nil {
		return o.caError(cfg, err)
	}
	fmt.Fprintf(o.stdout, "made an intermediate that is valid until %s\na signetd that runs takes it within seconds\n", own.Intermediate.NotAfter.UTC().Format(time.DateOnly))
	return nil
}

// caError says what to do about an authority that cannot be used.
func (o *options) caError(cfg config.Config, err error) error {
	switch {
	case errors.Is(err, certs.ErrNoRootKey):
		return &nextError{err, "bring it for this once: signetd ca renew " + o.where(cfg) + " --ca-root-key FILE"}
	case errors.Is(err, certs.ErrExpired):
		return &nextError{err, o.expired(cfg)}
	case errors.Is(err, certs.ErrUnfit):
		return &nextError{err, "put back the file that belongs to the others in " + filepath.Join(cfg.Data, config.CAFolder) + ", from a backup, or bring the right one"}
	case errors.Is(err, fs.ErrNotExist) && !durable.Exists(filepath.Join(cfg.Data, config.CAFolder)):
		return &nextError{exit.With(exit.NotFound, fmt.Errorf("no certificate authority in %s", cfg.Data)), "say where it is with --data, or make it: signetd init " + o.where(cfg)}
	}
	return err
}

// expired says what to do when a certificate of the authority is not valid now.
func (o *options) expired(cfg config.Config) string {
	own, err := certs.Show(filepath.Join(cfg.Data, config.CAFolder))
	now := time.Now()
	switch {
	case err != nil:
		return "signetd ca show " + o.where(cfg)
	case now.Before(own.Root.NotBefore) || now.Before(own.Intermediate.NotBefore):
		return "it begins later: is this machine's clock right?"
	case !now.Before(own.Root.NotAfter):
		return "the root has ended, which devices are given by hand: make another authority in another folder with signetd init, and give its root to the devices"
	}
	return "make a new intermediate: signetd ca renew " + o.where(cfg)
}

// lives tells the daemon how long the authority's certificates last; where names the
// configuration.
func lives(own certs.Certificates, where string) []daemon.Life {
	return []daemon.Life{
		{Certificate: "root", Expires: own.Root.NotAfter, Due: certs.Due(own.Root), Renew: "give devices another root before: they know this one"},
		{Certificate: "intermediate", Expires: own.Intermediate.NotAfter, Due: certs.Due(own.Intermediate), Renew: "signetd ca renew " + where},
	}
}

// warnOfCA says if signetd could not start with the certificate authority that went into a
// backup or came out of one. A backup is worth having even so: devices' keys are in the store.
func (o *options) warnOfCA(cfg config.Config) {
	ca, err := openCA(cfg, o)
	if err == nil {
		err = ca.Close()
	}
	if err != nil {
		fmt.Fprintln(o.stderr, "signetd: warning:", err)
	}
	if next, ok := errors.AsType[*nextError](err); ok {
		fmt.Fprintln(o.stderr, "  "+next.next)
	}
}

// checkCA says what is to be said of the authority's certificates before signetd starts.
// A folder that is not made yet has none.
func (o *options) checkCA(cfg config.Config) error {
	folder := filepath.Join(cfg.Data, config.CAFolder)
	if !durable.Exists(folder) {
		return nil
	}
	ca, err := openCA(cfg, o)
	if err != nil {
		return err
	}
	for _, l := range lives(ca.Certificates(), o.where(cfg)) {
		if w := l.Warning(time.Now()); w != "" {
			fmt.Fprintln(o.stderr, "signetd: warning:", w)
		}
	}
	return ca.Close()
}
