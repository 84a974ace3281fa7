package mqttlink

import (
	"context"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	mqtt "github.com/eclipse/paho.mqtt.golang"
	"github.com/eclipse/paho.mqtt.golang/packets"

	"github.com/signetd/signet/agent"
	"github.com/signetd/signet/protocol"
	"github.com/signetd/signet/protocol/channel"
	"github.com/signetd/signet/protocol/topic"
)

// Defaults of Options, chosen for a device on a slow network.
const (
	defaultResend    = 5 * time.Second
	defaultConnect   = 20 * time.Second
	defaultKeepAlive = 60 * time.Second
	defaultMaxPacket = 64 << 10
	quiesce          = 250 // ms that a goodbye may take
)

// Errors of this package, wrapped. A refused credential is agent.ErrCredential.
var (
	ErrURL    = errors.New("unusable broker address")
	ErrClosed = errors.New("connection has ended")
	// ErrPeer: something else listens at the broker's address, or a broker on another
	// kind of connection.
	ErrPeer = errors.New("no MQTT broker answers there")
	// ErrHungUp: the broker ended the connection before it was one.
	ErrHungUp = errors.New("the broker hung up")
)

// Options say where to connect and whom to believe.
type Options struct {
	// Broker is mqtts://host[:port], wss://host[:port][/path] with /mqtt if there is no
	// path, or mqtt://host[:port] on a loopback address.
	Broker string
	// Proxy gives the HTTP proxy on the way to a broker, as http.Transport's does; nil
	// for none. One that it gives must be http://[user:password@]host[:port].
	Proxy func(*http.Request) (*url.URL, error)
	Trust Trust
	// Credential logs the device in; nil connects as a stranger with a random client id.
	Credential *agent.Credential
	// Suffix, if not empty, makes a further connection of the same device: client id
	// {pool}:{name}/{suffix}.
	Suffix string

	Resend    time.Duration // a request without a reply is sent again after this; 0 for 5 s
	Connect   time.Duration // limit on connecting; 0 for 20 s
	KeepAlive time.Duration // 0 for 60 s
	MaxPacket int           // bytes of an incoming packet; 0 for 64 KiB
}

// A Link is one MQTT connection. It is safe for concurrent use.
type Link struct {
	client   mqtt.Client
	clientID topic.ClientID
	calls    Calls
	events   chan *protocol.Event
	done     chan struct{}
	trusted  *trusted
	end      agent.End // zero without TLS

	mu    sync.Mutex // protects the fields below
	ended bool
	why   error
}

var (
	_ agent.Connection = (*Link)(nil)
	_ agent.Listener   = (*Link)(nil)
	_ agent.Bound      = (*Link)(nil)
	_ agent.Doubtful   = (*Link)(nil)
)

// Dial connects and subscribes the device's own topics. Errors wrap ErrURL, ErrProxy,
// ErrCertificate, ErrWebSocket, ErrPeer, ErrHungUp, agent.ErrCredential, agent.ErrStale or what the network said.
func Dial(ctx context.Context, o Options) (*Link, error) {
	address, err := parseURL(o.Broker)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, or(o.Connect, defaultConnect))
	defer cancel()
	l := &Link{
		events: make(chan *protocol.Event, 8), done: make(chan struct{}),
		trusted: &trusted{trust: o.Trust, strict: o.Credential != nil},
	}
	l.calls.Send, l.calls.Resend, l.calls.Done, l.calls.Err = l.send, or(o.Resend, defaultResend), l.done, l.Err
	if l.clientID, err = clientID(o); err != nil {
		return nil, err
	}
	// Before MQTT begins: what is said in CONNECT depends on whom TLS ends in.
	conn, secure, err := l.trusted.dial(ctx, address, o.Proxy)
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", address.Host, err)
	}
	if secure != nil {
		state := secure.ConnectionState()
		l.end = agent.End{Channel: channel.Name(&state), Server: l.trusted.server()}
	}
	opts, err := l.options(o, &capped{Conn: conn, limit: or(o.MaxPacket, defaultMaxPacket)})
	if err != nil {
		_ = conn.Close()
		return nil, fmt.Errorf("connect to %s: %w", address.Host, err)
	}
	l.client = mqtt.NewClient(opts)
	if err := wait(ctx, l.client.Connect()); err != nil {
		l.client.Disconnect(0)
		_ = conn.Close()
		return nil, fmt.Errorf("connect to %s: %w", address.Host, explain(err, secure == nil))
	}
	if err := l.subscribe(ctx); err != nil {
		_ = l.Close()
		return nil, fmt.Errorf("connect to %s: %w", address.Host, err)
	}
	return l, nil
}

