package adminapi

import (
	"context"
	"encoding/hex"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/broker/control"
	"github.com/signetd/signet/protocol/ident"
	"github.com/signetd/signet/protocol/token"
)

// A Pool is a directory of devices with an issuer of its own.
type Pool struct {
	Name             string         `json:"name"`
	Issuer           string         `json:"issuer" doc:"The iss of its tokens; discovery is below it"`
	Flow             string         `json:"flow" doc:"The default flow"`
	MQTTPasswordLife Duration       `json:"mqttPasswordLife" doc:"How long an MQTT password may be used to connect; 0s: there are none"`
	Clones           string         `json:"clones" enum:"note,quarantine" doc:"What is done about a device when two copies of its key are in use: note logs and records it, quarantine quarantines the device besides"`
	Anchor           string         `json:"anchor" doc:"The key that vouches for all others: COSE_Key in hex"`
	AnchorThumbprint string         `json:"anchorThumbprint" doc:"RFC 9679, in hex"`
	AnchorSince      time.Time      `json:"anchorSince" doc:"When it became the pool's"`
	FormerAnchors    []FormerAnchor `json:"formerAnchors,omitempty" nullable:"false" doc:"Those that led to it, oldest first: devices and enrollment tokens that know one of them follow"`
	Created          time.Time      `json:"created"`
	Devices          *int           `json:"devices,omitempty" doc:"How many it has; only when one pool is asked for"`
}

// A FormerAnchor is one that another took the place of.
type FormerAnchor struct {
	Thumbprint string    `json:"thumbprint" doc:"RFC 9679, in hex"`
	Replaced   time.Time `json:"replaced" doc:"When the next one took its place"`
}

// AnchorRotation asks for another anchor.
type AnchorRotation struct {
	Revoke bool `json:"revoke,omitempty" doc:"The anchor was stolen: do not let devices follow by its word, and end all enrollment tokens. No device believes the pool until it is enrolled again"`
	Force  bool `json:"force,omitempty" doc:"Revoke it even if the pool has devices or enrollment tokens"`
}

// NewPool asks for a pool.
type NewPool struct {
	Name string `json:"name" maxLength:"32" pattern:"^[a-z][a-z0-9-]*$" patternDescription:"a lower-case letter, then a-z, 0-9 and -" example:"demo"`
}

// PoolChange changes what it has; what is absent stays.
type PoolChange struct {
	Flow             string    `json:"flow,omitempty" maxLength:"64" pattern:"^[a-z0-9-]+$" patternDescription:"a-z, 0-9 and -" doc:"The flow of clients that name none"`
	MQTTPasswordLife *Duration `json:"mqttPasswordLife,omitempty" doc:"How long an MQTT password may be used to connect: 1m to 1d, 0s to give and take none"`
	Clones           string    `json:"clones,omitempty" enum:"note,quarantine" doc:"What is done about a device when two copies of its key are in use: note logs and records it, quarantine quarantines the device besides"`
}

// change is what becomes of the pool.
func (c *PoolChange) change() control.PoolChange {
	var out control.PoolChange
	if c.Flow != "" {
		out.Flow = &c.Flow
	}
	if c.MQTTPasswordLife != nil {
		out.MQTTPasswordLife = new(time.Duration(*c.MQTTPasswordLife))
	}
	if c.Clones != "" {
		out.Clones = new(broker.Clones(c.Clones))
	}
	return out
}

func wirePool(p broker.Pool) Pool {
	out := Pool{Name: p.Name.String(), Issuer: p.Issuer, Flow: p.Flow, Anchor: hex.EncodeToString(p.Anchor), AnchorThumbprint: thumbprint(p.Anchor),
		AnchorSince: p.AnchorSince, MQTTPasswordLife: Duration(p.MQTTPasswordLife), Clones: string(p.Clones), Created: p.Created}
	for _, s := range p.Successions {
		out.FormerAnchors = append(out.FormerAnchors, FormerAnchor{thumbprint(s.From), s.At})
	}
	return out
}

// thumbprint is that of a COSE_Key in hex, empty for what is none.
func thumbprint(cose []byte) string {
	k, err := token.ParseCOSEKey(cose)
	if err != nil {
		return ""
	}
	thumb := k.Thumbprint()
	return hex.EncodeToString(thumb[:])
}

