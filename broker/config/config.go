// Package config is what signetd is told: signetd.yaml, the variables SIGNET_..., the
// log's settings, the names of the files in its data folder and the key-encryption
// key that is one of them. It opens no store and listens nowhere.
package config

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/broker/balancer"
	"github.com/signetd/signet/broker/intake"
)

// Config is signetd's configuration. Each key is also an environment variable:
// SIGNET_ and the path in capitals, such as SIGNET_LISTEN_MQTT.
type Config struct {
	// Data is the folder that holds everything signetd keeps.
	Data string `yaml:"data" env:"DATA"`
	// Issuer is the public base URL, https://host[:port]. It is in every token and never changes.
	Issuer string `yaml:"issuer" env:"ISSUER"`
	Listen Listen `yaml:"listen" envPrefix:"LISTEN_"`
	// Names are the DNS names and addresses that the server's certificate carries beside
	// the issuer's host; if empty, localhost and 127.0.0.1.
	Names []string `yaml:"names" env:"NAMES"`
	// KeyFile holds the 32 bytes that secrets in the store are sealed under; if
	// empty, a systemd credential signet.key or else that file in the data folder.
	KeyFile string `yaml:"key_file" env:"KEY_FILE"`
	Health  Health `yaml:"health" envPrefix:"HEALTH_"`
	Limits  Limits `yaml:"limits" envPrefix:"LIMITS_"`
	// Balancer says what stands before the listeners.
	Balancer Balancer   `yaml:"balancer" envPrefix:"BALANCER_"`
	Hooks    HookPolicy `yaml:"hooks" envPrefix:"HOOKS_"`
	MQTT     MQTT       `yaml:"mqtt" envPrefix:"MQTT_"`
	Log      Log        `yaml:"log" envPrefix:"LOG_"`
	// Version is the program's, for the API document.
	Version string `yaml:"-"`
	// HTTPTimeout is how long a request may take to come; 30 s. Nobody sets it but tests.
	HTTPTimeout time.Duration `yaml:"-"`

	credential bool // KeyFile is systemd's
}

// Listen says where signetd listens.
type Listen struct {
	MQTT   string `yaml:"mqtt" env:"MQTT"`     // MQTT over TLS
	HTTPS  string `yaml:"https" env:"HTTPS"`   // API, key sets, MQTT over WebSocket
	Health string `yaml:"health" env:"HEALTH"` // health and metrics: plain HTTP
}

// Health says what the health listener gives to whom.
type Health struct {
	// Hosts are names and addresses under which it is asked for, beside loopback and the
	// address that a request comes to.
	Hosts []string `yaml:"hosts" env:"HOSTS"`
	// Profiles serves /debug/pprof/ to this machine.
	Profiles bool `yaml:"profiles" env:"PROFILES"`
}

// Limits bound connections, MQTT's and HTTPS's each; 0 means the default that
// intake.Limits states, negative none where that is possible. A source is an IPv4 address or an IPv6 /64.
type Limits struct {
	Connections int `yaml:"connections" env:"CONNECTIONS"` // at once
	// HTTPSConnections is Connections for HTTPS; 0: a fifth of it, at least one.
	HTTPSConnections int     `yaml:"https_connections" env:"HTTPS_CONNECTIONS"`
	Strangers        int     `yaml:"strangers" env:"STRANGERS"`   // at once, of those not authenticated
	PerSource        int     `yaml:"per_source" env:"PER_SOURCE"` // at once from one source
	Rate             float64 `yaml:"rate" env:"RATE"`             // new ones a second from one source
	Burst            int     `yaml:"burst" env:"BURST"`           // new ones at once from one source
	PerDevice        int     `yaml:"per_device" env:"PER_DEVICE"` // at once of one device, over MQTT
	PerPool          int     `yaml:"per_pool" env:"PER_POOL"`     // at once of one pool's devices, over MQTT
	// Handshakes is how many TLS handshakes are computed at once, on both listeners together, and
	// as many of clients from where a device has come; 0: as many as there are processors.
	Handshakes int `yaml:"handshakes" env:"HANDSHAKES"`
	// LongConnects is how many long CONNECTs of one source are read at once; its default is
	// mqttd.Config's.
	LongConnects int `yaml:"long_connects" env:"LONG_CONNECTS"`
	// Requests and RequestBurst bound the messages on connections that are no device's:
	// those from one source, a second in the long run and at once.
	Requests     float64 `yaml:"requests" env:"REQUESTS"`
	RequestBurst int     `yaml:"request_burst" env:"REQUEST_BURST"`
	// DeviceRequests and DeviceRequestBurst bound those on all connections of one device.
	DeviceRequests     float64 `yaml:"device_requests" env:"DEVICE_REQUESTS"`
	DeviceRequestBurst int     `yaml:"device_request_burst" env:"DEVICE_REQUEST_BURST"`
	// Refusals and RefusalBurst bound the messages of devices, not connections: those
	// from one source that are refused, a second in the long run and at once.
	Refusals     float64 `yaml:"refusals" env:"REFUSALS"`
	RefusalBurst int     `yaml:"refusal_burst" env:"REFUSAL_BURST"`
	// DeviceRate and DeviceBurst bound what one device is granted: logins and renewals, a second
	// in the long run and at once. Their defaults are exchange.Pace's.
	DeviceRate  float64 `yaml:"device_rate" env:"DEVICE_RATE"`
	DeviceBurst int     `yaml:"device_burst" env:"DEVICE_BURST"`
	// FreeDisk is how many MiB of the store's disk must be free for devices to enroll; 0:
	// DefaultFreeDisk, negative: none.
	FreeDisk int `yaml:"free_disk" env:"FREE_DISK"`
}

