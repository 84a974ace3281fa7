package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/signetd/signet/broker/durable"
	"github.com/signetd/signet/broker/problem"
	"github.com/signetd/signet/protocol/environ"
	"github.com/signetd/signet/protocol/exit"
	"github.com/signetd/signet/protocol/strictjson"
)

// A connection is how to reach a broker.
type connection struct {
	Server string `json:"server"`
	Token  string `json:"token"`
	CA     string `json:"ca,omitempty"` // path of a PEM file
	// Fingerprint is the SHA-256 of the root in hex, instead of CA.
	Fingerprint string `json:"caFingerprint,omitempty"`

	// Pool is the pool that commands work in which name none; may be empty.
	Pool string `json:"pool,omitempty"`

	tokenFile string // where Token comes from, if not from itself
	profile   string // that it is of; empty: of none
}

// profiles is the profile file: mode 0600, because it holds tokens.
type profiles struct {
	Current  string                `json:"current"`
	Profiles map[string]connection `json:"profiles"`
}

const (
	defaultProfile = "default"
	maxTokenFile   = 4096    // bytes
	maxProfiles    = 1 << 20 // bytes of the profile file
)

// profilePath gives $XDG_CONFIG_HOME/signet/profiles.json, or the one below ~/.config.
func (a *app) profilePath() (string, error) {
	dir, ok := environ.Base(a.Getenv, "XDG_CONFIG_HOME", ".config")
	if !ok {
		return "", &hintedError{usagef("no place for profiles: neither XDG_CONFIG_HOME nor HOME names a folder by an absolute path"),
			"set one of them; or do without a profile: --server and --token-file, or " + environ.Server + " and " + environ.Token}
	}
	return filepath.Join(dir, "signet", "profiles.json"), nil
}

// profiles finds and reads the profile file, and gives its path.
func (a *app) profiles() (stored profiles, path string, err error) {
	if path, err = a.profilePath(); err != nil {
		return stored, "", err
	}
	stored, err = readProfiles(path)
	return stored, path, err
}

// readProfiles gives an empty set if there is no file.
func readProfiles(path string) (profiles, error) {
	p := profiles{Current: defaultProfile, Profiles: map[string]connection{}}
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return p, nil
	}
	if err != nil {
		return p, fmt.Errorf("profiles: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return p, fmt.Errorf("profiles: %w", err)
	}
	if info.Mode().Perm()&0o077 != 0 {
		return p, &hintedError{fmt.Errorf("%s holds tokens and others may read it (mode %04o)", path, info.Mode().Perm()), "chmod 600 " + path}
	}
	raw, err := io.ReadAll(io.LimitReader(f, maxProfiles+1))
	if err == nil {
		err = strictjson.Unmarshal(raw, maxProfiles, &p)
	}
	if err != nil || p.Profiles == nil {
		return p, &hintedError{fmt.Errorf("%s is damaged", path), "delete it and run signet login again"}
	}
	return p, nil
}

// write replaces the file as a whole.
func (p profiles) write(path string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("profiles: %w", err)
	}
	raw, err := json.MarshalIndent(p, "", "  ")
	if err != nil {
		return fmt.Errorf("profiles: %w", err)
	}
	err = durable.Replace(path, func(f *os.File) error {
		_, err := f.Write(append(raw, '\n'))
		return err
	})
	if err != nil {
		return fmt.Errorf("profiles: %w", err)
	}
	return nil
}

// environment reads the parts of a connection that are set in the environment.
func (a *app) environment() connection {
	return connection{
		Server: a.Getenv(environ.Server), Token: a.Getenv(environ.Token), tokenFile: a.Getenv(environ.TokenFile),
		CA: a.Getenv(environ.CA), Fingerprint: a.Getenv(environ.CAFingerprint),
	}
}

// over lays c over d. Token and token file are one setting, and so are root and fingerprint.
func (c connection) over(d connection) connection {
	c.Server = first(c.Server, d.Server)
	if c.Token == "" && c.tokenFile == "" {
		c.Token, c.tokenFile = d.Token, d.tokenFile
	}
	if c.CA == "" && c.Fingerprint == "" {
		c.CA, c.Fingerprint = d.CA, d.Fingerprint
	}
	c.Pool = first(c.Pool, d.Pool)
	c.profile = first(c.profile, d.profile)
	return c
}

