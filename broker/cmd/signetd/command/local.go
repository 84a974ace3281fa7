package command

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"

	"github.com/signetd/signet/broker/adminapi"
	"github.com/signetd/signet/broker/backup"
	"github.com/signetd/signet/broker/boltstore"
	"github.com/signetd/signet/broker/config"
	"github.com/signetd/signet/broker/core"
	"github.com/signetd/signet/broker/durable"
	"github.com/signetd/signet/broker/localapi"
)

// A folder is a data folder that this process holds: its store, and the key that
// opens the secrets in it.
type folder struct {
	*boltstore.Store
	cfg   config.Config
	parts core.Parts
}

// Close writes down how far the store has come, and closes it.
func (f *folder) Close() error {
	return errors.Join(backup.WriteMark(context.Background(), &f.cfg, f.Store), f.Store.Close())
}

// reserve is how many bytes of the data folder's disk are kept for operators: a session or
// device that is ended takes some pages of 4 KiB.
const reserve = 16 << 20

// openFolder opens a data folder, and makes the store in it if there is none.
func openFolder(ctx context.Context, cfg *config.Config) (*folder, error) {
	key, err := cfg.OpenKey()
	if err != nil {
		return nil, err
	}
	s, err := boltstore.Open(ctx, cfg.StorePath(), boltstore.Options{Reserve: reserve})
	if err != nil {
		return nil, err
	}
	if err := checkMark(ctx, cfg, s); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return &folder{s, *cfg, core.Parts{Store: s, Sealer: key, Issuer: cfg.Issuer, HookNetworks: cfg.Hooks.Allow}}, nil
}

// checkStore judges the store in a data folder, and whether the key opens its secrets, as
// openFolder and core.New do, and changes nothing.
// Errors: *boltstore.HeldError if a signetd has it, then it was not looked at.
func checkStore(ctx context.Context, cfg *config.Config) error {
	g, err := boltstore.Look(ctx, cfg.StorePath())
	if err != nil {
		return err
	}
	if err := checkMark(ctx, cfg, g); err != nil {
		return err
	}
	if !durable.Exists(cfg.StorePath()) {
		return nil // a key is made with it
	}
	key, err := cfg.OpenKey()
	if err != nil {
		return err
	}
	return core.CheckKey(key, g.Secret)
}

// checkMark says what to do about a store that its folder's mark speaks against, or a mark
// that says nothing.
func checkMark(ctx context.Context, cfg *config.Config, s backup.Marked) error {
	err := backup.CheckMark(ctx, cfg, s)
	take := "signetd restore --in-place --data " + quoted(cfg.Data)
	if _, ok := errors.AsType[*backup.OlderError](err); ok {
		return &nextError{err, "put back the one that was here; or, if this copy is to be taken: " + take}
	}
	if _, ok := errors.AsType[*backup.DamagedMarkError](err); ok {
		return &nextError{err, "put back the mark; or, if the store that lies there is to be taken: " + take}
	}
	return err
}

// onMachine does something by the operators' API without a token: through the signetd
// that runs or, if none does, by opening the data folder for as long as it takes.
func onMachine[T any](ctx context.Context, cfg *config.Config, do func(*adminapi.Client) (T, error)) (T, error) {
	out, err := do(localapi.Client(cfg.Data))
	if !errors.Is(err, localapi.ErrNotRunning) {
		return out, err
	}
	if !durable.Exists(cfg.StorePath()) {
		return out, cfg.NoStore()
	}
	f, err := openFolder(ctx, cfg)
	if err != nil {
		return out, err
	}
	out, err = onFolder(ctx, f, do)
	return out, errors.Join(err, f.Close())
}

// onFolder does something by the operators' API over a folder that nobody serves.
func onFolder[T any](ctx context.Context, f *folder, do func(*adminapi.Client) (T, error)) (out T, err error) {
	c, err := core.New(ctx, f.parts)
	if err != nil {
		return out, err
	}
	defer c.Close()
	api, err := adminapi.Handler(adminapi.Config{Control: c.Control, Log: slog.New(slog.DiscardHandler), Local: true})
	if err != nil {
		return out, err
	}
	return do(adminapi.NewLocalClient(inProcess{api}))
}

// inProcess is the way to a handler in this process.
type inProcess struct{ handler http.Handler }

func (p inProcess) RoundTrip(r *http.Request) (*http.Response, error) {
	in := r.Clone(r.Context())
	if in.Body == nil {
		in.Body = http.NoBody
	}
	out := &answer{header: http.Header{}, status: http.StatusOK}
	p.handler.ServeHTTP(out, in)
	return &http.Response{
		StatusCode: out.status, Status: http.StatusText(out.status), Header: out.header,
		Body: io.NopCloser(&out.body), ContentLength: int64(out.body.Len()), Request: r,
	}, nil
}

// An answer is what a handler said.
type answer struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (a *answer) Header() http.Header { return a.header }

func (a *answer) WriteHeader(status int) { a.status = status }

func (a *answer) Write(b []byte) (int, error) { return a.body.Write(b) }