// MQTT says what the MQTT server keeps for its clients; 0 means the default that mqttd.Config states.
type MQTT struct {
	SessionExpiry    int    `yaml:"session_expiry" env:"SESSION_EXPIRY"`   // seconds for which a session may outlive its connection; negative: none does
	MaxKeepAlive     int    `yaml:"max_keep_alive" env:"MAX_KEEP_ALIVE"`   // seconds, of MQTT 5 clients; 0: as they like
	SlowSubscriber   string `yaml:"slow_subscriber" env:"SLOW_SUBSCRIBER"` // EndSubscriber or RefusePublisher
	ACEChallenge     bool   `yaml:"ace_challenge" env:"ACE_CHALLENGE"`     // a proof over nonces, bound to no connection, counts at CONNECT
	SessionMessages  int    `yaml:"session_messages" env:"SESSION_MESSAGES"`
	SessionKiB       int    `yaml:"session_kib" env:"SESSION_KIB"`
	QueuedMessages   int    `yaml:"queued_messages" env:"QUEUED_MESSAGES"`
	QueuedMiB        int    `yaml:"queued_mib" env:"QUEUED_MIB"`
	RetainedMessages int    `yaml:"retained_messages" env:"RETAINED_MESSAGES"`
	RetainedMiB      int    `yaml:"retained_mib" env:"RETAINED_MIB"`
	Sessions         int    `yaml:"sessions" env:"SESSIONS"`
	Subscriptions    int    `yaml:"subscriptions" env:"SUBSCRIPTIONS"`
	// WebOrigins are the origins of pages that may connect over WebSocket, as a browser's Origin
	// header has them; none: any may.
	WebOrigins []string `yaml:"web_origins" env:"WEB_ORIGINS"`
}

// What becomes of a message for which a subscriber has no room.
const (
	EndSubscriber   = "end"              // the subscriber is ended, its session dropped
	RefusePublisher = "refuse-publisher" // nobody gets it, and its publisher hears so
)

func (m MQTT) check() (wrong []error) {
	if m.SlowSubscriber != EndSubscriber && m.SlowSubscriber != RefusePublisher {
		wrong = append(wrong, fmt.Errorf("mqtt.slow_subscriber %q: want %s or %s", m.SlowSubscriber, EndSubscriber, RefusePublisher))
	}
	if m.MaxKeepAlive < 0 || m.MaxKeepAlive > 65535 {
		wrong = append(wrong, fmt.Errorf("mqtt.max_keep_alive %d: want seconds up to 65535, or 0 for none", m.MaxKeepAlive))
	}
	whole := map[string]int{
		"session_messages": m.SessionMessages, "session_kib": m.SessionKiB, "queued_messages": m.QueuedMessages, "queued_mib": m.QueuedMiB,
		"retained_messages": m.RetainedMessages, "retained_mib": m.RetainedMiB, "sessions": m.Sessions, "subscriptions": m.Subscriptions,
	}
	for _, o := range m.WebOrigins {
		if want := originOf(o); want == "" {
			wrong = append(wrong, fmt.Errorf("mqtt.web_origins %q: want scheme://host or scheme://host:port", o))
		} else if want != o {
			wrong = append(wrong, fmt.Errorf("mqtt.web_origins %q: browsers write it %q", o, want))
		}
	}
	for _, key := range slices.Sorted(maps.Keys(whole)) {
		if whole[key] < 0 || whole[key] > 1<<30 {
			wrong = append(wrong, fmt.Errorf("mqtt.%s %d: want 1 to %d, or 0 for the default", key, whole[key], 1<<30))
		}
	}
	return wrong
}

