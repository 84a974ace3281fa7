package daemon

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"net/url"
	"os"
	"strings"

	"github.com/caarlos0/env/v11"
	"github.com/goccy/go-yaml"
)

// Config is signetd's configuration. Each key is also an environment variable:
// SIGNET_ and the path in capitals, such as SIGNET_LISTEN_MQTT.
type Config struct {
	// Data is the folder that holds everything signetd keeps.
	Data string `yaml:"data" env:"DATA"`
	// Issuer is the public base URL, https://host[:port]. It is in every token and never changes.
	Issuer string `yaml:"issuer" env:"ISSUER"`
	Listen Listen `yaml:"listen" envPrefix:"LISTEN_"`
	// Names are the DNS names and addresses that the server's certificate carries.
	Names  []string `yaml:"names" env:"NAMES"`
	Limits Limits   `yaml:"limits" envPrefix:"LIMITS_"`
	Hooks  Hooks    `yaml:"hooks" envPrefix:"HOOKS_"`
	Log    Log      `yaml:"log" envPrefix:"LOG_"`
	// Version is the program's, for the API document.
	Version string `yaml:"-"`
}

// Listen says where signetd listens.
type Listen struct {
	MQTT   string `yaml:"mqtt" env:"MQTT"`     // MQTT over TLS
	HTTPS  string `yaml:"https" env:"HTTPS"`   // API, key sets, MQTT over WebSocket
	Health string `yaml:"health" env:"HEALTH"` // health and metrics: plain HTTP
}

// Limits bound MQTT connections; 0 means the default that mqttd.Limits states,
// negative none where that is possible. A source is an IPv4 address or an IPv6 /64.
type Limits struct {
	Connections int     `yaml:"connections" env:"CONNECTIONS"` // at once
	Strangers   int     `yaml:"strangers" env:"STRANGERS"`     // at once, of those not authenticated
	PerSource   int     `yaml:"per_source" env:"PER_SOURCE"`   // at once from one source
	Rate        float64 `yaml:"rate" env:"RATE"`               // new ones a second from one source
	Burst       int     `yaml:"burst" env:"BURST"`             // new ones at once from one source
}

// Hooks says which webhooks may be called.
type Hooks struct {
	// Allow lists networks that hooks may be in although they are not public.
	Allow []netip.Prefix `yaml:"allow" env:"ALLOW"`
}

// Log says how much is logged, and how.
type Log struct {
	Level  string `yaml:"level" env:"LEVEL"`   // debug, info, warn, error
	Format string `yaml:"format" env:"FORMAT"` // json or text
}

// Default is the configuration that a file and the environment are laid over.
func Default() Config {
	return Config{
		Data:   "/var/lib/signet",
		Issuer: "https://localhost:8443",
		Listen: Listen{MQTT: ":8883", HTTPS: ":8443", Health: "127.0.0.1:9464"},
		Names:  []string{"localhost", "127.0.0.1"},
		Log:    Log{Level: "info", Format: "json"},
	}
}

// ErrConfig is wrapped by every complaint about configuration.
var ErrConfig = errors.New("configuration")

// Load reads the file, if path is not empty, then the environment, and checks the
// whole. An unknown key is an error that names its line and the nearest key.
func Load(path string, environ map[string]string) (Config, error) {
	c := Default()
	if path != "" {
		raw, err := os.ReadFile(path)
		if err != nil {
			return c, fmt.Errorf("%w: %w", ErrConfig, err)
		}
		if err := parse(raw, &c); err != nil {
			return c, fmt.Errorf("%w: %s: %w", ErrConfig, path, err)
		}
	}
	if err := env.ParseWithOptions(&c, env.Options{Prefix: "SIGNET_", Environment: environ}); err != nil {
		return c, fmt.Errorf("%w: environment: %w", ErrConfig, err)
	}
	return c, c.Check()
}

func parse(raw []byte, c *Config) error {
	if len(strings.TrimSpace(string(raw))) == 0 {
		return nil
	}
	err := yaml.UnmarshalWithOptions(raw, c, yaml.Strict())
	if err == nil {
		return nil
	}
	var unknown *yaml.UnknownFieldError
	if errors.As(err, &unknown) && unknown.Token != nil {
		pos := unknown.Token.Position
		msg := fmt.Sprintf("line %d, column %d: unknown key %q", pos.Line, pos.Column, unknown.Token.Value)
		if near := nearest(unknown.Token.Value, keys()); near != "" {
			msg += fmt.Sprintf(", did you mean %q?", near)
		}
		return errors.New(msg)
	}
	return errors.New(strings.TrimSpace(yaml.FormatError(err, false, true)))
}

// Check says what is wrong with c, if anything.
func (c *Config) Check() error {
	u, err := url.Parse(c.Issuer)
	if err != nil || u.Scheme != "https" || u.Host == "" || (u.Path != "" && u.Path != "/") || u.RawQuery != "" || u.User != nil {
		return fmt.Errorf("%w: issuer %q: want https://host or https://host:port", ErrConfig, c.Issuer)
	}
	for key, addr := range map[string]string{"listen.mqtt": c.Listen.MQTT, "listen.https": c.Listen.HTTPS, "listen.health": c.Listen.Health} {
		if _, _, err := net.SplitHostPort(addr); err != nil {
			return fmt.Errorf("%w: %s %q: want host:port or :port", ErrConfig, key, addr)
		}
	}
	if c.Data == "" {
		return fmt.Errorf("%w: data: name the folder that signetd keeps everything in", ErrConfig)
	}
	if len(c.Names) == 0 {
		return fmt.Errorf("%w: names: at least one name or address for the server's certificate", ErrConfig)
	}
	for key, n := range map[string]int{"connections": c.Limits.Connections, "burst": c.Limits.Burst} {
		if n < 0 {
			return fmt.Errorf("%w: limits.%s %d: want 1 or more, or 0 for the default", ErrConfig, key, n)
		}
	}
	if _, err := c.Log.level(); err != nil {
		return err
	}
	if c.Log.Format != "json" && c.Log.Format != "text" {
		return fmt.Errorf("%w: log.format %q: want json or text", ErrConfig, c.Log.Format)
	}
	return nil
}

func keys() []string {
	return []string{"data", "issuer", "listen", "mqtt", "https", "health", "names", "limits", "connections", "strangers", "per_source", "rate", "burst", "hooks", "allow", "log", "level", "format"}
}

// nearest gives the key closest to s, if it is close enough to be meant.
func nearest(s string, keys []string) string {
	best, least := "", len(s)/2+2
	for _, k := range keys {
		if d := distance(s, k); d < least {
			best, least = k, d
		}
	}
	return best
}

// distance is Levenshtein's.
func distance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		last := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := 1
			if a[i] == b[j] {
				cost = 0
			}
			last, row[j+1] = row[j+1], min(last+cost, row[j]+1, row[j+1]+1)
		}
	}
	return row[len(b)]
}
