package config

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"syscall"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/broker/atrest"
)

// Mistakes are all that is wrong with a configuration, at least one. They wrap ErrConfig.
type Mistakes []error

// Error gives a lone mistake in one line, several in a line each.
func (m Mistakes) Error() string {
	if len(m) == 1 {
		return fmt.Sprintf("%v: %v", ErrConfig, m[0])
	}
	text := fmt.Sprintf("%v: %d things are wrong", ErrConfig, len(m))
	for _, err := range m {
		text += "\n  " + err.Error()
	}
	return text
}

// Unwrap gives ErrConfig and the mistakes.
func (m Mistakes) Unwrap() []error { return append([]error{ErrConfig}, m...) }

// Together makes one Mistakes of several, and of other errors; nil if there are none.
func Together(all ...error) error {
	var m Mistakes
	for _, err := range all {
		var more Mistakes
		switch {
		case err == nil:
		case errors.As(err, &more):
			m = append(m, more...)
		default:
			m = append(m, err)
		}
	}
	if len(m) == 0 {
		return nil
	}
	return m
}

// Check says all that is wrong with c, if anything, but for names that no certificate can
// carry: those who make certificates know. The error is a Mistakes.
func (c *Config) Check() error {
	var wrong Mistakes
	add := func(format string, args ...any) { wrong = append(wrong, fmt.Errorf(format, args...)) }
	u, err := url.Parse(c.Issuer)
	if err != nil || u.Scheme != "https" || u.Hostname() == "" || (u.Path != "" && u.Path != "/") || u.RawQuery != "" || u.Fragment != "" || u.User != nil {
		add("issuer %q: want https://host or https://host:port", c.Issuer)
	} else if ip, err := netip.ParseAddr(u.Hostname()); err == nil && ip.Zone() != "" {
		add("issuer %q: an address with a zone means something on this machine only", c.Issuer)
	} else if _, err := net.LookupPort("tcp", u.Port()); u.Port() != "" && err != nil {
		add("issuer %q: port %q is not a number up to 65535", c.Issuer, u.Port())
	}
	wrong = append(wrong, c.Listen.check()...)
	if c.Data == "" {
		add("data: name the folder that signetd keeps everything in")
	} else if info, err := os.Stat(c.Data); errors.Is(err, syscall.ENOTDIR) || err == nil && !info.IsDir() {
		add("data %s: it is a file or lies below one, want a folder or a place for one", c.Data)
	}
	whole := map[string]int{"connections": c.Limits.Connections, "https_connections": c.Limits.HTTPSConnections, "burst": c.Limits.Burst, "refusal_burst": c.Limits.RefusalBurst, "request_burst": c.Limits.RequestBurst, "device_request_burst": c.Limits.DeviceRequestBurst, "device_burst": c.Limits.DeviceBurst}
	for _, key := range slices.Sorted(maps.Keys(whole)) {
		if whole[key] < 0 {
			add("limits.%s %d: want 1 or more, or 0 for the default", key, whole[key])
		}
	}
	whole = map[string]int{"calls": c.Hooks.Calls, "strangers": c.Hooks.Strangers, "per_source": c.Hooks.PerSource, "per_device": c.Hooks.PerDevice}
	for _, key := range slices.Sorted(maps.Keys(whole)) {
		if whole[key] < 0 {
			add("hooks.%s %d: want 1 or more, or 0 for the default", key, whole[key])
		}
	}
	wrong = append(wrong, c.Balancer.check()...)
	wrong = append(wrong, c.MQTT.check()...)
	for _, n := range c.Hooks.Allow {
		if err := broker.CheckNetwork(n); err != nil {
			add("hooks.allow: %w", err)
		}
	}
	if _, err := c.Log.level(); err != nil {
		wrong = append(wrong, err)
	}
	if c.Log.Format != "json" && c.Log.Format != "text" {
		add("log.format %q: want json or text", c.Log.Format)
	}
	return Together(wrong)
}

// check also finds two that cannot listen at once.
func (l Listen) check() (wrong []error) {
	type place struct {
		Address
		host string
		port int
	}
	var all []place
	for _, a := range l.All() {
		host, name, err := net.SplitHostPort(a.Addr)
		if err != nil {
			wrong = append(wrong, fmt.Errorf("%s %q: want host:port or :port", a.Key, a.Addr))
			continue
		}
		port, err := net.LookupPort("tcp", name)
		if err != nil {
			wrong = append(wrong, fmt.Errorf("%s %q: port %q is not a number up to 65535", a.Key, a.Addr, name))
			continue
		}
		for _, other := range all {
			if port != 0 && port == other.port && overlap(host, other.host) {
				wrong = append(wrong, fmt.Errorf("%s %q: %s is %q, and only one of them can have the port", a.Key, a.Addr, other.Key, other.Addr))
			}
		}
		all = append(all, place{a, host, port})
	}
	return wrong
}

// overlap tells whether two hosts to listen on may be the same address.
func overlap(a, b string) bool {
	if a == "localhost" {
		a = "127.0.0.1"
	}
	if b == "localhost" {
		b = "127.0.0.1"
	}
	everywhere := func(host string) bool {
		ip, err := netip.ParseAddr(host)
		return host == "" || err == nil && ip.IsUnspecified()
	}
	return a == b || everywhere(a) || everywhere(b)
}

// CheckKey says what would keep OpenKey from giving the key-encryption key. It makes
// nothing: where there is neither key nor store it asks for the folder of a key that is
// to lie elsewhere than in the data folder.
func (c *Config) CheckKey() error {
	path := c.KeyPath()
	if c.credential {
		_, err := loadCredential(path)
		return err
	}
	if exists(path) {
		_, err := atrest.Load(path)
		return err
	}
	if exists(c.StorePath()) {
		return c.keyMissing()
	}
	if dir := filepath.Dir(path); c.KeyFile != "" && !exists(dir) {
		return fmt.Errorf("key_file %s: there is no folder %s", path, dir)
	}
	return nil
}