// readTokenFile reads the token from its file, if that is where it is.
func (a *app) readTokenFile(c *connection) error {
	if c.Token != "" && c.tokenFile != "" {
		return usagef("a token and a file with a token: give one of them")
	}
	if c.CA != "" && c.Fingerprint != "" {
		return usagef("a root certificate and a fingerprint: give one of them")
	}
	if c.tokenFile == "" {
		return nil
	}
	token, err := a.tokenIn(c.tokenFile)
	c.Token = token
	return err
}

// tokenIn reads an operator's token from a file or, for "-", standard input, which holds it alone.
func (a *app) tokenIn(file string) (string, error) {
	raw, err := a.readInput(file, maxTokenFile)
	if err != nil {
		return "", err
	}
	from := file
	if file == "-" {
		from = "standard input"
	}
	text := strings.TrimSpace(string(raw))
	if text == "" {
		return "", &hintedError{usagef("%s holds no token", from), "signet login ... < FILE, or --token-file FILE"}
	}
	return text, checkToken(text, from)
}

// checkToken refuses what cannot be an operator's token, before it is sent anywhere; from says
// where it was found.
func checkToken(text, from string) error {
	const file = "a file with a token holds it alone: signet operator create NAME > FILE makes one"
	switch words := strings.Fields(text); {
	case len(words) > 1:
		return &hintedError{usagef("%s has %d lines or words, and an operator's token is one alone", from, len(words)), file}
	case strings.HasPrefix(text, "sgne_"):
		return &hintedError{usagef("%s has an enrollment token, which is a device's; an operator's begins with sgnt_", from), "signet operator create NAME, or signetd operator create NAME on the broker's machine"}
	case strings.ContainsFunc(text, func(r rune) bool { return r <= ' ' || r > '~' }):
		return &hintedError{usagef("%s has characters that no operator's token has", from), file}
	}
	return nil
}

// connection puts flags before environment before profile. A profile that is named by a flag
// takes the environment's place. A profile's token goes to no other server than the profile's.
func (a *app) connection() (connection, error) {
	c, name := a.flags, a.profile
	if name == "" {
		c, name = c.over(a.environment()), a.Getenv(environ.Profile)
	}
	if err := a.readTokenFile(&c); err != nil {
		return c, err
	}
	if err := checkToken(c.Token, "--token or "+environ.Token); err != nil {
		return c, err
	}
	p, err := a.storedConnection(name)
	if err != nil && (name != "" || c.Server == "" || c.Token == "") {
		return c, err
	}
	if c.Server == "" || c.Server == p.Server {
		c = c.over(p)
	}
	if c.Server == "" {
		return c, &hintedError{usagef("which broker?"), "signet login --server URL, or --server, or " + environ.Server}
	}
	if c.Token == "" {
		return c, &hintedError{usagef("no operator's token for %s", c.Server), "signet login --server " + c.Server + ", or --token-file, or " + environ.Token}
	}
	return c, nil
}

// storedConnection gives a profile's connection: the current profile's if name is
// empty, which may be none.
func (a *app) storedConnection(name string) (connection, error) {
	path, err := a.profilePath()
	if err != nil {
		if name == "" {
			err = nil // nothing was asked of it
		}
		return connection{}, err
	}
	stored, err := readProfiles(path)
	if err != nil {
		return connection{}, err
	}
	found := first(name, stored.Current)
	p, ok := stored.Profiles[found]
	if ok {
		p.profile = found
	}
	if !ok && name != "" {
		return p, &hintedError{noProfile(name), "signet login --profile " + name + " --server URL"}
	}
	return p, nil
}

// noProfile is the error for a profile that is not there.
func noProfile(name string) error {
	return exit.With(exit.NotFound, fmt.Errorf("there is no profile %q", name))
}