// explain says in plain words what the MQTT library found out; it keeps of some errors no
// more than the text.
func explain(err error, plain bool) error {
	text := strings.TrimPrefix(err.Error(), "network Error : ")
	switch {
	case errors.Is(err, packets.ErrorRefusedNotAuthorised), errors.Is(err, packets.ErrorRefusedBadUsernameOrPassword), errors.Is(err, packets.ErrorRefusedIDRejected):
		return fmt.Errorf("%w: %w", agent.ErrCredential, err)
	case strings.Contains(text, "non-CONNACK"):
		return fmt.Errorf("%w: it speaks something else", ErrPeer)
	case strings.HasSuffix(text, "EOF") && plain:
		return fmt.Errorf("%w: it hung up on MQTT without TLS", ErrPeer)
	case strings.HasSuffix(text, "EOF"):
		return ErrHungUp
	}
	return &told{text, err}
}

// A told is an error in words that do not repeat what stands before them.
type told struct {
	text string
	error
}

// Error gives the words.
func (t *told) Error() string { return t.text }

// Unwrap gives the error itself.
func (t *told) Unwrap() error { return t.error }

func clientID(o Options) (topic.ClientID, error) {
	if o.Credential == nil {
		var b [16]byte
		if _, err := rand.Read(b[:]); err != nil {
			return topic.ClientID{}, fmt.Errorf("random client id: %w", err)
		}
		return topic.Anonymous(b), nil
	}
	if o.Suffix != "" {
		return topic.ParseClientID(o.Credential.Username + "/" + o.Suffix)
	}
	return topic.ParseClientID(o.Credential.Username)
}

// options are for one connection, which is there already.
func (l *Link) options(o Options, conn net.Conn) (*mqtt.ClientOptions, error) {
	opts := mqtt.NewClientOptions().
		AddBroker(o.Broker).SetClientID(l.clientID.String()).SetProtocolVersion(4).SetCleanSession(true).
		SetOrderMatters(false). // a handler that waits would otherwise stop all others
		SetAutoReconnect(false).SetConnectRetry(false).SetStore(mqtt.NewMemoryStore()).
		SetKeepAlive(or(o.KeepAlive, defaultKeepAlive)).SetPingTimeout(10 * time.Second).
		SetConnectTimeout(or(o.Connect, defaultConnect)).SetWriteTimeout(10 * time.Second).
		SetCustomOpenConnectionFn(func(*url.URL, mqtt.ClientOptions) (net.Conn, error) { return conn, nil }).
		SetConnectionLostHandler(func(_ mqtt.Client, err error) { l.ends(err) })
	if o.Credential == nil {
		return opts, nil
	}
	password, err := o.Credential.Password(l.End(), l.clientID.String())
	if err != nil {
		return nil, err
	}
	return opts.SetUsername(o.Credential.Username).SetPassword(string(password)), nil
}

func (l *Link) subscribe(ctx context.Context) error {
	if err := l.subscribeTo(ctx, l.clientID.Reply().String(), 0, l.reply); err != nil {
		return err
	}
	return l.subscribeTo(ctx, l.clientID.Event().String(), 1, l.push)
}

func (l *Link) subscribeTo(ctx context.Context, filter string, qos byte, h mqtt.MessageHandler) error {
	t := l.client.Subscribe(filter, qos, h)
	if err := wait(ctx, t); err != nil {
		return fmt.Errorf("subscribe %s: %w", filter, err)
	}
	if s, ok := t.(*mqtt.SubscribeToken); ok && s.Result()[filter] > 2 {
		return fmt.Errorf("subscribe %s: the broker refused", filter)
	}
	return nil
}

