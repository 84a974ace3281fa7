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
	"time"

	"github.com/signetd/signet/agent"
	"github.com/signetd/signet/agent/keyfile"
	"github.com/signetd/signet/agent/mqttlink"
	"github.com/signetd/signet/protocol"
	"github.com/signetd/signet/protocol/ident"
	"github.com/signetd/signet/protocol/strictjson"
)

const settingsName = "agent.json"

var (
	errNoDevice    = errors.New("no enrolled device found")
	errNotEnrolled = errors.New("the device has not enrolled yet")
	errOtherKey    = errors.New("the device has another key already")
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
}

// flags makes a flag set whose errors are errUsage.
func (p *program) flags(name string) *flag.FlagSet {
	f := flag.NewFlagSet(name, flag.ContinueOnError)
	f.SetOutput(io.Discard) // Main prints errors
	f.Usage = func() {}
	return f
}

func (p *program) parse(f *flag.FlagSet, args []string) error {
	err := f.Parse(args)
	switch {
	case errors.Is(err, flag.ErrHelp):
		fmt.Fprintf(p.out, "signet-agent %s\n", f.Name())
		f.SetOutput(p.out)
		f.PrintDefaults()
		return err
	case err != nil:
		return fmt.Errorf("%w: %w", errUsage, err)
	case f.NArg() > 0:
		return fmt.Errorf("%w: unexpected argument %q", errUsage, f.Arg(0))
	}
	return nil
}

// where says which device a command is about, and where its agent listens.
type where struct{ state, name, socket string }

func (w *where) flags(f *flag.FlagSet) {
	f.StringVar(&w.state, "state", "", "the device's own `folder`")
	f.StringVar(&w.name, "name", "", "the device's `name`")
}

func (w *where) socketFlag(f *flag.FlagSet) {
	f.StringVar(&w.socket, "socket", "", "Unix `socket` of the running agent (default: agent.sock in the device's folder; also SIGNET_AGENT_SOCKET)")
}

// find gives the device's folder and its agent's socket. Who names a socket and no
// device needs no folder: path is empty then.
func (p *program) find(w where) (path, socket string, err error) {
	socket = w.socket
	if socket == "" {
		socket = p.getenv("SIGNET_AGENT_SOCKET")
	}
	if socket != "" && w.state == "" && w.name == "" {
		return "", socket, nil
	}
	if path, err = p.folder(w.state, w.name); err != nil {
		return "", "", err
	}
	if socket == "" {
		socket = filepath.Join(path, socketName)
	}
	return path, socket, nil
}

// home is where devices' folders are unless a flag or systemd says otherwise.
func (p *program) home() string {
	base := p.getenv("XDG_STATE_HOME")
	if base == "" {
		base = filepath.Join(p.getenv("HOME"), ".local", "state")
	}
	return filepath.Join(base, "signet")
}

// folder finds the device's folder. Without a hint it is the only one there is.
func (p *program) folder(state, name string) (string, error) {
	if state == "" {
		state = p.getenv("STATE_DIRECTORY")
	}
	if state != "" {
		return state, nil
	}
	if name != "" {
		return filepath.Join(p.home(), name), nil
	}
	found, err := filepath.Glob(filepath.Join(p.home(), "*", settingsName))
	if err != nil || len(found) == 0 {
		return "", fmt.Errorf("%w in %s", errNoDevice, p.home())
	}
	if len(found) > 1 {
		return "", fmt.Errorf("%d devices in %s: name one with --name", len(found), p.home())
	}
	return filepath.Dir(found[0]), nil
}

func readSettings(d *keyfile.Dir) (settings, error) {
	var c settings
	raw, err := d.ReadFile(settingsName)
	if errors.Is(err, os.ErrNotExist) {
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
		"anchor": &c.Anchor, "psk_file": &c.SharedKeyFile, "answer_command": &c.AnswerCommand,
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
		return t, errors.New("read the CA file: no certificate in it, want PEM")
	}
	if c.Fingerprint == "" {
		return t, nil
	}
	b, err := hexPin(c.Fingerprint, 32)
	if err != nil {
		return t, fmt.Errorf("--ca-fingerprint: %w", err)
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
		return t, fmt.Errorf("%w: no root in the CA file has that --ca-fingerprint", errUsage)
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
func hexPin(s string, n int) ([]byte, error) {
	if word, rest, ok := strings.Cut(s, ":"); ok && strings.EqualFold(word, "sha256") {
		s = rest
	}
	b, err := hex.DecodeString(strings.NewReplacer(":", "", " ", "").Replace(s))
	if err != nil || len(b) < n || len(b) > 32 {
		return nil, fmt.Errorf("%w: want %d bytes in hex", errUsage, n)
	}
	return b, nil
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

// pin reads which anchor the operator gave the device, nil if none.
func (c *settings) pin() ([]byte, error) {
	if c.Anchor == "" {
		return nil, nil
	}
	pin, err := hexPin(c.Anchor, protocol.PinLen)
	if err != nil {
		return nil, fmt.Errorf("--anchor: %w", err)
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
		cfg.Solver = answerWith(c.AnswerCommand)
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
	return slog.New(slog.NewTextHandler(p.err, &slog.HandlerOptions{Level: level}))
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
