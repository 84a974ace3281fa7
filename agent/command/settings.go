package command

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"flag"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/signetd/signet/agent"
	"github.com/signetd/signet/agent/keyfile"
	"github.com/signetd/signet/agent/localapi"
	"github.com/signetd/signet/agent/mqttlink"
	"github.com/signetd/signet/protocol"
	"github.com/signetd/signet/protocol/environ"
	"github.com/signetd/signet/protocol/exit"
	"github.com/signetd/signet/protocol/ident"
	"github.com/signetd/signet/protocol/output"
	"github.com/signetd/signet/protocol/strictjson"
)

const settingsName = "agent.json"

var (
	errNoDevice    = errors.New("no enrolled device found")
	errNoSettings  = fmt.Errorf("%w: the state of one is there, and no "+settingsName, errNoDevice)
	errNotEnrolled = errors.New("the device has not enrolled yet")
	errOtherKey    = errors.New("the device has another key already")
	errNoHome      = errors.New("no place for the device: neither HOME nor XDG_STATE_HOME names a folder")
	errOtherName   = errors.New("that is another device's folder")
	errWhich       = errors.New("name one")

	errPin        = exit.Usagef("want the SHA-256 of the root in hex, 64 digits")
	errThumbprint = exit.Usagef("want the thumbprint of the pool's anchor in hex, its first 32 digits or more")
	errOtherRoot  = exit.Usagef("no root in the CA file has that --ca-fingerprint")
)

// released is when Go 1.26 was, which this source needs: it is certainly later.
// What programs that were built outside a repository know of the time.
var released = time.Date(2026, time.February, 1, 0, 0, 0, 0, time.UTC)

// settings is what enroll was told and the other commands need again. No secrets.
type settings struct {
	Broker        string       `json:"broker"`
	Device        ident.Device `json:"device"`
	Client        string       `json:"client,omitempty"`
	CA            string       `json:"ca,omitempty"` // PEM
	Fingerprint   string       `json:"ca_fingerprint,omitempty"`
	Anchor        string       `json:"anchor,omitempty"`
	SharedKeyFile string       `json:"psk_file,omitempty"`
	AnswerCommand string       `json:"answer_command,omitempty"`
	// PendingSince is when the broker first said that an operator has yet to approve the
	// device, in seconds since 1970 by this machine's clock; 0: it has not, or not any more.
	PendingSince int64 `json:"pending_since,omitempty"`
}

// flags makes a flag set whose errors are errUsage.
func (p *program) flags(name string) *flag.FlagSet {
	f := flag.NewFlagSet(name, flag.ContinueOnError)
	f.SetOutput(io.Discard) // Main prints errors
	f.Usage = func() {}
	return f
}

// or reads a flag that was not given from its variable.
func (p *program) or(flag *string, variable string) {
	if *flag == "" {
		*flag = p.getenv(variable)
	}
}

// where says which device a command is about, and where its agent listens.
type where struct{ state, name, socket string }

func (w *where) flags(f *flag.FlagSet) {
	f.StringVar(&w.state, "state", "", "the device's own `folder`; also "+environ.State)
	f.StringVar(&w.name, "name", "", "the device's `name`; also "+environ.Name)
}

func (w *where) socketFlag(f *flag.FlagSet) {
	f.StringVar(&w.socket, "socket", "", "Unix `socket` of the running agent (default agent.sock in the device's folder); also "+environ.AgentSocket)
}

// find gives the device's folder and its agent's socket. Who names a socket and no
// device needs no folder: path is empty then.
func (p *program) find(w where) (path, socket string, err error) {
	socket = w.socket
	p.or(&socket, environ.AgentSocket)
	if socket != "" && w.state == "" && w.name == "" {
		return "", socket, nil
	}
	if path, err = p.folder(w); err != nil {
		return "", "", err
	}
	if view, err := keyfile.View(path); err == nil {
		if c, err := readSettings(view); err == nil {
			p.device, p.secret, p.view = c.Device, c.SharedKeyFile, view
		}
	}
	if socket == "" {
		socket = p.usualSocket(path)
	}
	return path, socket, nil
}