func (a *app) profileNames() ([]string, error) {
	stored, _, err := a.profiles()
	return slices.Sorted(maps.Keys(stored.Profiles)), err
}

func first(values ...string) string {
	for _, v := range values {
		if v != "" {
			return v
		}
	}
	return ""
}

func (a *app) login() *cobra.Command {
	cmd := a.leaf("login", "Try a token and keep it in a profile",
		"signet login --server https://localhost:8443 --ca signet-dev/ca/root.pem\n"+
			"signet login --server https://signet.example:8443 --ca-fingerprint 0d4d25f5...c50c9e --token-file ada.token --profile lab", a.doLogin)
	cmd.Long = "Tries an operator's token against the broker and keeps it, the broker's URL and how to know the broker in a\n" +
		"profile that only you can read. The token is asked for, or read from standard input or --token-file, so that\n" +
		"it is not in the process list. Who has no token yet: signet operator create, or signetd operator create on the\n" +
		"broker's machine."
	return cmd
}

func (a *app) logout() *cobra.Command {
	cmd := a.leaf("logout", "Forget a profile and the token in it", "signet logout --profile lab", func(*cobra.Command, []string) error {
		stored, path, err := a.profiles()
		if err != nil {
			return err
		}
		name := first(a.profile, a.Getenv(environ.Profile), stored.Current)
		if _, ok := stored.Profiles[name]; !ok {
			return noProfile(name)
		}
		server := stored.Profiles[name].Server
		delete(stored.Profiles, name)
		if stored.Current == name {
			stored.Current = defaultProfile
		}
		if err := stored.write(path); err != nil {
			return err
		}
		return a.did(outcome{Action: "logout", Kind: "profile", Name: name, Server: server, Profile: name},
			"forgot profile %q; its token is good until it expires: signet operator delete ends it", name)
	})
	return cmd
}

// A profileEntry is a profile as it is listed: without its token.
type profileEntry struct {
	Name    string `json:"name"`
	Server  string `json:"server"`
	Pool    string `json:"pool,omitempty"`
	Current bool   `json:"current"`
}

// profileCommands manage the profiles that login makes.
func (a *app) profileCommands() *cobra.Command {
	listing := a.leaf("list", "List profiles; * is the one used when none is named", "signet profile list", func(*cobra.Command, []string) error {
		stored, _, err := a.profiles()
		if err != nil {
			return err
		}
		all := []profileEntry{}
		for _, name := range slices.Sorted(maps.Keys(stored.Profiles)) {
			p := stored.Profiles[name]
			all = append(all, profileEntry{name, p.Server, p.Pool, name == stored.Current})
		}
		return list(a, all, []string{"", "NAME", "SERVER", "POOL"}, func(e profileEntry) []string {
			mark := ""
			if e.Current {
				mark = "*"
			}
			return []string{mark, e.Name, e.Server, e.Pool}
		})
	})
	var pool string
	use := a.leaf("use NAME", "Use a profile when none is named", "signet profile use lab\nsignet profile use lab --pool home", func(cmd *cobra.Command, args []string) error {
		stored, path, err := a.profiles()
		if err != nil {
			return err
		}
		p, ok := stored.Profiles[args[0]]
		if !ok {
			return noProfile(args[0])
		}
		if cmd.Flags().Changed("pool") {
			p.Pool = pool
		}
		stored.Current, stored.Profiles[args[0]] = args[0], p
		if err := stored.write(path); err != nil {
			return err
		}
		return a.did(outcome{Action: "use", Kind: "profile", Name: args[0], Pool: p.Pool, Server: p.Server, Profile: args[0]}, "using profile %q: %s", args[0], p.Server)
	})
	use.Flags().StringVar(&pool, "pool", "", "`pool` that commands work in which name none, before which $"+environ.Pool+" goes; empty: none")
	use.ValidArgsFunction = a.completing(func(context.Context, string) ([]string, error) { return a.profileNames() })
	return group("profile", "Brokers that signet has logged in to", listing, use)
}