// originOf gives what a browser calls the origin of a page at an address (RFC 6454, section 6.2); ""
// if it is none's.
func originOf(address string) string {
	u, err := url.Parse(address)
	if err != nil || u.Scheme == "" || u.Hostname() == "" || u.User != nil || strings.ContainsFunc(u.Host, func(r rune) bool { return r > unicode.MaxASCII || r == '*' }) {
		return ""
	}
	host := strings.ToLower(u.Host)
	for scheme, port := range map[string]string{"http": ":80", "https": ":443"} {
		if u.Scheme == scheme {
			host = strings.TrimSuffix(host, port)
		}
	}
	return u.Scheme + "://" + host
}

// DefaultFreeDisk is what Limits.FreeDisk is by default, in MiB: four times what is kept for
// operators. Chosen.
const DefaultFreeDisk = 64

// FreeBytes gives Limits.FreeDisk in bytes, 0 for none.
func (l Limits) FreeBytes() int64 {
	if l.FreeDisk == 0 {
		l.FreeDisk = DefaultFreeDisk
	}
	return int64(max(l.FreeDisk, 0)) << 20
}

// HTTPSIntake gives them for HTTPS, where a connection is a request or two and soon gone or
// a WebSocket, which is MQTT's: nobody there is known by his connection, so strangers have
// no bound of their own.
func (l Limits) HTTPSIntake() intake.Limits {
	in := l.Intake()
	if in.Conns == 0 {
		in.Conns = intake.DefaultConns
	}
	in.Conns = max(1, in.Conns/5)
	if l.HTTPSConnections != 0 {
		in.Conns = l.HTTPSConnections
	}
	if in.Strangers == 0 {
		in.Strangers = -1
	}
	return in
}

// Intake gives them as MQTT's counter reads them.
func (l Limits) Intake() intake.Limits {
	return intake.Limits{Conns: l.Connections, Strangers: l.Strangers, PerSource: l.PerSource, Rate: l.Rate, Burst: l.Burst, PerDevice: l.PerDevice, PerPool: l.PerPool}
}

// Balancer says in which networks the operator's own load balancers are, for each listener:
// those that begin each connection with a PROXY header, and those that end the TLS of
// devices and are trusted with their sessions.
type Balancer struct {
	MQTTProxy    []netip.Prefix `yaml:"mqtt_proxy_protocol" env:"MQTT_PROXY_PROTOCOL"`
	MQTTEndsTLS  []netip.Prefix `yaml:"mqtt_ends_tls" env:"MQTT_ENDS_TLS"`
	HTTPSProxy   []netip.Prefix `yaml:"https_proxy_protocol" env:"HTTPS_PROXY_PROTOCOL"`
	HTTPSEndsTLS []netip.Prefix `yaml:"https_ends_tls" env:"HTTPS_ENDS_TLS"`
}

// MQTT gives what is before the MQTT listener.
func (b Balancer) MQTT() balancer.Networks {
	return balancer.Networks{Proxy: b.MQTTProxy, EndsTLS: b.MQTTEndsTLS}
}

// HTTPS gives what is before the HTTPS listener.
func (b Balancer) HTTPS() balancer.Networks {
	return balancer.Networks{Proxy: b.HTTPSProxy, EndsTLS: b.HTTPSEndsTLS, HTTP: true}
}

// check refuses networks that are not written as what they are, and those that all are.
func (b Balancer) check() (wrong []error) {
	for key, networks := range map[string][]netip.Prefix{
		"mqtt_proxy_protocol": b.MQTTProxy, "mqtt_ends_tls": b.MQTTEndsTLS, "https_proxy_protocol": b.HTTPSProxy, "https_ends_tls": b.HTTPSEndsTLS,
	} {
		for _, p := range networks {
			if p.Bits() == 0 {
				wrong = append(wrong, fmt.Errorf("balancer.%s: %s is everybody; name the balancers' own network", key, p))
			}
			if err := broker.CheckNetwork(p); err != nil {
				wrong = append(wrong, fmt.Errorf("balancer.%s: %w", key, err))
			}
		}
	}
	return wrong
}

