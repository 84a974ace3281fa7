package adminapi

import (
	"context"
	"net/http"
	"time"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/broker/control"
)

// ClientSettings are an application's: its flow, audiences and lifetimes.
type ClientSettings struct {
	ID          string     `json:"id" maxLength:"64" pattern:"^[a-z0-9-]+$" patternDescription:"a-z, 0-9 and -" column:"ID"`
	Flow        string     `json:"flow,omitempty" maxLength:"64" doc:"The pool's if absent" column:"FLOW" flag:"flow" usage:"<flow> of its devices; the pool's if not given"`
	Audiences   []string   `json:"audiences,omitempty" nullable:"false" doc:"The pool's name if absent" column:"AUDIENCES" flag:"audience" usage:"<audience> of its tokens, the pool's name if not given; may be repeated"`
	AccessLife  *Duration  `json:"accessLife,omitempty" doc:"Of access and ID tokens: 5m to 1d; 1h if absent" column:"ACCESS" flag:"access-life" usage:"life of access and ID tokens, 5m to 1d" shown:"1h"`
	RefreshLife *Duration  `json:"refreshLife,omitempty" doc:"Of refresh tokens: 1h to 10y, 0s for none; 30d if absent" column:"REFRESH" flag:"refresh-life" usage:"life of refresh tokens, 1h to 10y; 0 for none" shown:"30d"`
	Grace       *Duration  `json:"grace,omitempty" doc:"How long a rotated refresh token still answers with its successor: at most 1h; 5m if absent" column:"GRACE" flag:"grace" usage:"how long a rotated refresh token still answers with its successor, at most 1h" shown:"5m"`
	MaxSessions *int       `json:"maxSessions,omitempty" minimum:"0" maximum:"50" doc:"How many sessions a device has with it at once; a further one ends the oldest. 0: as many as are kept, 100; 1 if absent" column:"SESSIONS,show" flag:"max-sessions" usage:"how many sessions a device has with it at once, 1 to 50, or 0 for as many as are kept; a further one ends the oldest" shown:"1"`
	Created     *time.Time `json:"created,omitempty" readOnly:"true" column:"CREATED,show"`
}

func clientResource() resource[broker.Client, ClientSettings] {
	form := func() any { return &ClientSettings{} }
	return resource[broker.Client, ClientSettings]{
		Noun: Noun{
			Command: "client", One: "client", Path: "clients", Plural: "clients", Key: "id", New: form,
			About:  "Applications: their flow, audiences and lifetimes",
			Create: Verb{"Create a client", "signet client create app --pool demo --audience telemetry --access-life 15m", form},
			Change: Verb{"Change a client's settings; what is not given stays", "signet client update default --pool demo --flow two --refresh-life 60d", nil},
			Delete: Verb{About: "Delete a client that no device is logged in with"},
			Forced: "even if devices are logged in with it: their connections end, and their sessions cannot be renewed",
		},
		use:  use(broker.ClientKind(), (*control.Plane).Clients),
		name: func(c *ClientSettings) string { return c.ID },
		wire: func(c broker.Client) ClientSettings {
			return ClientSettings{
				ID: c.ID, Flow: c.Flow, Audiences: c.Audiences, AccessLife: span(c.AccessLife),
				RefreshLife: span(c.RefreshLife), Grace: span(c.Grace), MaxSessions: &c.MaxSessions, Created: optional(c.Created),
			}
		},
		write: writeClient,
	}
}

func writeClient(w *ClientSettings, c *broker.Client) error {
	c.Flow = w.Flow
	if len(w.Audiences) != 0 {
		c.Audiences = w.Audiences
	}
	life, err := given("accessLife", w.AccessLife)
	if err != nil {
		return err
	}
	if life != 0 {
		c.AccessLife = life
	}
	if w.RefreshLife != nil {
		c.RefreshLife = time.Duration(*w.RefreshLife)
	}
	if w.Grace != nil {
		c.Grace = time.Duration(*w.Grace)
	}
	if w.MaxSessions != nil {
		c.MaxSessions = *w.MaxSessions
	}
	return nil
}

// Client shows a client.
func (p PoolClient) Client(ctx context.Context, id string) (ClientSettings, error) {
	return get[ClientSettings](ctx, p.c, p.path+join("clients", id))
}

// CreateClient creates a client.
func (p PoolClient) CreateClient(ctx context.Context, s ClientSettings) (ClientSettings, error) {
	return send[ClientSettings](ctx, p.c, http.MethodPost, p.path+"/clients", s)
}

// ReplaceClient replaces a client's settings.
func (p PoolClient) ReplaceClient(ctx context.Context, s ClientSettings) (ClientSettings, error) {
	s.Created = nil
	return send[ClientSettings](ctx, p.c, http.MethodPut, p.path+join("clients", s.ID), s)
}
