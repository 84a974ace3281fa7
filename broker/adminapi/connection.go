package adminapi

import (
	"context"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/broker/control"
	"github.com/signetd/signet/broker/problem"
	"github.com/signetd/signet/protocol/ident"
)

// A Connection is a client's MQTT connection or, with away, its session without one.
type Connection struct {
	ID        string     `json:"id" doc:"Of this connection alone: its client's next one has another"`
	Away      bool       `json:"away,omitempty" doc:"Its client has no connection; what follows of one is absent"`
	Pool      string     `json:"pool,omitempty" doc:"Absent, like device, if it is no device's so far"`
	Device    string     `json:"device,omitempty"`
	ClientID  string     `json:"clientId"`
	Source    string     `json:"source,omitempty" doc:"Where it comes from, address and port; behind a balancer what its PROXY header says"`
	Transport string     `json:"transport,omitempty" enum:"tcp,websocket"`
	TLS       string     `json:"tls,omitempty" doc:"Version; absent if TLS does not end in the broker"`
	Cipher    string     `json:"cipher,omitempty" doc:"TLS cipher suite"`
	MQTT      string     `json:"mqtt,omitempty" enum:"3.1.1,5"`
	Admitted  string     `json:"admitted,omitempty" enum:"login,enhanced,token,password" doc:"How it became its device's: a login on it, enhanced authentication, a token with proof of possession, an MQTT password"`
	Since     *time.Time `json:"since,omitempty"`
	Heard     *time.Time `json:"heard,omitempty" doc:"When something came of its client last"`
	KeepAlive *Duration  `json:"keepAlive,omitempty" doc:"Absent: its client promised none"`
	Until     *time.Time `json:"until,omitempty" doc:"When what it was admitted by ends, and it with that"`

	Subscriptions int        `json:"subscriptions"`
	Filters       []string   `json:"filters,omitempty" nullable:"false" doc:"Its subscriptions; of one that is asked for alone"`
	Queued        int        `json:"queued" doc:"Messages that wait to be sent"`
	Inflight      int        `json:"inflight" doc:"Messages that were sent and are not acknowledged"`
	Bytes         int        `json:"bytes" doc:"What both take of memory"`
	SessionExpiry *Duration  `json:"sessionExpiry,omitempty" doc:"For how long its session outlives it, as its client asked; absent: for good"`
	Ends          *time.Time `json:"ends,omitempty" doc:"When the session of one that is away ends; absent: never"`
}

// A ConnectionPage is a part of a list of connections.
type ConnectionPage struct {
	Broker string       `json:"broker" doc:"Whose connections these are: each replica lists its own"`
	Items  []Connection `json:"items" nullable:"false"`
	Next   string       `json:"next,omitempty" doc:"Give it as after to get the next page; absent on the last"`
}

// Kick asks for the end of connections.
type Kick struct {
	IDs []string `json:"ids" nullable:"false" minItems:"1" maxItems:"500"`
}

// Kicked says which ended. The others were gone before, or are not the operator's to end.
type Kicked struct {
	Broker string   `json:"broker"`
	Kicked []string `json:"kicked" nullable:"false"`
}

func wireConnection(c *control.Connections, x *broker.Connection) Connection {
	out := Connection{
		ID: c.ID(x), Away: x.Away, ClientID: x.ClientID, Source: x.Remote, TLS: x.TLS, Cipher: x.Cipher, MQTT: x.MQTT, Admitted: x.Admitted,
		Since: optional(x.Began), Heard: optional(x.Heard), Until: optional(x.Until), Subscriptions: x.Subscriptions, Filters: x.Filters,
		Queued: x.Queued, Inflight: x.Inflight, Bytes: x.Bytes, Ends: optional(x.Ends),
	}
	if !x.Device.IsZero() {
		out.Pool, out.Device = x.Device.Pool.String(), x.Device.Name.String()
	}
	if !x.Away {
		if out.Transport = "tcp"; x.WebSocket {
			out.Transport = "websocket"
		}
	}
	if x.KeepAlive > 0 {
		out.KeepAlive = span(x.KeepAlive)
	}
	if x.Expiry >= 0 {
		out.SessionExpiry = span(x.Expiry)
	}
	return out
}

