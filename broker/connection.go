package broker

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"github.com/signetd/signet/protocol/ident"
)

// A Connection is what operators see of a client's MQTT connection to one broker or, Away, of
// a session whose client has no connection now. It is nowhere stored.
type Connection struct {
	Number    uint64       // among all that this broker's process has had; never used again
	Away      bool         // there is no connection: Remote, TLS and the like are empty
	Device    ident.Device // zero: no device's so far
	ClientID  string
	Remote    string // host:port, as a balancer tells it
	TLS       string // version, such as "TLS 1.3"; empty: it ends elsewhere, or there is none
	Cipher    string // suite
	WebSocket bool
	MQTT      string // version: 3.1.1 or 5
	Began     time.Time
	Heard     time.Time     // when something came last
	KeepAlive time.Duration // that the client promised; 0: none
	Admitted  string        // one of the ways below; empty: it is no device's
	Until     time.Time     // when what it was admitted by ends, and the connection with it; zero: not by itself

	Subscriptions int
	Filters       []string      // of these; given of one that is asked for alone
	Queued        int           // messages that wait to be sent
	Bytes         int           // of all messages that it has not acknowledged
	Inflight      int           // messages that were sent and are not acknowledged
	Expiry        time.Duration // for which the session outlives the connection; negative: for good
	Ends          time.Time     // of one that is Away: when the session ends; zero: never
}

// How a connection came to be a device's.
const (
	AdmittedLogin    = "login"    // by the exchange on the connection itself
	AdmittedToken    = "token"    // by a token and a proof of possession, in CONNECT
	AdmittedPassword = "password" // by an MQTT password
	AdmittedEnhanced = "enhanced" // by MQTT 5's enhanced authentication
)

// What a list of connections is sorted by. Connections that are alike in it come by Number.
const (
	OrderAge    = "age"    // the oldest first
	OrderDevice = "device" // by pool and name, then client id; strangers first
	OrderSource = "source" // by address
	OrderQueue  = "queued" // the longest first
	OrderSilent = "silent" // those that were heard of longest ago first
)

// ConnectionOrders are all of them.
func ConnectionOrders() []string {
	return []string{OrderAge, OrderDevice, OrderSource, OrderQueue, OrderSilent}
}

// MaxConnections is how many connections one list gives at most.
const MaxConnections = 500

// A ConnectionQuery says which connections are wanted, in which order; what is zero leaves none out.
type ConnectionQuery struct {
	Pool      ident.Pool
	Device    ident.Device
	Reach     func(ident.Pool) bool // of which pools' devices; nil: of all, and strangers
	Source    netip.Prefix
	Older     time.Duration // since Began
	Queued    int           // at least so many
	Away      bool          // sessions without a connection, too
	Strangers bool          // only those that are no device's
	Order     string        // one of ConnectionOrders
	After     string        // a Next
	Limit     int           // 1 to MaxConnections
}

// Validate checks the order and the bounds.
func (q *ConnectionQuery) Validate() error {
	if q.Limit < 1 || q.Limit > MaxConnections {
		return fmt.Errorf("%w: limit %d, want 1 to %d", ErrInvalid, q.Limit, MaxConnections)
	}
	if slices.Contains(ConnectionOrders(), q.Order) {
		return nil
	}
	return fmt.Errorf("%w: connections cannot be sorted by %.40q", ErrInvalid, q.Order)
}

// A TracedPacket is what operators see of an MQTT packet of a device that they trace: never a password nor
// authentication data.
type TracedPacket struct {
	At         time.Time
	Sent       bool   // by the broker
	Connection uint64 // its Number
	ClientID   string
	Type       string   // its name in the standard; "closed" for the end of the connection
	ID         int      // packet identifier; 0: it has none
	QoS        int      // of a PUBLISH, like the next two
	Dup        bool     // of a PUBLISH
	Retain     bool     // of a PUBLISH
	Topic      string   // of a PUBLISH, though an alias stands for it, or of a CONNECT's will
	Filters    []string // of a SUBSCRIBE or UNSUBSCRIBE
	Codes      []string // that it says, with their names
	Properties []string // their names in the standard
	Size       int      // bytes of the whole packet
	Length     int      // bytes of a PUBLISH's payload
	Payload    []byte   // of it, up to 4 KiB, if it may be shown
	Wrong      string   // why it is no packet, or none that may be sent; empty: it is one
	Lost       uint64   // packets since the one before that were not told of, because there were too many
}

// A PacketTrace tells of a device's packets, until it is closed.
type PacketTrace interface {
	// Next waits for the next packet; false when ctx or the server has ended.
	Next(ctx context.Context) (TracedPacket, bool)
	// Lost gives how many were not told of since the last that was, because there were too many.
	Lost() uint64
	Close()
}