// reply hands a message to whoever waits for its call.
func (l *Link) reply(_ mqtt.Client, m mqtt.Message) {
	if !m.Retained() {
		l.calls.Arrive(m.Payload())
	}
}

func (l *Link) push(_ mqtt.Client, m mqtt.Message) {
	if m.Retained() {
		return
	}
	msg, err := protocol.Decode(m.Payload())
	if err != nil {
		return
	}
	if ev, ok := msg.(*protocol.Event); ok {
		select {
		case l.events <- ev:
		default: // hints; the ones before will do
		}
	}
}

// RoundTrip publishes request, again every Resend until the reply with its call
// id comes. Errors wrap ErrClosed or the context's.
func (l *Link) RoundTrip(ctx context.Context, request []byte) ([]byte, error) {
	return l.calls.RoundTrip(ctx, request)
}

// Listen is RoundTrip for a request that was published: it does so again after Resend.
func (l *Link) Listen(ctx context.Context, request []byte) ([]byte, error) {
	return l.calls.Listen(ctx, request)
}

func (l *Link) send(ctx context.Context, request []byte) error {
	return l.Publish(ctx, l.clientID.Request().String(), 0, request)
}

// Publish sends an application's message and, with qos 1, waits for the broker to have it.
func (l *Link) Publish(ctx context.Context, topic string, qos byte, payload []byte) error {
	if !l.client.IsConnectionOpen() {
		return l.Err()
	}
	if err := wait(ctx, l.client.Publish(topic, qos, false, payload)); err != nil {
		return fmt.Errorf("publish to %s: %w", topic, err)
	}
	return nil
}

// Subscribe calls h, from any goroutine, for each message that fits filter. It
// fails if the broker refuses the filter.
func (l *Link) Subscribe(ctx context.Context, filter string, qos byte, h func(topic string, payload []byte)) error {
	return l.subscribeTo(ctx, filter, qos, func(_ mqtt.Client, m mqtt.Message) { h(m.Topic(), m.Payload()) })
}

// ClientID is the connection's MQTT client id.
func (l *Link) ClientID() string { return l.clientID.String() }

// End tells of the link's one TLS connection, whose certificate was checked; it is zero
// without TLS.
func (l *Link) End() agent.End { return l.end }

// Root is the root certificate that vouched for the broker, if it was pinned
// alone or found by its fingerprint; nil otherwise and without TLS.
func (l *Link) Root() *x509.Certificate { return l.trusted.root }

// Doubt says why the broker's certificate is not believed now, nil if it is: it has
// ended by the time last heard. Only a Link without a credential can be in doubt.
func (l *Link) Doubt() error { return l.trusted.doubt() }

// Events gives the broker's pushes.
func (l *Link) Events() <-chan *protocol.Event { return l.events }

// Done is closed when the connection has ended.
func (l *Link) Done() <-chan struct{} { return l.done }

// Err says why the connection ended; it wraps ErrClosed.
func (l *Link) Err() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.why == nil {
		return ErrClosed
	}
	if errors.Is(l.why, io.EOF) || errors.Is(l.why, io.ErrUnexpectedEOF) {
		return ErrClosed // that says it all
	}
	return fmt.Errorf("%w: %w", ErrClosed, l.why)
}

// Close says goodbye and ends the connection.
func (l *Link) Close() error {
	l.ends(nil)
	l.client.Disconnect(quiesce)
	return nil
}

func (l *Link) ends(why error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.ended {
		l.ended, l.why = true, why
		close(l.done)
	}
}

func wait(ctx context.Context, t mqtt.Token) error {
	select {
	case <-t.Done():
		return t.Error()
	case <-ctx.Done():
		return ctx.Err()
	}
}

func or[T comparable](v, def T) T {
	var zero T
	if v == zero {
		return def
	}
	return v
}