type connectionInput struct {
	Pool      string `query:"pool" maxLength:"32" doc:"Of this pool's devices only" example:"demo"`
	Device    string `query:"device" maxLength:"128" doc:"Of this device of the pool only" example:"lamp-1"`
	Source    string `query:"source" maxLength:"64" doc:"From this address or network only" example:"192.0.2.0/24"`
	Older     string `query:"older" maxLength:"40" doc:"That have been there for so long only" example:"1h"`
	Queued    int    `query:"queued" minimum:"0" doc:"For which at least so many messages wait"`
	Away      bool   `query:"away" doc:"Sessions without a connection, too"`
	Strangers bool   `query:"strangers" doc:"Those that are no device's instead"`
	Sort      string `query:"sort" enum:"age,device,source,queued,silent" default:"age" doc:"The oldest first; by device; by source; the longest queue first; those that were heard of longest ago first"`
	After     string `query:"after" maxLength:"1024" doc:"Go on behind this; next of the page before"`
	Limit     int    `query:"limit" minimum:"1" maximum:"500" default:"100"`
}

func (in *connectionInput) query() (q broker.ConnectionQuery, err error) {
	q = broker.ConnectionQuery{Queued: in.Queued, Away: in.Away, Strangers: in.Strangers, Order: in.Sort, After: in.After, Limit: in.Limit}
	if in.Pool != "" {
		if q.Pool, err = ident.ParsePool(in.Pool); err != nil {
			return q, err
		}
	}
	if in.Device != "" {
		if q.Pool.IsZero() {
			return q, broker.Invalid("device", "say its pool, too")
		}
		name, err := ident.ParseName(in.Device)
		if err != nil {
			return q, err
		}
		q.Device = ident.Device{Pool: q.Pool, Name: name}
	}
	if q.Strangers && !q.Pool.IsZero() {
		return q, broker.Invalid("strangers", "those are in no pool")
	}
	if in.Source != "" {
		if q.Source, err = parseSource(in.Source); err != nil {
			return q, err
		}
	}
	if in.Older != "" {
		older, err := ParseDuration(in.Older)
		if err != nil {
			return q, err
		}
		q.Older = time.Duration(older)
	}
	return q, nil
}

// parseSource reads an address, or a network without bits of a host.
func parseSource(text string) (netip.Prefix, error) {
	if at, err := netip.ParseAddr(text); err == nil && at.Zone() == "" {
		return netip.PrefixFrom(at.Unmap(), at.Unmap().BitLen()), nil
	}
	p, err := netip.ParsePrefix(text)
	if err != nil {
		return p, broker.Invalid("source", "%.64q is neither an address nor a network such as 192.0.2.0/24", text)
	}
	return p, broker.CheckNetwork(p)
}

// connections are those of this broker; a problem if it has none.
func (s *service) connections() (*control.Connections, error) {
	if s.cfg.Connections == nil {
		return nil, problem.New(http.StatusNotFound, "this broker serves no MQTT connections")
	}
	return s.cfg.Connections, nil
}

// within is what the call's operator may see of connections.
func (c *call) within() control.Reach {
	if c.operator.Unbound() {
		return nil
	}
	return c.operator.Reaches
}

func (s *service) connectionRoutes(api huma.API) {
	const tag, path = "connections", "/connections"
	handle(s, api, inOwnPools(route(broker.OperatorRead, http.MethodGet, path, "list-connections", "List devices' MQTT connections to this broker", tag)), s.listConnections)
	handle(s, api, inOwnPools(route(broker.OperatorRead, http.MethodGet, path+"/{id}", "get-connection", "Show a connection and its subscriptions", tag)),
		func(ctx context.Context, in *struct {
			ID string `path:"id" maxLength:"64"`
		}) (Connection, error) {
			c, err := s.connections()
			if err != nil {
				return Connection{}, err
			}
			x, err := c.Connection(in.ID, callOf(ctx).within())
			return wireConnection(c, &x), err
		})
	handle(s, api, inOwnPools(action(broker.OperatorWrite, path+"/kick", "kick-connections", "End connections; their devices may come back at once", tag)),
		func(ctx context.Context, in *struct{ Body Kick }) (Kicked, error) {
			c, err := s.connections()
			if err != nil {
				return Kicked{}, err
			}
			ended, err := c.Kick(ctx, byOf(ctx), in.Body.IDs, callOf(ctx).within())
			return Kicked{Broker: c.Broker(), Kicked: ended}, err
		})
}

