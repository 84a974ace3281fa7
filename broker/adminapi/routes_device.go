package adminapi

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/broker/control"
	"github.com/signetd/signet/protocol/ident"
)

func (s *service) poolRoutes(api huma.API) {
	const tag = "pools"
	handle(s, api, route(http.MethodGet, "/status", "status", "Ask the broker how it is and who you are", "status"), s.status)
	handle(s, api, route(http.MethodGet, "/pools", "list-pools", "List pools", tag),
		func(ctx context.Context, in *struct{ Paging }) (Page[Pool], error) {
			all, err := s.dir.ListPools(ctx)
			return page(in.Paging, all, func(p broker.Pool) string { return p.Name.String() }, wirePool), err
		})
	handle(s, api, route(http.MethodPost, "/pools", "create-pool", "Create a pool with its keys, a default client and flow", tag),
		func(ctx context.Context, in *struct{ Body NewPool }) (Pool, error) {
			name, err := ident.ParsePool(in.Body.Name)
			if err != nil {
				return Pool{}, err
			}
			p, err := s.dir.CreatePool(ctx, byOf(ctx), name)
			return wirePool(p), err
		})
	handle(s, api, route(http.MethodGet, "/pools/{pool}", "get-pool", "Show a pool", tag),
		func(ctx context.Context, in *PoolPath) (Pool, error) {
			name, err := in.pool()
			if err != nil {
				return Pool{}, err
			}
			p, err := s.dir.Pool(ctx, name)
			return wirePool(p), err
		})
	handle(s, api, route(http.MethodPatch, "/pools/{pool}", "update-pool", "Change a pool's default flow", tag),
		func(ctx context.Context, in *struct {
			PoolPath
			Body PoolChange
		}) (Pool, error) {
			name, err := in.pool()
			if err != nil {
				return Pool{}, err
			}
			p, err := s.dir.SetPoolFlow(ctx, byOf(ctx), name, in.Body.Flow, nil)
			return wirePool(p), err
		})
	handleEmpty(s, api, route(http.MethodDelete, "/pools/{pool}", "delete-pool", "Delete a pool and all that is in it", tag),
		func(ctx context.Context, in *PoolPath) error {
			name, err := in.pool()
			if err != nil {
				return err
			}
			return s.dir.DeletePool(ctx, byOf(ctx), name)
		})
}

func (s *service) status(ctx context.Context, _ *struct{}) (Status, error) {
	pools, err := s.dir.ListPools(ctx)
	who := callOf(ctx).operator
	return Status{Version: s.cfg.Version, Time: s.cfg.Now().UTC(), Pools: len(pools), Operator: who.Name, Expires: who.Expires}, err
}

const devicesPath = "/pools/{pool}/devices"

func (s *service) deviceRoutes(api huma.API) {
	const tag = "devices"
	handle(s, api, route(http.MethodGet, devicesPath, "list-devices", "List devices by name", tag), s.listDevices)
	handle(s, api, route(http.MethodPost, devicesPath, "create-device", "Register a device", tag), s.createDevice)
	handle(s, api, route(http.MethodGet, devicesPath+"/{name}", "get-device", "Show a device", tag), onDevice(s.dir.Device))
	handle(s, api, route(http.MethodPatch, devicesPath+"/{name}", "update-device", "Replace groups or attributes", tag),
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
	handleEmpty(s, api, route(http.MethodDelete, devicesPath+"/{name}", "delete-device", "Delete a device and end its sessions", tag),
		func(ctx context.Context, in *DevicePath) error {
			id, err := in.device()
			if err != nil {
				return err
			}
			return s.dir.DeleteDevice(ctx, byOf(ctx), id)
		})
	for _, a := range []struct {
		name, summary string
		do            func(context.Context, broker.By, ident.Device) (broker.Device, error)
	}{
		{"disable", "Take everything from a device until it is enabled again", s.dir.DisableDevice},
		{"enable", "Make a disabled device active", s.dir.EnableDevice},
		{"approve", "Make a pending device active", s.dir.ApproveDevice},
		{"revoke", "End all sessions of a device; it may log in again", s.dir.RevokeSessions},
	} {
		handle(s, api, action(devicesPath+"/{name}/"+a.name, a.name+"-device", a.summary, tag), onDevice(func(ctx context.Context, id ident.Device) (broker.Device, error) { return a.do(ctx, byOf(ctx), id) }))
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

func (s *service) sessionRoutes(api huma.API) {
	const tag, path = "sessions", devicesPath + "/{name}/sessions"
	handle(s, api, route(http.MethodGet, path, "list-sessions", "List a device's newest 100 sessions", tag),
		func(ctx context.Context, in *DevicePath) (Page[Session], error) {
			id, err := in.device()
			if err != nil {
				return Page[Session]{}, err
			}
			all, err := s.dir.ListSessions(ctx, id)
			out := Page[Session]{Items: []Session{}}
			for _, v := range all {
				out.Items = append(out.Items, wireSession(v))
			}
			return out, err
		})
	handleEmpty(s, api, route(http.MethodDelete, path+"/{session}", "revoke-session", "End one session", tag),
		func(ctx context.Context, in *struct {
			DevicePath
			Session string `path:"session" maxLength:"36"`
		}) error {
			id, err := in.device()
			if err != nil {
				return err
			}
			session, err := ident.ParseUUID(in.Session)
			if err != nil {
				return err
			}
			return s.dir.RevokeSession(ctx, byOf(ctx), id, session)
		})
}
