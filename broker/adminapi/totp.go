package adminapi

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/signetd/signet/broker/control"
)

// NewTOTP asks for a device's generator of one-time codes (RFC 6238).
type NewTOTP struct {
	Algorithm string `json:"algorithm,omitempty" enum:"SHA1,SHA256,SHA512" doc:"SHA1 unless given: what every authenticator app knows"`
	Digits    int    `json:"digits,omitempty" minimum:"6" maximum:"8" doc:"6 unless given"`
	Replace   bool   `json:"replace,omitempty" doc:"The one that there is goes"`
}

// TOTP is a generator that was just made.
type TOTP struct {
	Pool string `json:"pool"`
	Name string `json:"name"`
	URI  string `json:"uri" doc:"otpauth URI for authenticator apps, with the secret; shown only now"`
}

func (s *service) totpRoutes(api huma.API) {
	const tag, path = "devices", devicesPath + "/{name}/totp"
	handle(s, api, route(http.MethodPost, path, "create-totp", "Make a device's generator of one-time codes", tag),
		func(ctx context.Context, in *struct {
			DevicePath
			Body NewTOTP
		}) (TOTP, error) {
			id, err := in.device()
			if err != nil {
				return TOTP{}, err
			}
			uri, err := s.dir.SetTOTP(ctx, byOf(ctx), id, control.NewTOTP{Algorithm: in.Body.Algorithm, Digits: in.Body.Digits, Replace: in.Body.Replace})
			return TOTP{Pool: id.Pool.String(), Name: id.Name.String(), URI: uri}, err
		})
	handleEmpty(s, api, route(http.MethodDelete, path, "delete-totp", "Take a device's generator of one-time codes away", tag),
		func(ctx context.Context, in *DevicePath) error {
			id, err := in.device()
			if err != nil {
				return err
			}
			return s.dir.RemoveTOTP(ctx, byOf(ctx), id)
		})
}

// CreateTOTP makes a device's generator of one-time codes; the answer has its secret.
func (p PoolClient) CreateTOTP(ctx context.Context, name string, n NewTOTP) (TOTP, error) {
	return send[TOTP](ctx, p.c, http.MethodPost, p.path+join("devices", name, "totp"), n)
}

// DeleteTOTP takes a device's generator of one-time codes away.
func (p PoolClient) DeleteTOTP(ctx context.Context, name string) error {
	return p.c.do(ctx, http.MethodDelete, p.path+join("devices", name, "totp"), nil, nil)
}