// usualSocket is where the agent of a folder listens unless it is told otherwise: in the
// folder or, if nothing can be made there, in the user's own place for what lasts as long
// as the machine runs.
func (p *program) usualSocket(path string) string {
	const writable = 2 // W_OK of access(2)
	err := syscall.Access(path, writable)
	base := p.getenv("XDG_RUNTIME_DIR")
	if !filepath.IsAbs(base) && os.Getuid() == 0 {
		base = "/run"
	}
	full, absErr := filepath.Abs(path)
	if err != syscall.EROFS && err != syscall.EACCES || !filepath.IsAbs(base) || absErr != nil {
		return filepath.Join(path, socketName)
	}
	sum := sha256.Sum256([]byte(full))
	return filepath.Join(base, "signet-agent-"+hex.EncodeToString(sum[:8])+".sock")
}

// Patience with other commands that use the device's folder: each is done within
// onceTimeout, and some may wait already.
const (
	lockPatience = 2 * time.Minute
	lockPoll     = 50 * time.Millisecond
)

// runHolds is what run tells others that want the folder.
const runHolds = "run"

// errRunning says that an agent runs on the folder: it is to be asked.
var errRunning = errors.New("a signet-agent runs on this device")

// hold locks a device's folder. It waits for other commands that do, but not for a
// running agent, whose end nobody knows: errors wrap errRunning then.
func (p *program) hold(ctx context.Context, path, socket string) (*keyfile.Dir, error) {
	ctx, cancel := context.WithTimeout(ctx, lockPatience)
	defer cancel()
	for said, runs := false, 0; ; {
		d, err := keyfile.Open(path, nil)
		if !errors.Is(err, keyfile.ErrHeld) {
			return d, err
		}
		if runs++; keyfile.Holder(path) != runHolds {
			runs = 0
		}
		if localapi.Answers(ctx, socket) || runs > 2 { // once may be the word of one that is gone
			return nil, fmt.Errorf("%w: %s", errRunning, path)
		}
		if p.lasting && !said {
			said = true
			p.log().Info("waiting for another signet-agent to be done with the folder", "folder", path)
		}
		select {
		case <-time.After(lockPoll):
		case <-ctx.Done():
			return nil, err
		}
	}
}

// home is where devices' folders are unless a flag, a variable or systemd says otherwise.
func (p *program) home() (string, error) {
	if base, ok := environ.Base(p.getenv, "XDG_STATE_HOME", ".local", "state"); ok {
		return filepath.Join(base, "signet"), nil
	}
	return "", errNoHome
}

// stated are the folders that a flag, a variable or systemd names: none, one, or what
// systemd made of several StateDirectory=, between colons (systemd.exec(5)).
func (p *program) stated(flag string) []string {
	p.or(&flag, environ.State)
	if flag != "" {
		return []string{flag}
	}
	return slices.DeleteFunc(strings.Split(p.getenv("STATE_DIRECTORY"), ":"), func(dir string) bool { return !filepath.IsAbs(dir) })
}

// place is the folder that is meant, whether a device is in it or not, "" if nothing says:
// of several the first that has a device of that name, or else the first.
func (p *program) place(state, name string) (string, error) {
	if dirs := p.stated(state); len(dirs) > 0 {
		for _, dir := range dirs {
			if len(dirs) > 1 && p.holds(dir, name) {
				return dir, nil
			}
		}
		return dirs[0], nil
	}
	if name == "" {
		return "", nil
	}
	home, err := p.home()
	return filepath.Join(home, name), err
}

// holds tells whether a folder has a device, and that of the name if there is one.
func (p *program) holds(dir, name string) bool {
	view, err := keyfile.View(dir)
	if err != nil {
		return false
	}
	c, err := readSettings(view)
	return err == nil && (name == "" || c.Device.Name.String() == name)
}