func (s *service) poolRoutes(api huma.API) {
	const word = "pools"
	handle(s, api, inOwnPools(route(broker.OperatorRead, http.MethodGet, "/status", "status", "Ask the broker how it is and who you are", "status")), s.status)
	handle(s, api, inOwnPools(route(broker.OperatorRead, http.MethodGet, "/pools", "list-pools", "List the pools that the operator may see", word)),
		func(ctx context.Context, in *struct{ Paging }) (Page[Pool], error) {
			all, err := s.pools(ctx)
			return page(in.Paging, all, func(p broker.Pool) string { return p.Name.String() }, wirePool), err
		})
	tag(s, api, route(broker.OperatorWrite, http.MethodPost, "/pools", "create-pool", "Create a pool with its keys, a default client and flow", word),
		func(ctx context.Context, in *struct{ Body NewPool }) (tagged[Pool], error) {
			name, err := ident.ParsePool(in.Body.Name)
			if err != nil {
				return tagged[Pool]{}, err
			}
			p, err := s.dir.CreatePool(ctx, byOf(ctx), name)
			return tagged[Pool]{http.StatusCreated, etag(p.Rev), wirePool(p)}, err
		})
	tag(s, api, route(broker.OperatorRead, http.MethodGet, "/pools/{pool}", "get-pool", "Show a pool", word),
		func(ctx context.Context, in *PoolPath) (tagged[Pool], error) {
			name, err := in.pool()
			if err != nil {
				return tagged[Pool]{}, err
			}
			p, err := s.dir.Pool(ctx, name)
			if err != nil {
				return tagged[Pool]{}, err
			}
			devices, err := s.dir.CountDevices(ctx, name)
			out := wirePool(p)
			out.Devices = &devices
			return tagged[Pool]{http.StatusOK, etag(p.Rev), out}, err
		})
	tag(s, api, route(broker.OperatorWrite, http.MethodPatch, "/pools/{pool}", "update-pool", "Change a pool's settings; what is not given stays", word),
		func(ctx context.Context, in *struct {
			PoolPath
			Matching
			Body PoolChange
		}) (tagged[Pool], error) {
			name, err := in.pool()
			if err != nil {
				return tagged[Pool]{}, err
			}
			p, err := s.dir.ChangePool(ctx, byOf(ctx), name, in.Body.change(), in.match())
			return tagged[Pool]{http.StatusOK, etag(p.Rev), wirePool(p)}, err
		})
	tag(s, api, action(broker.OperatorAdmin, "/pools/{pool}/anchor/rotate", "rotate-anchor", "Give a pool another anchor", "keys"),
		func(ctx context.Context, in *struct {
			PoolPath
			Matching
			Body AnchorRotation
		}) (tagged[Pool], error) {
			name, err := in.pool()
			if err != nil {
				return tagged[Pool]{}, err
			}
			var p broker.Pool
			if in.Body.Revoke {
				p, err = s.dir.RevokeAnchor(ctx, byOf(ctx), name, in.match(), in.Body.Force)
			} else {
				p, err = s.dir.RotateAnchor(ctx, byOf(ctx), name, in.match())
			}
			return tagged[Pool]{http.StatusOK, etag(p.Rev), wirePool(p)}, err
		})
	handleEmpty(s, api, route(broker.OperatorAdmin, http.MethodDelete, "/pools/{pool}", "delete-pool", "Delete a pool and all that is in it", word),
		func(ctx context.Context, in *struct {
			PoolPath
			Forcing
		}) error {
			name, err := in.pool()
			if err != nil {
				return err
			}
			return s.dir.DeletePool(ctx, byOf(ctx), name, in.Force)
		})
}

// Pools lists all pools.
func (c *Client) Pools(ctx context.Context) ([]Pool, error) { return all[Pool](ctx, c, "/pools") }

// CreatePool creates a pool.
func (c *Client) CreatePool(ctx context.Context, name string) (Pool, error) {
	return send[Pool](ctx, c, http.MethodPost, "/pools", NewPool{name})
}

// Pool shows a pool.
func (c *Client) Pool(ctx context.Context, name string) (Pool, error) {
	return get[Pool](ctx, c, join("pools", name))
}

// UpdatePool changes a pool's settings.
func (c *Client) UpdatePool(ctx context.Context, name string, change PoolChange) (Pool, error) {
	return send[Pool](ctx, c, http.MethodPatch, join("pools", name), change)
}

// DeletePool deletes a pool and all that is in it, with force even if it has devices.
func (c *Client) DeletePool(ctx context.Context, name string, force bool) error {
	return c.remove(ctx, join("pools", name), force)
}

// In gives access to what is in a pool.
func (c *Client) In(pool string) PoolClient { return PoolClient{c, join("pools", pool)} }

// A PoolClient speaks the operators' API about what is in one pool.
type PoolClient struct {
	c    *Client
	path string
}

// RotateAnchor gives the pool another anchor.
func (p PoolClient) RotateAnchor(ctx context.Context, r AnchorRotation) (Pool, error) {
	return send[Pool](ctx, p.c, http.MethodPost, p.path+"/anchor/rotate", r)
}
