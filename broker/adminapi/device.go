package adminapi

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/broker/control"
	"github.com/signetd/signet/protocol/ident"
	"github.com/signetd/signet/protocol/token"
)

// A Device is one machine.
type Device struct {
	Pool           string            `json:"pool"`
	Name           string            `json:"name"`
	Subject        string            `json:"subject" doc:"The sub of its tokens; never changes"`
	Status         string            `json:"status" enum:"pending,active,disabled,quarantined"`
	Authenticators []Authenticator   `json:"authenticators" nullable:"false"`
	Attributes     map[string]string `json:"attributes,omitempty"`
	Groups         []string          `json:"groups,omitempty" nullable:"false"`
	Created        time.Time         `json:"created"`
	Updated        time.Time         `json:"updated"`
	SessionsAfter  *time.Time        `json:"sessionsAfter,omitempty" doc:"When all its sessions were last ended"`
	ClonedSince    *time.Time        `json:"clonedSince,omitempty" doc:"When two copies of its key were first seen to be in use, since its sessions were last ended or it was enabled"`
}

// An Authenticator is what a device proves itself with.
type Authenticator struct {
	Kind       string    `json:"kind" doc:"The challenge that it answers, such as key or psk"`
	ID         string    `json:"id" doc:"The one id of the key, of 32 bytes in base64url; of a public key RFC 9679, as in tokens in CBOR"`
	Alg        string    `json:"alg,omitempty"`
	Thumbprint string    `json:"thumbprint,omitempty" doc:"Of a public key: RFC 7638, in base64url, as in tokens in JSON"`
	Added      time.Time `json:"added"`
}

// NewDevice asks for a device.
type NewDevice struct {
	Name       string            `json:"name" maxLength:"128" pattern:"^[A-Za-z0-9_:-]+$" patternDescription:"letters, digits, _ : and -" example:"lamp-1"`
	Key        string            `json:"key,omitempty" maxLength:"8192" doc:"Public key: PEM, JWK or COSE_Key in hex; Ed25519 or P-256"`
	PSK        string            `json:"psk,omitempty" maxLength:"8192" doc:"Shared key of 32 to 64 bytes in hex or base64"`
	Pending    bool              `json:"pending,omitempty" doc:"Wait for approval"`
	Attributes map[string]string `json:"attributes,omitempty"`
	Groups     []string          `json:"groups,omitempty" nullable:"false"`
}

// DeviceChange gives a device other attributes or groups, all of them. A member that is not
// sent stays as it is.
type DeviceChange struct {
	Attributes map[string]string `json:"attributes,omitempty"`
	Groups     []string          `json:"groups,omitempty" nullable:"false"`
}

func wireDevice(d broker.Device) Device {
	out := Device{
		Pool: d.ID.Pool.String(), Name: d.ID.Name.String(), Subject: d.Subject.String(), Status: string(d.Status),
		Authenticators: []Authenticator{}, Attributes: d.Attributes, Groups: d.Groups,
		Created: d.Created, Updated: d.Updated, SessionsAfter: optional(d.SessionsAfter), ClonedSince: optional(d.ClonedSince),
	}
	for _, a := range d.Authenticators {
		w := Authenticator{Kind: a.Kind, ID: a.ID.String(), Added: a.Added}
		if k, err := token.ParseCOSEKey(a.Key); err == nil {
			w.Alg, w.Thumbprint = k.Alg().String(), k.KID()
		}
		out.Authenticators = append(out.Authenticators, w)
	}
	return out
}

const devicesPath = "/pools/{pool}/devices"

func (s *service) deviceRoutes(api huma.API) {
	const tag = "devices"
	handle(s, api, route(broker.OperatorRead, http.MethodGet, devicesPath, "list-devices", "List devices by name", tag), s.listDevices)
	handle(s, api, route(broker.OperatorEnroll, http.MethodPost, devicesPath, "create-device", "Register a device", tag), s.createDevice)
	handle(s, api, route(broker.OperatorRead, http.MethodGet, devicesPath+"/{name}", "get-device", "Show a device", tag), onDevice(s.dir.Device))
	handle(s, api, route(broker.OperatorWrite, http.MethodPatch, devicesPath+"/{name}", "update-device", "Replace groups or attributes", tag),
		func(ctx context.Context, in *struct {
			DevicePath
			Body DeviceChange
		}) (Device, error) {
			id, err := in.device()
			if err != nil {
				return Device{}, err
			}
			d, err := s.dir.UpdateDevice(ctx, byOf(ctx), id, in.Body.Groups, in.Body.Attributes)
			return wireDevice(d), err
		})
	handleEmpty(s, api, route(broker.OperatorWrite, http.MethodDelete, devicesPath+"/{name}", "delete-device", "Delete a device and end its sessions", tag),
		func(ctx context.Context, in *DevicePath) error {
			id, err := in.device()
			if err != nil {
				return err
			}
			return s.dir.DeleteDevice(ctx, byOf(ctx), id)
		})
	for _, a := range []struct {
		scope         broker.OperatorScope
		name, summary string
		do            func(context.Context, broker.By, ident.Device) (broker.Device, error)
	}{
		{broker.OperatorWrite, "disable", "Take everything from a device until it is enabled again", s.dir.DisableDevice},
		{broker.OperatorWrite, "enable", "Make a disabled device active", s.dir.EnableDevice},
		{broker.OperatorEnroll, "approve", "Make a pending device active", s.dir.ApproveDevice},
		{broker.OperatorWrite, "revoke", "End all sessions of a device; it may log in again", s.dir.RevokeSessions},
	} {
		handle(s, api, action(a.scope, devicesPath+"/{name}/"+a.name, a.name+"-device", a.summary, tag), onDevice(func(ctx context.Context, id ident.Device) (broker.Device, error) { return a.do(ctx, byOf(ctx), id) }))
	}
}