func (a *app) doLogin(cmd *cobra.Command, _ []string) error {
	c, err := a.toLogIn()
	if err != nil {
		return err
	}
	if c.Server == "" {
		return &hintedError{usagef("which broker?"), "signet login --server https://HOST:8443"}
	}
	if c.CA != "" {
		if c.CA, err = filepath.Abs(c.CA); err != nil {
			return fmt.Errorf("--ca: %w", err)
		}
	}
	if err := c.reach(cmd.Context()); err != nil { // before anybody types a token
		return err
	}
	if err := a.readTokenFile(&c); err != nil {
		return err
	}
	if c.Token == "" || c.Token == "-" {
		if c.Token, err = a.readToken(cmd.Context()); err != nil {
			return err
		}
	}
	if err := checkToken(c.Token, "what was given"); err != nil {
		return err
	}
	c.tokenFile = ""
	client, err := c.client()
	if err != nil {
		return err
	}
	s, err := client.Status(cmd.Context())
	var refused *problem.Problem
	if errors.As(err, &refused) && refused.Status == http.StatusUnauthorized {
		return &hintedError{err, "on the broker's machine: signetd operator create NAME"}
	}
	if err != nil {
		return err
	}
	stored, path, err := a.profiles()
	if err != nil {
		return err
	}
	name := first(a.profile, a.Getenv(environ.Profile), defaultProfile)
	c.Pool = first(c.Pool, stored.Profiles[name].Pool)
	stored.Current, stored.Profiles[name] = name, c
	if err := stored.write(path); err != nil {
		return err
	}
	a.warn(s.Warnings)
	return a.did(outcome{Action: "login", Kind: "operator", Name: s.Operator, Server: c.Server, Profile: name},
		"logged in to %s as %s with scope %s in %s until %s; profile %q in %s", c.Server, s.Operator, s.Scope, inPools(s.BoundTo), stamp(&s.Expires), name, path)
}

// toLogIn is what is known of the broker before the token is: flags before the environment or,
// in its place, the profile that a flag names, if there is one already.
func (a *app) toLogIn() (connection, error) {
	c, known := a.flags, a.environment()
	names, err := a.profileNames()
	if err != nil {
		return c, err
	}
	if slices.Contains(names, a.profile) {
		if known, err = a.storedConnection(a.profile); err != nil {
			return c, err
		}
		known.Token = "" // it may have ended
		if c.Server != "" && c.Server != known.Server {
			return c, nil
		}
	}
	return c.over(known), nil
}

// reach asks the broker anything without a token: that it refuses that shows that name,
// certificate and address are right.
func (c connection) reach(ctx context.Context) error {
	c.Token = ""
	client, err := c.client()
	if err != nil {
		return err
	}
	_, err = client.Status(ctx)
	var refused *problem.Problem
	if errors.As(err, &refused) && refused.Status == http.StatusUnauthorized {
		return nil
	}
	return err
}

// readToken reads the token from standard input; on a terminal it asks and does not show it.
func (a *app) readToken(ctx context.Context) (string, error) {
	if f, ok := a.In.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		return a.askToken(ctx, int(f.Fd()))
	}
	return a.tokenIn("-")
}

// askToken asks on a terminal. An interrupt ends the question, not only the program
// some time later, and leaves the terminal as it was.
func (a *app) askToken(ctx context.Context, fd int) (string, error) {
	before, err := term.GetState(fd)
	if err != nil {
		return "", fmt.Errorf("ask for the token: %w", err)
	}
	fmt.Fprint(a.Err, "operator's token: ")
	type answer struct {
		text []byte
		err  error
	}
	given := make(chan answer, 1)
	go func() {
		raw, err := term.ReadPassword(fd)
		given <- answer{raw, err}
	}()
	select {
	case <-ctx.Done():
		err = ctx.Err()
		if restored := term.Restore(fd, before); restored != nil {
			err = restored
		}
		fmt.Fprintln(a.Err)
		return "", err
	case g := <-given:
		fmt.Fprintln(a.Err)
		if g.err != nil {
			return "", fmt.Errorf("ask for the token: %w", g.err)
		}
		if text := string(bytes.TrimSpace(g.text)); text != "" {
			return text, nil
		}
		return "", usagef("no token given")
	}
}
