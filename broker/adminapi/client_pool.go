package adminapi

import (
	"context"
	"net/http"
)

// A PoolClient speaks the operators' API about what is in one pool.
type PoolClient struct {
	c    *Client
	path string
}

// Devices lists all devices by name.
func (p PoolClient) Devices(ctx context.Context) ([]Device, error) {
	return all[Device](ctx, p.c, p.path+"/devices")
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

// Sessions lists a device's newest 100 sessions.
func (p PoolClient) Sessions(ctx context.Context, device string) ([]Session, error) {
	page, err := get[Page[Session]](ctx, p.c, p.path+join("devices", device, "sessions"))
	return page.Items, err
}

// RevokeSession ends one session.
func (p PoolClient) RevokeSession(ctx context.Context, device, id string) error {
	return p.c.do(ctx, http.MethodDelete, p.path+join("devices", device, "sessions", id), nil, nil)
}

// EnrollmentTokens lists all enrolment tokens.
func (p PoolClient) EnrollmentTokens(ctx context.Context) ([]EnrollmentToken, error) {
	return all[EnrollmentToken](ctx, p.c, p.path+"/enrollment-tokens")
}

// CreateEnrollmentToken makes an enrolment token; the answer has its text.
func (p PoolClient) CreateEnrollmentToken(ctx context.Context, n NewEnrollmentToken) (EnrollmentToken, error) {
	return send[EnrollmentToken](ctx, p.c, http.MethodPost, p.path+"/enrollment-tokens", n)
}

// EnrollmentToken shows an enrolment token.
func (p PoolClient) EnrollmentToken(ctx context.Context, id string) (EnrollmentToken, error) {
	return get[EnrollmentToken](ctx, p.c, p.path+join("enrollment-tokens", id))
}

// UpdateEnrollmentToken changes an enrolment token's uses or end.
func (p PoolClient) UpdateEnrollmentToken(ctx context.Context, id string, change EnrollmentTokenChange) (EnrollmentToken, error) {
	return send[EnrollmentToken](ctx, p.c, http.MethodPatch, p.path+join("enrollment-tokens", id), change)
}

// DeleteEnrollmentToken ends an enrolment token.
func (p PoolClient) DeleteEnrollmentToken(ctx context.Context, id string) error {
	return p.c.do(ctx, http.MethodDelete, p.path+join("enrollment-tokens", id), nil, nil)
}

// Clients lists all clients.
func (p PoolClient) Clients(ctx context.Context) ([]ClientSettings, error) {
	return all[ClientSettings](ctx, p.c, p.path+"/clients")
}

// CreateClient creates a client.
func (p PoolClient) CreateClient(ctx context.Context, s ClientSettings) (ClientSettings, error) {
	return send[ClientSettings](ctx, p.c, http.MethodPost, p.path+"/clients", s)
}

// Client shows a client.
func (p PoolClient) Client(ctx context.Context, id string) (ClientSettings, error) {
	return get[ClientSettings](ctx, p.c, p.path+join("clients", id))
}

// ReplaceClient replaces a client's settings.
func (p PoolClient) ReplaceClient(ctx context.Context, s ClientSettings) (ClientSettings, error) {
	s.Created = nil
	return send[ClientSettings](ctx, p.c, http.MethodPut, p.path+join("clients", s.ID), s)
}

// DeleteClient deletes a client.
func (p PoolClient) DeleteClient(ctx context.Context, id string) error {
	return p.c.do(ctx, http.MethodDelete, p.path+join("clients", id), nil, nil)
}

// Flows lists all flows.
func (p PoolClient) Flows(ctx context.Context) ([]Flow, error) {
	return all[Flow](ctx, p.c, p.path+"/flows")
}

// CreateFlow creates a flow.
func (p PoolClient) CreateFlow(ctx context.Context, f Flow) (Flow, error) {
	return send[Flow](ctx, p.c, http.MethodPost, p.path+"/flows", f)
}

// Flow shows a flow.
func (p PoolClient) Flow(ctx context.Context, name string) (Flow, error) {
	return get[Flow](ctx, p.c, p.path+join("flows", name))
}

// ReplaceFlow replaces a flow.
func (p PoolClient) ReplaceFlow(ctx context.Context, f Flow) (Flow, error) {
	f.Created = nil
	return send[Flow](ctx, p.c, http.MethodPut, p.path+join("flows", f.Name), f)
}

// DeleteFlow deletes a flow.
func (p PoolClient) DeleteFlow(ctx context.Context, name string) error {
	return p.c.do(ctx, http.MethodDelete, p.path+join("flows", name), nil, nil)
}

// Hooks lists all hooks.
func (p PoolClient) Hooks(ctx context.Context) ([]Hook, error) {
	return all[Hook](ctx, p.c, p.path+"/hooks")
}

// CreateHook registers a webhook; the answer has its secret.
func (p PoolClient) CreateHook(ctx context.Context, n NewHook) (Hook, error) {
	return send[Hook](ctx, p.c, http.MethodPost, p.path+"/hooks", n)
}

// Hook shows a hook.
func (p PoolClient) Hook(ctx context.Context, name string) (Hook, error) {
	return get[Hook](ctx, p.c, p.path+join("hooks", name))
}

// UpdateHook changes a hook; the answer has its new secret, if one was asked for.
func (p PoolClient) UpdateHook(ctx context.Context, name string, change HookChange) (Hook, error) {
	return send[Hook](ctx, p.c, http.MethodPatch, p.path+join("hooks", name), change)
}

// DeleteHook deletes a hook.
func (p PoolClient) DeleteHook(ctx context.Context, name string) error {
	return p.c.do(ctx, http.MethodDelete, p.path+join("hooks", name), nil, nil)
}

// Keys lists the signing keys.
func (p PoolClient) Keys(ctx context.Context) ([]Key, error) {
	return all[Key](ctx, p.c, p.path+"/keys")
}

// RotateKey announces a new signing key.
func (p PoolClient) RotateKey(ctx context.Context, r KeyRotation) (Key, error) {
	return send[Key](ctx, p.c, http.MethodPost, p.path+"/keys/rotate", r)
}

// ActivateKey signs with an announced key from now on.
func (p PoolClient) ActivateKey(ctx context.Context, id string) (Key, error) {
	return send[Key](ctx, p.c, http.MethodPost, p.path+"/keys/activate", KeyChoice{id})
}

// RetireKey takes a key out of the key set.
func (p PoolClient) RetireKey(ctx context.Context, r KeyRetirement) (Key, error) {
	return send[Key](ctx, p.c, http.MethodPost, p.path+"/keys/retire", r)
}
