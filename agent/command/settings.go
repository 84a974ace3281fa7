package command

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime/debug"
	"strings"
	"time"

	"github.com/signetd/signet/agent"
	"github.com/signetd/signet/agent/keyfile"
	"github.com/signetd/signet/agent/mqttlink"
	"github.com/signetd/signet/protocol/ident"
)

const settingsName = "agent.json"

var errNoDevice = errors.New("no enrolled device found")

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
func (s *session) flags(name string) *flag.FlagSet {
	f := flag.NewFlagSet(name, flag.ContinueOnError)
	f.SetOutput(s.err)
	return f
}

func parse(f *flag.FlagSet, args []string) error {
	if err := f.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return err
		}
		return fmt.Errorf("%w: %w", errUsage, err)
	}
	if f.NArg() > 0 {
		return fmt.Errorf("%w: unexpected argument %q", errUsage, f.Arg(0))
	}
	return nil
}

// home is where devices' folders are unless a flag or systemd says otherwise.
func (s *session) home() string {
	base := s.getenv("XDG_STATE_HOME")
	if base == "" {
		base = filepath.Join(s.getenv("HOME"), ".local", "state")
	}
	return filepath.Join(base, "signet")
}

// folder finds the device's folder. Without a hint it is the only one there is.
func (s *session) folder(state, name string) (string, error) {
	if state == "" {
		state = s.getenv("STATE_DIRECTORY")
	}
	if state != "" {
		return state, nil
	}
	if name != "" {
		return filepath.Join(s.home(), name), nil
	}
	found, err := filepath.Glob(filepath.Join(s.home(), "*", settingsName))
	if err != nil || len(found) == 0 {
		return "", fmt.Errorf("%w in %s", errNoDevice, s.home())
	}
	if len(found) > 1 {
		return "", fmt.Errorf("%w: %d devices in %s", errNoDevice, len(found), s.home())
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
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&c); err != nil {
		return c, fmt.Errorf("read %s: %w", filepath.Join(d.Path(), settingsName), err)
	}
	return c, nil
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
	t := mqttlink.Trust{Floor: floor}
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
	if c.Fingerprint != "" {
		b, err := hexPin(c.Fingerprint, 32)
		if err != nil {
			return t, fmt.Errorf("--ca-fingerprint: %w", err)
		}
		t.Fingerprint = b
	}
	return t, nil
}

// hexPin reads hex, with or without colons, of at least n bytes.
func hexPin(s string, n int) ([]byte, error) {
	b, err := hex.DecodeString(strings.NewReplacer(":", "", " ", "").Replace(s))
	if err != nil || len(b) < n || len(b) > 32 {
		return nil, fmt.Errorf("%w: want %d bytes in hex", errUsage, n)
	}
	return b, nil
}

// prover opens the device's key.
func (c *settings) prover(ctx context.Context, d *keyfile.Dir, kind keyfile.Kind) (agent.Prover, error) {
	if c.SharedKeyFile != "" {
		return keyfile.ReadSharedKey(c.SharedKeyFile)
	}
	return d.Key(ctx, kind)
}

// agent puts the device together from its folder.
func (c *settings) agent(ctx context.Context, d *keyfile.Dir, prover agent.Prover) (*agent.Agent, error) {
	cfg := agent.Config{Device: c.Device, Client: c.Client, Prover: prover, State: d, Built: built()}
	if c.Anchor != "" {
		pin, err := hexPin(c.Anchor, 16)
		if err != nil {
			return nil, fmt.Errorf("--anchor: %w", err)
		}
		cfg.Pin = pin
	}
	if c.AnswerCommand != "" {
		cfg.Solver = answerWith(c.AnswerCommand)
	}
	return agent.New(ctx, cfg)
}

// dialer connects this device to its broker.
func (c *settings) dialer(a *agent.Agent) (agent.Dialer, error) {
	trust, err := c.trust(a.Floor)
	if err != nil {
		return nil, err
	}
	return func(ctx context.Context, cred *agent.Credential) (agent.Connection, error) {
		return mqttlink.Dial(ctx, mqttlink.Options{Broker: c.Broker, Trust: trust, Credential: cred})
	}, nil
}

// answerWith runs a program for a custom challenge: the kind is its argument, the
// parameters come as JSON on its standard input, the answer is its output without
// the last newline.
func answerWith(path string) agent.Solver {
	return func(ctx context.Context, kind string, params map[string]string) ([]byte, error) {
		in, err := json.Marshal(params)
		if err != nil {
			return nil, err
		}
		cmd := exec.CommandContext(ctx, path, kind)
		cmd.Stdin = bytes.NewReader(in)
		out, err := cmd.Output()
		if err != nil {
			return nil, fmt.Errorf("%s %s: %w", path, kind, err)
		}
		return bytes.TrimSuffix(out, []byte("\n")), nil
	}
}

// built is when this program's source was committed: it is certainly later now.
func built() time.Time {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return time.Time{}
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.time" {
			if t, err := time.Parse(time.RFC3339, s.Value); err == nil {
				return t
			}
		}
	}
	return time.Time{}
}
