package command

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/signetd/signet/broker/config"
	"github.com/signetd/signet/broker/daemon"
	"github.com/signetd/signet/certs"
)

// lookEvery is how soon an authority that was replaced in its folder is taken.
const lookEvery = 2 * time.Second

// An authority is the daemon's view of the certificate authority in the data folder: of the
// one that is there now. Another one there, with another intermediate or root, takes the
// place of the present one while connections go on.
type authority struct {
	now    atomic.Pointer[authorityNow]
	open   func(context.Context) (*authorityNow, error)
	folder string
	where  string // names the configuration

	// Of the watching goroutine, until it has ended.
	opened  []*certs.Authority // to be closed at the end: a handshake may still be at one
	refused []byte             // what the folder had when it could not be taken
}

var _ daemon.Certificates = (*authority)(nil)

// An authorityNow is an authority as it was read once, with the server's own certificate.
type authorityNow struct {
	*certs.ServerCertificate
	ca    *certs.Authority
	files []byte // root and intermediate as they were in the folder
}

// openAuthority opens the folder's authority. Close must follow.
func (o *options) openAuthority(ctx context.Context, cfg config.Config) (*authority, error) {
	a := &authority{folder: filepath.Join(cfg.Data, config.CAFolder), where: o.where(cfg)}
	a.open = func(ctx context.Context) (*authorityNow, error) {
		files := a.files()
		ca, err := openCA(cfg, o)
		if err != nil {
			return nil, err
		}
		own, err := ca.NewServerCertificate(ctx, serverNames(&cfg), 0)
		if err != nil {
			return nil, errors.Join(fmt.Errorf("server certificate: %w", err), ca.Close())
		}
		return &authorityNow{own, ca, files}, nil
	}
	now, err := a.open(ctx)
	if err != nil {
		return nil, err
	}
	a.take(now)
	return a, nil
}

func (a *authority) take(now *authorityNow) {
	a.opened = append(a.opened, now.ca)
	a.now.Store(now)
}

// files gives what the folder's certificates are now; what cannot be read is nothing.
func (a *authority) files() []byte {
	var all [][]byte
	for _, name := range []string{certs.RootFile, certs.IntermediateFile} {
		raw, _ := os.ReadFile(filepath.Join(a.folder, name)) // whoever opens it says why
		all = append(all, raw)
	}
	return bytes.Join(all, []byte{0})
}

// watch takes what comes into the folder, until ctx ends.
func (a *authority) watch(ctx context.Context, log *slog.Logger) {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			a.look(ctx, log)
		}
	}
}

// look takes the folder's authority if it is another one. One that cannot be used may not be
// whole yet: it is told of once, and tried again.
func (a *authority) look(ctx context.Context, log *slog.Logger) {
	files := a.files()
	if bytes.Equal(files, a.now.Load().files) {
		return
	}
	now, err := a.open(ctx)
	if err != nil {
		if !bytes.Equal(files, a.refused) {
			log.WarnContext(ctx, "another certificate authority is in the folder and cannot be used; going on with the last one", "folder", a.folder, "err", err)
		}
		a.refused = files
		return
	}
	a.take(now)
	a.refused = nil
	own := now.ca.Certificates()
	log.InfoContext(ctx, "took the certificate authority that is in the folder now", "root", own.Root.Subject.String(), "root_sha256", now.ca.Fingerprint(),
		"intermediate_expires", own.Intermediate.NotAfter)
}

// Close ends it.
func (a *authority) Close() error {
	var errs []error
	for _, ca := range a.opened {
		errs = append(errs, ca.Close())
	}
	return errors.Join(errs...)
}

// GetCertificate gives the server's own certificate, under the present authority.
func (a *authority) GetCertificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	return a.now.Load().GetCertificate(hello)
}

// Roots is the trust bundle.
func (a *authority) Roots() []byte { return a.now.Load().ca.Roots() }

// Fingerprint is the SHA-256 of the root in hex.
func (a *authority) Fingerprint() string { return a.now.Load().ca.Fingerprint() }

// Lives tells how long its certificates last.
func (a *authority) Lives() []daemon.Life {
	now := a.now.Load()
	return append(lives(now.ca.Certificates(), a.where), daemon.Life{Certificate: "server", Expires: now.Leaf().NotAfter})
}
