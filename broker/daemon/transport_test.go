package daemon_test

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	paho "github.com/eclipse/paho.mqtt.golang"

	"github.com/signetd/signet/broker/config"
	"github.com/signetd/signet/broker/daemon"
)

// certificates are those of the standard library's test server.
type certificates struct{ server *httptest.Server }

func (c certificates) GetCertificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	return &c.server.TLS.Certificates[0], nil
}

func (certificates) Roots() []byte { return nil }

func (certificates) Lives() []daemon.Life { return nil }

// serve runs a daemon and gives it with what trusts it.
func serve(t *testing.T, change func(*config.Config)) (*daemon.Daemon, *x509.CertPool) {
	t.Helper()
	web := httptest.NewTLSServer(http.NotFoundHandler())
	t.Cleanup(web.Close)
	cfg := config.Default()
	cfg.Data, cfg.Listen = t.TempDir(), config.Listen{MQTT: "127.0.0.1:0", HTTPS: "127.0.0.1:0", Health: "127.0.0.1:0"}
	if change != nil {
		change(&cfg)
	}
	s := &site{cfg: cfg}
	parts, err := s.hold(t)
	if err != nil {
		t.Fatal(err)
	}
	d, err := daemon.Open(t.Context(), cfg, parts, certificates{web}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ran := make(chan error, 1)
	go func() { ran <- d.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := errors.Join(<-ran, s.store.Close()); err != nil && !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
	return d, web.Client().Transport.(*http.Transport).TLSClientConfig.RootCAs
}

// connect connects as a stranger and goes again.
func connect(broker string, trust *x509.CertPool) error {
	c := paho.NewClient(paho.NewClientOptions().AddBroker(broker).SetClientID("anon-" + strings.Repeat("0f", 16)).SetProtocolVersion(4).
		SetAutoReconnect(false).SetConnectTimeout(10 * time.Second).SetTLSConfig(&tls.Config{RootCAs: trust}))
	defer c.Disconnect(0)
	tok := c.Connect()
	tok.Wait()
	return tok.Error()
}

// The configured limits are the listener's.
func TestLimits(t *testing.T) {
	d, trust := serve(t, func(c *config.Config) { c.Limits = config.Limits{Rate: 1e-6, Burst: 2} })
	mqtt, web := "ssl://"+d.Addrs.MQTT.String(), "wss://"+d.Addrs.HTTPS.String()+"/mqtt"
	if err := errors.Join(connect(mqtt, trust), connect(web, trust)); err != nil {
		t.Fatal(err)
	}
	for _, broker := range []string{mqtt, web} {
		if err := connect(broker, trust); err == nil {
			t.Errorf("%s: the third connection of one source was let in", broker)
		}
	}
}

// MQTT is spoken over TLS on its own port, and over WebSocket on the HTTPS port at
// /mqtt and nowhere else; without TLS nowhere.
func TestTransports(t *testing.T) {
	d, trust := serve(t, nil)
	mqtt, https := d.Addrs.MQTT.String(), d.Addrs.HTTPS.String()
	for _, broker := range []string{"ssl://" + mqtt, "wss://" + https + "/mqtt"} {
		if err := connect(broker, trust); err != nil {
			t.Errorf("%s: %v", broker, err)
		}
	}
	for _, broker := range []string{"tcp://" + mqtt, "ws://" + https + "/mqtt", "wss://" + https + "/", "wss://" + https + "/mqtt/x", "wss://" + https + "/api/mqtt", "wss://" + mqtt + "/mqtt"} {
		if err := connect(broker, trust); err == nil {
			t.Errorf("%s: connected", broker)
		}
	}
	// A page of any origin may: a browser brings nothing along by itself that counts here.
	client := &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: trust}}}
	t.Cleanup(client.CloseIdleConnections)
	for _, origin := range []string{"https://dashboard.example", "null", "file://", "nonsense"} {
		ws, _, err := websocket.Dial(t.Context(), "https://"+https+"/mqtt", &websocket.DialOptions{
			HTTPClient: client, Subprotocols: []string{"mqtt"}, HTTPHeader: http.Header{"Origin": {origin}},
		})
		if err != nil {
			t.Errorf("a page of %s: %v", origin, err)
			continue
		}
		_ = ws.CloseNow()
	}
}