func (s *service) listConnections(ctx context.Context, in *connectionInput) (ConnectionPage, error) {
	c, err := s.connections()
	if err != nil {
		return ConnectionPage{}, err
	}
	q, err := in.query()
	if err != nil {
		return ConnectionPage{}, err
	}
	who := callOf(ctx)
	if !q.Pool.IsZero() {
		if p := who.reach(q.Pool); p != nil {
			return ConnectionPage{}, p
		}
	}
	if q.Reach = who.within(); q.Strangers && q.Reach != nil {
		return ConnectionPage{}, who.forbidden("connections of strangers are in no pool")
	}
	some, next, err := c.List(q)
	out := ConnectionPage{Broker: c.Broker(), Items: []Connection{}, Next: next}
	for i := range some {
		out.Items = append(out.Items, wireConnection(c, &some[i]))
	}
	return out, err
}

// A ConnectionQuery says which connections are wanted; what is zero leaves none out.
type ConnectionQuery struct {
	Pool      string
	Device    string // of the pool
	Source    string // address or network
	Older     Duration
	Queued    int    // at least so many messages
	Away      bool   // sessions without a connection, too
	Strangers bool   // those that are no device's instead
	Sort      string // age, device, source, queued or silent; empty: age
}

// Connections lists the connections of the broker that is asked, up to limit (0: all), and names it.
func (c *Client) Connections(ctx context.Context, q ConnectionQuery, limit int) (some []Connection, broker string, err error) {
	v := url.Values{}
	for name, text := range map[string]string{"pool": q.Pool, "device": q.Device, "source": q.Source, "sort": q.Sort} {
		if text != "" {
			v.Set(name, text)
		}
	}
	for name, yes := range map[string]bool{"away": q.Away, "strangers": q.Strangers} {
		if yes {
			v.Set(name, "true")
		}
	}
	if q.Older > 0 {
		v.Set("older", q.Older.String())
	}
	if q.Queued > 0 {
		v.Set("queued", strconv.Itoa(q.Queued))
	}
	some = []Connection{}
	for limit == 0 || len(some) < limit {
		most := maxPage
		if limit > 0 {
			most = min(limit-len(some), maxPage)
		}
		v.Set("limit", strconv.Itoa(most))
		page, err := get[ConnectionPage](ctx, c, "/connections?"+v.Encode())
		if err != nil {
			return nil, "", err
		}
		some, broker = append(some, page.Items...), page.Broker
		if page.Next == "" || len(page.Items) == 0 {
			break
		}
		v.Set("after", page.Next)
	}
	return some, broker, nil
}

// Connection shows one with its subscriptions.
func (c *Client) Connection(ctx context.Context, id string) (Connection, error) {
	return get[Connection](ctx, c, join("connections", id))
}

// Kick ends connections, any number of them, and gives the ids of those that it ended.
func (c *Client) Kick(ctx context.Context, ids []string) (ended []string, err error) {
	ended = []string{}
	for len(ids) > 0 {
		some := ids[:min(len(ids), maxPage)]
		ids = ids[len(some):]
		k, err := send[Kicked](ctx, c, http.MethodPost, "/connections/kick", Kick{IDs: some})
		if err != nil {
			return ended, err
		}
		ended = append(ended, k.Kicked...)
	}
	return ended, nil
}

// FullName is the connection's device with its pool; empty if it is none's.
func (x *Connection) FullName() string { return strings.TrimPrefix(x.Pool+":"+x.Device, ":") }
