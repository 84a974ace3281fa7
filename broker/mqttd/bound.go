package mqttd

// A Bound is one that a client has met without being refused its connection, a request or a
// message, of which Config.Refused, Busy and OnDrop tell; in a word for metrics.
type Bound string

// Bounds.
const (
	BoundSubscriptions Bound = "subscriptions" // Config.Subscriptions: SUBACK refuses one
	BoundSessions      Bound = "sessions"      // Config.Sessions: one ends with its connection
	BoundAway          Bound = "away"          // a device has too many sessions without a connection: one is dropped
	BoundStalled       Bound = "stalled"       // a client does not read: Config.WriteTimeout, or its stream's bytes
	BoundFraming       Bound = "framing"       // a client sends what is no packet: stream.ErrFraming
	BoundHeld          Bound = "held"          // a publisher of MQTT 3.1.1 is held back: see Config.RefusePublisher
)

// Bounds are all of them.
var Bounds = [...]Bound{BoundSubscriptions, BoundSessions, BoundAway, BoundStalled, BoundFraming, BoundHeld}