// folder finds the folder of a device that is there. Without a hint it is the only one.
// Errors wrap errOtherName if the folder that was named is another device's.
func (p *program) folder(w where) (string, error) {
	if w.state == "" {
		p.or(&w.name, environ.Name)
	}
	path, err := p.place(w.state, w.name)
	if err != nil {
		return "", err
	}
	if path != "" {
		if view, err := keyfile.View(path); err == nil && w.name != "" {
			if c, err := readSettings(view); err == nil && c.Device.Name.String() != w.name {
				return "", fmt.Errorf("%w: %s is %s, not %s", errOtherName, path, c.Device, w.name)
			}
		}
		return path, nil
	}
	home, err := p.home()
	if err != nil {
		return "", err
	}
	found, err := filepath.Glob(filepath.Join(home, "*", settingsName))
	if err != nil || len(found) == 0 {
		return "", fmt.Errorf("%w in %s", errNoDevice, home)
	}
	if len(found) > 1 {
		names := make([]string, len(found))
		for i, file := range found {
			names[i] = filepath.Base(filepath.Dir(file))
		}
		return "", fmt.Errorf("%d devices in %s: %s: %w", len(found), home, strings.Join(names, ", "), errWhich)
	}
	return filepath.Dir(found[0]), nil
}

func readSettings(d *keyfile.Dir) (settings, error) {
	var c settings
	raw, err := d.ReadFile(settingsName)
	if errors.Is(err, os.ErrNotExist) {
		if d.Enrolled() {
			return c, fmt.Errorf("%w in %s", errNoSettings, d.Path())
		}
		return c, fmt.Errorf("%w in %s", errNoDevice, d.Path())
	}
	if err != nil {
		return c, err
	}
	if c, err = parseSettings(raw); err != nil {
		return c, fmt.Errorf("read %s: %w", filepath.Join(d.Path(), settingsName), err)
	}
	return c, nil
}

// maxSettings is far above any bundle of root certificates, in bytes.
const maxSettings = 4 << 20

func parseSettings(raw []byte) (c settings, err error) {
	var device string
	unknown, err := strictjson.Read(raw, maxSettings, strictjson.Fields{
		"broker": &c.Broker, "device": &device, "client": &c.Client, "ca": &c.CA, "ca_fingerprint": &c.Fingerprint,
		"anchor": &c.Anchor, "psk_file": &c.SharedKeyFile, "answer_command": &c.AnswerCommand, "pending_since": &c.PendingSince,
	})
	if err != nil {
		return c, err
	}
	if len(unknown) > 0 {
		return c, fmt.Errorf("unknown member %q", unknown[0])
	}
	c.Device, err = ident.ParseDevice(device)
	return c, err
}

func (c *settings) save(d *keyfile.Dir) error {
	raw, err := json.MarshalIndent(c, "", "  ")
	if err != nil {
		return err
	}
	return d.WriteFile(settingsName, append(raw, '\n'))
}

// trust reads whom to believe; floor is an instant that has passed.
func (c *settings) trust(floor func() time.Time) (mqttlink.Trust, error) {
	t := mqttlink.Trust{Floor: floor, Built: built()}
	rest := []byte(c.CA)
	for {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return t, fmt.Errorf("read the CA file: %w", err)
		}
		t.Roots = append(t.Roots, cert)
	}
	if c.CA != "" && len(t.Roots) == 0 {
		return t, exit.Usagef("no certificate in the CA file, want PEM")
	}
	if c.Fingerprint == "" {
		return t, nil
	}
	b, ok := hexPin(c.Fingerprint, sha256.Size)
	if !ok {
		return t, fmt.Errorf("--ca-fingerprint %q: %w", c.Fingerprint, errPin)
	}
	if c.CA == "" {
		t.Fingerprint = b
		return t, nil
	}
	t.Roots = slices.DeleteFunc(t.Roots, func(root *x509.Certificate) bool {
		sum := sha256.Sum256(root.Raw)
		return !bytes.Equal(sum[:], b)
	})
	if len(t.Roots) == 0 {
		return t, errOtherRoot
	}
	return t, nil
}

// learn takes over the root that the fingerprint has led to, so that the broker
// need not send it ever again.
func (c *settings) learn(conn agent.Connection) {
	l, ok := conn.(interface{ Root() *x509.Certificate })
	if !ok || c.CA != "" || c.Fingerprint == "" || l.Root() == nil {
		return
	}
	c.CA = string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: l.Root().Raw}))
}