// An Address is one address to listen on, with how to set it.
type Address struct{ Key, Flag, Variable, Addr string }

// All gives the addresses: MQTT's, HTTPS's and health's.
func (l Listen) All() []Address {
	return []Address{
		{"listen.mqtt", "--listen-mqtt", "SIGNET_LISTEN_MQTT", l.MQTT},
		{"listen.https", "--listen-https", "SIGNET_LISTEN_HTTPS", l.HTTPS},
		{"listen.health", "--listen-health", "SIGNET_LISTEN_HEALTH", l.Health},
	}
}

// ServerNames gives the names of the server's certificate: those that are set, or else
// localhost's, and the issuer's host in any case, for whoever follows the issuer's URL.
func (c *Config) ServerNames() []string {
	names := c.Names
	if len(names) == 0 {
		names = []string{"localhost", "127.0.0.1"}
	}
	if host := c.IssuerHost(); host != "" && !slices.Contains(names, host) {
		names = append([]string{host}, names...)
	}
	return names
}

// IssuerHost gives the host of the issuer's URL, an IPv6 address without its brackets; ""
// if it is none.
func (c *Config) IssuerHost() string {
	u, err := url.Parse(c.Issuer)
	if err != nil {
		return ""
	}
	return strings.ToLower(u.Hostname())
}

// A HookPolicy says which webhooks may be called, and how many at once.
type HookPolicy struct {
	// Allow lists networks that hooks may be in although they are not public.
	Allow []netip.Prefix `yaml:"allow" env:"ALLOW"`
	// Calls, Strangers, PerSource and PerDevice bound the calls of one pool's hooks at once, as
	// hook.Limits says; 0 means its defaults.
	Calls     int `yaml:"calls" env:"CALLS"`
	Strangers int `yaml:"strangers" env:"STRANGERS"`
	PerSource int `yaml:"per_source" env:"PER_SOURCE"`
	PerDevice int `yaml:"per_device" env:"PER_DEVICE"`
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
		Log:    Log{Level: "info", Format: "json"},
		MQTT:   MQTT{SlowSubscriber: EndSubscriber},

		HTTPTimeout: 30 * time.Second,
	}
}

// The files in the data folder.
const (
	StoreFile = "signet.db"
	KeyFile   = "signet.key" // key-encryption key
	CAFolder  = "ca"
)

// StorePath is where the store is.
func (c *Config) StorePath() string { return filepath.Join(c.Data, StoreFile) }

// KeyPath is where the key-encryption key is.
func (c *Config) KeyPath() string {
	if c.KeyFile != "" {
		return c.KeyFile
	}
	return filepath.Join(c.Data, KeyFile)
}

// ErrConfig is wrapped by every complaint about configuration.
var ErrConfig = errors.New("configuration")

const maxConfig = 64 << 10 // bytes of a configuration file

// Load is Read and Check together: the configuration, or all that is wrong with it.
func (c Config) Load(path string, environ map[string]string) (Config, error) {
	c, wrong := c.Read(path, environ)
	return c, Together(wrong, c.Check())
}

// Read lays the file, if path is not empty, and then the environment over c. environ has
// the variables SIGNET_... and systemd's CREDENTIALS_DIRECTORY. A key or variable that it
// does not understand is a mistake that names its place and the nearest one that it does;
// the rest is laid over c all the same. The error is a Mistakes.
func (c Config) Read(path string, environ map[string]string) (Config, error) {
	var wrong Mistakes
	if path != "" {
		raw, err := readConfig(path)
		if err != nil {
			return c, Mistakes{err} // what it says may be all that is missing
		}
		for _, err := range parse(raw, &c) {
			wrong = append(wrong, fmt.Errorf("%s: %w", path, err))
		}
	}
	for _, err := range parseEnvironment(environ, &c) {
		wrong = append(wrong, fmt.Errorf("environment: %w", err))
	}
	if dir := environ["CREDENTIALS_DIRECTORY"]; dir != "" && c.KeyFile == "" {
		if path := filepath.Join(dir, KeyFile); exists(path) {
			c.KeyFile, c.credential = path, true
		}
	}
	return c, Together(wrong)
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

func readConfig(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, maxConfig+1))
	if err != nil {
		return nil, err
	}
	if len(raw) > maxConfig {
		return nil, fmt.Errorf("%s has more than %d bytes", path, maxConfig)
	}
	return raw, nil
}