// onDevice adapts a use case of one device.
func onDevice(do func(context.Context, ident.Device) (broker.Device, error)) func(context.Context, *DevicePath) (Device, error) {
	return func(ctx context.Context, in *DevicePath) (Device, error) {
		id, err := in.device()
		if err != nil {
			return Device{}, err
		}
		d, err := do(ctx, id)
		return wireDevice(d), err
	}
}

func (s *service) listDevices(ctx context.Context, in *poolList) (Page[Device], error) {
	pool, err := in.pool()
	if err != nil {
		return Page[Device]{}, err
	}
	some, err := s.dir.ListDevices(ctx, pool, in.After, in.Limit+1)
	return page(in.Paging, some, func(d broker.Device) string { return d.ID.Name.String() }, wireDevice), err
}

func (s *service) createDevice(ctx context.Context, in *struct {
	PoolPath
	Body NewDevice
}) (Device, error) {
	path := DevicePath{in.PoolPath, in.Body.Name}
	id, err := path.device()
	if err != nil {
		return Device{}, err
	}
	d, err := s.dir.CreateDevice(ctx, byOf(ctx), control.NewDevice{
		ID: id, Key: in.Body.Key, PSK: in.Body.PSK, Pending: in.Body.Pending,
		Attributes: in.Body.Attributes, Groups: in.Body.Groups,
	})
	return wireDevice(d), err
}

// Devices lists all devices by name.
func (p PoolClient) Devices(ctx context.Context) ([]Device, error) {
	return all[Device](ctx, p.c, p.path+"/devices")
}

// CountDevices says how many devices the pool has.
func (p PoolClient) CountDevices(ctx context.Context) (int, error) {
	pool, err := get[Pool](ctx, p.c, p.path)
	if err != nil {
		return 0, err
	}
	if pool.Devices == nil {
		return 0, errors.New("the broker does not say how many devices the pool has")
	}
	return *pool.Devices, nil
}

// CreateDevice registers a device.
func (p PoolClient) CreateDevice(ctx context.Context, n NewDevice) (Device, error) {
	return send[Device](ctx, p.c, http.MethodPost, p.path+"/devices", n)
}

// Device shows a device.
func (p PoolClient) Device(ctx context.Context, name string) (Device, error) {
	return get[Device](ctx, p.c, p.path+join("devices", name))
}

// UpdateDevice replaces groups and attributes; nil leaves as it is.
func (p PoolClient) UpdateDevice(ctx context.Context, name string, change DeviceChange) (Device, error) {
	return send[Device](ctx, p.c, http.MethodPatch, p.path+join("devices", name), change)
}

// DeleteDevice deletes a device.
func (p PoolClient) DeleteDevice(ctx context.Context, name string) error {
	return p.c.do(ctx, http.MethodDelete, p.path+join("devices", name), nil, nil)
}

// DisableDevice takes everything from a device until it is enabled again.
func (p PoolClient) DisableDevice(ctx context.Context, name string) (Device, error) {
	return p.act(ctx, name, "disable")
}

// EnableDevice makes a disabled device active.
func (p PoolClient) EnableDevice(ctx context.Context, name string) (Device, error) {
	return p.act(ctx, name, "enable")
}

// ApproveDevice makes a pending device active.
func (p PoolClient) ApproveDevice(ctx context.Context, name string) (Device, error) {
	return p.act(ctx, name, "approve")
}

// RevokeSessions ends all sessions of a device.
func (p PoolClient) RevokeSessions(ctx context.Context, name string) (Device, error) {
	return p.act(ctx, name, "revoke")
}

func (p PoolClient) act(ctx context.Context, name, action string) (Device, error) {
	return send[Device](ctx, p.c, http.MethodPost, p.path+join("devices", name, action), nil)
}