// hexPin reads hex, with or without colons and the word SHA256 before it, of at
// least n bytes.
func hexPin(s string, n int) (pin []byte, ok bool) {
	if word, rest, ok := strings.Cut(s, ":"); ok && strings.EqualFold(word, "sha256") {
		s = rest
	}
	b, err := hex.DecodeString(strings.NewReplacer(":", "", " ", "").Replace(s))
	return b, err == nil && len(b) >= n && len(b) <= sha256.Size
}

// prover opens the device's key, or makes one. Errors wrap errOtherKey if it is not
// of the kind asked for; "" asks for none.
func (c *settings) prover(ctx context.Context, d *keyfile.Dir, kind keyfile.Kind) (agent.Prover, error) {
	if c.SharedKeyFile != "" {
		return keyfile.ReadSharedKey(c.SharedKeyFile)
	}
	key, err := d.Key(ctx, kind)
	if err != nil {
		return nil, err
	}
	if kind != "" && key.Algorithm() != kind {
		return nil, fmt.Errorf("%w: %s, not %s", errOtherKey, key.Algorithm(), kind)
	}
	return key, nil
}

// checkKey says what is wrong with the key of a device, as far as its folder tells: nothing of
// one that was never let in. It makes none.
func (c *settings) checkKey(ctx context.Context, d *keyfile.Dir, r *agent.Record) error {
	if !r.Enrolled {
		return nil
	}
	prover, err := c.prover(ctx, d, "")
	if err == nil && !r.Fits(prover) {
		err = agent.ErrOtherSecret
	}
	return err
}

// pin reads which anchor the operator gave the device, nil if none.
func (c *settings) pin() ([]byte, error) {
	if c.Anchor == "" {
		return nil, nil
	}
	pin, ok := hexPin(c.Anchor, protocol.PinLen)
	if !ok {
		return nil, fmt.Errorf("--anchor %q: %w", c.Anchor, errThumbprint)
	}
	return pin, nil
}

// agent puts the device together from its folder.
func (p *program) agent(ctx context.Context, c *settings, state agent.State, prover agent.Prover) (*agent.Agent, error) {
	cfg := agent.Config{Device: c.Device, Client: c.Client, Prover: prover, State: state, Built: built(), Clock: p.now, Log: p.log()}
	var err error
	if cfg.Pin, err = c.pin(); err != nil {
		return nil, err
	}
	if c.AnswerCommand != "" {
		cfg.Solver = answerWith(c.AnswerCommand, answerTime)
	} else if p.desk != nil {
		cfg.Solver, cfg.Patience = p.desk.solve, patience
	}
	return agent.New(ctx, cfg)
}

// log is for what happens to a device while nobody looks; a command that is over
// at once only warns. No secrets.
func (p *program) log() *slog.Logger {
	level := slog.LevelWarn
	if p.lasting {
		level = slog.LevelInfo
	}
	return slog.New(slog.NewTextHandler(p.err, &slog.HandlerOptions{Level: level, ReplaceAttr: inWords}))
}

// inWords says errors as people are told them.
func inWords(_ []string, a slog.Attr) slog.Attr {
	if err, ok := a.Value.Any().(error); ok {
		a.Value = slog.StringValue(output.Words(err))
	}
	return a
}

// dialer connects this device to its broker; floor is an instant that has passed.
func (c *settings) dialer(floor func() time.Time) (agent.Dialer, error) {
	trust, err := c.trust(floor)
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context, cred *agent.Credential) (agent.Connection, error) {
		l, err := mqttlink.Dial(ctx, mqttlink.Options{Broker: c.Broker, Proxy: http.ProxyFromEnvironment, Trust: trust, Credential: cred})
		if err != nil {
			return nil, err // not a nil *Link in a Connection
		}
		return l, nil
	}, nil
}

// built is when this program's source was committed, as far as it knows: it is
// certainly later now.
func built() time.Time {
	at := released
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if s.Key != "vcs.time" {
				continue
			}
			if t, err := time.Parse(time.RFC3339, s.Value); err == nil && t.After(at) {
				at = t
			}
		}
	}
	return at
}
