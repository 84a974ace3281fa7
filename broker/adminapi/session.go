package adminapi

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/protocol/ident"
)

// A Session is one login of a device and the refresh tokens that follow from it.
type Session struct {
	ID      string     `json:"id"`
	Client  string     `json:"client"`
	Created time.Time  `json:"created"`
	Expires *time.Time `json:"expires,omitempty" doc:"Absent when no refresh token was given"`
	Rotated *time.Time `json:"rotated,omitempty" doc:"The last refresh"`
	Revoked bool       `json:"revoked"`
	Cloned  bool       `json:"cloned,omitempty" doc:"Its login showed that two copies of the device's key are in use"`
	From    string     `json:"from,omitempty" doc:"The address that its login came from, as the broker saw it"`
}

func wireSession(s broker.Session) Session {
	return Session{
		ID: s.ID.String(), Client: s.Client, Created: s.Created, Expires: optional(s.Expires),
		Rotated: optional(s.Rotated), Revoked: s.Revoked, Cloned: s.Cloned, From: s.From,
	}
}

func (s *service) sessionRoutes(api huma.API) {
	const tag, path = "sessions", devicesPath + "/{name}/sessions"
	handle(s, api, route(broker.OperatorRead, http.MethodGet, path, "list-sessions", "List a device's newest 100 sessions", tag),
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
	handleEmpty(s, api, route(broker.OperatorWrite, http.MethodDelete, path+"/{session}", "revoke-session", "End one session", tag),
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

// Sessions lists a device's newest 100 sessions.
func (p PoolClient) Sessions(ctx context.Context, device string) ([]Session, error) {
	page, err := get[Page[Session]](ctx, p.c, p.path+join("devices", device, "sessions"))
	return page.Items, err
}

// RevokeSession ends one session.
func (p PoolClient) RevokeSession(ctx context.Context, device, id string) error {
	return p.c.do(ctx, http.MethodDelete, p.path+join("devices", device, "sessions", id), nil, nil)
}
