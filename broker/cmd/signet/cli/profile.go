package cli

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/signetd/signet/broker/adminapi"
)

// A connection is how to reach a broker.
type connection struct {
	Server string `json:"server"`
	Token  string `json:"token"`
	CA     string `json:"ca,omitempty"` // path of a PEM file
}

// profiles is the profile file: mode 0600, because it holds tokens.
type profiles struct {
	Current  string                `json:"current"`
	Profiles map[string]connection `json:"profiles"`
}

const defaultProfile = "default"

// profilePath gives $XDG_CONFIG_HOME/signet/profiles.json, or the one below ~/.config.
func (a *app) profilePath() (string, error) {
	dir := a.Getenv("XDG_CONFIG_HOME")
	if dir == "" {
		home := a.Getenv("HOME")
		if home == "" {
			return "", errors.New("neither XDG_CONFIG_HOME nor HOME is set, so there is no place for profiles")
		}
		dir = filepath.Join(home, ".config")
	}
	return filepath.Join(dir, "signet", "profiles.json"), nil
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
	dec := json.NewDecoder(io.LimitReader(f, 1<<20))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&p); err != nil || p.Profiles == nil {
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
	f, err := os.CreateTemp(filepath.Dir(path), ".profiles-*") // made with mode 0600
	if err != nil {
		return fmt.Errorf("profiles: %w", err)
	}
	_, err = f.Write(append(raw, '\n'))
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return fmt.Errorf("profiles: %w", errors.Join(err, os.Remove(f.Name())))
	}
	return nil
}

// connection puts flags before environment before profile. A profile's token goes
// to no other server than the profile's.
func (a *app) connection() (connection, error) {
	c := connection{
		Server: first(a.flags.Server, a.Getenv("SIGNET_SERVER")),
		Token:  first(a.flags.Token, a.Getenv("SIGNET_TOKEN")),
		CA:     first(a.flags.CA, a.Getenv("SIGNET_CA")),
	}
	name := first(a.profile, a.Getenv("SIGNET_PROFILE"))
	if name != "" || c.Server == "" || c.Token == "" {
		path, err := a.profilePath()
		if err != nil && name != "" {
			return c, err
		}
		stored, err := readProfiles(path)
		if err != nil {
			return c, err
		}
		p, ok := stored.Profiles[first(name, stored.Current)]
		if !ok && name != "" {
			return c, &hintedError{usagef("there is no profile %q", name), "signet login --profile " + name + " --server URL"}
		}
		if c.Server == "" || c.Server == p.Server {
			c = connection{p.Server, first(c.Token, p.Token), first(c.CA, p.CA)}
		}
	}
	if c.Server == "" {
		return c, &hintedError{usagef("which broker?"), "signet login --server URL, or --server, or SIGNET_SERVER"}
	}
	if c.Token == "" {
		return c, &hintedError{usagef("no operator's token for %s", c.Server), "signet login --server " + c.Server + ", or --token, or SIGNET_TOKEN"}
	}
	return c, nil
}

func first(values ...string) string {
	for _, v := range values {
		if v != "" {
			return v
		}
	}
	return ""
}

// client makes the API's client.
func (c connection) client() (*adminapi.Client, error) {
	transport := &http.Transport{Proxy: http.ProxyFromEnvironment, ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12}}
	if c.CA != "" {
		raw, err := os.ReadFile(c.CA)
		if err != nil {
			return nil, usagef("--ca: %v", err)
		}
		roots := x509.NewCertPool()
		if !roots.AppendCertsFromPEM(raw) {
			return nil, usagef("--ca: %s has no certificate in PEM", c.CA)
		}
		transport.TLSClientConfig.RootCAs = roots
	}
	client, err := adminapi.NewClient(c.Server, c.Token, transport)
	if err != nil {
		return nil, usagef("--server: %v", err)
	}
	return client, nil
}

func (a *app) login() *cobra.Command {
	cmd := a.leaf("login", "Try a token and keep it in a profile", cobra.NoArgs, a.doLogin)
	cmd.Long = "Tries an operator's token against the broker and keeps both in a profile that only you can read.\n" +
		"Without --token the token is read from standard input, so that it is not in the process list."
	cmd.Example = "  signet login --server https://localhost:8443 --ca ./signet-dev/root.pem < token"
	return cmd
}

func (a *app) doLogin(cmd *cobra.Command, _ []string) error {
	c := connection{
		Server: first(a.flags.Server, a.Getenv("SIGNET_SERVER")), Token: first(a.flags.Token, a.Getenv("SIGNET_TOKEN")),
		CA: first(a.flags.CA, a.Getenv("SIGNET_CA")),
	}
	if c.Server == "" {
		return usagef("login needs --server URL")
	}
	var err error
	if c.Token == "" || c.Token == "-" {
		if c.Token, err = a.readToken(); err != nil {
			return err
		}
	}
	if c.CA != "" {
		if c.CA, err = filepath.Abs(c.CA); err != nil {
			return fmt.Errorf("--ca: %w", err)
		}
	}
	client, err := c.client()
	if err != nil {
		return err
	}
	s, err := client.Status(cmd.Context())
	if err != nil {
		return err
	}
	path, err := a.profilePath()
	if err != nil {
		return err
	}
	stored, err := readProfiles(path)
	if err != nil {
		return err
	}
	name := first(a.profile, a.Getenv("SIGNET_PROFILE"), defaultProfile)
	stored.Current, stored.Profiles[name] = name, c
	if err := stored.write(path); err != nil {
		return err
	}
	a.note("logged in to %s as %s until %s; profile %q in %s", c.Server, s.Operator, stamp(&s.Expires), name, path)
	return nil
}

// readToken reads one line; on a terminal it does not show it.
func (a *app) readToken() (string, error) {
	if f, ok := a.In.(*os.File); ok && term.IsTerminal(int(f.Fd())) {
		fmt.Fprint(a.Err, "operator's token: ")
		raw, err := term.ReadPassword(int(f.Fd()))
		fmt.Fprintln(a.Err)
		return string(bytes.TrimSpace(raw)), err
	}
	line, err := bufio.NewReader(io.LimitReader(a.In, 4096)).ReadString('\n')
	if err != nil && !errors.Is(err, io.EOF) {
		return "", fmt.Errorf("read token: %w", err)
	}
	line = strings.TrimSpace(line)
	if line == "" {
		return "", usagef("no token on standard input")
	}
	return line, nil
}
