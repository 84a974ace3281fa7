// Package adminapi is the operators' HTTP API, version 1: Handler serves it over the
// control plane, Client speaks it, and both share the bodies. Each resource has a file:
// its bodies, its routes, the client's methods; kinds of settings describe themselves
// (Noun), and routes, commands and files of settings follow from that. The OpenAPI
// document comes from the handlers' types (huma) and is kept in docs/openapi.json.
//
// What an operator may ask for is decided here: each route declares the scope that it needs,
// and authorize holds operators to their scopes and pools. What may be done to what is
// stored is the control plane's to say. Every path needs an operator's token except the
// API's own description. Secrets appear in one answer
// only, the one that made them.
package adminapi

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"reflect"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humago"

	"github.com/signetd/signet/broker/control"
	"github.com/signetd/signet/broker/problem"
	"github.com/signetd/signet/broker/tally"
	"github.com/signetd/signet/protocol/strictjson"
)

// Paths that need no token.
const (
	specPath = "/api/openapi.json"
)

const apiPath = "/api/v1" // of all routes

const maxBody = 64 << 10 // bytes of a request's body

// Config is what Handler serves.
type Config struct {
	Control *control.Plane
	Log     *slog.Logger
	Version string           // of the broker
	Now     func() time.Time // nil: time.Now
	// Certificates tells how long those of the broker's listeners last; may be nil.
	Certificates func() []Certificate
	// Forbidden is told of each request that its operator may not make; may be nil.
	Forbidden func(operator string, why Forbidden)
	// Connections are those of the broker's MQTT server; may be nil.
	Connections *control.Connections
	// Warnings tells what else there is to warn operators of; may be nil.
	Warnings func() []string
	// Local: whoever's request comes here is the broker's own user, or root, on its
	// machine, which who hands it over has made sure of. It needs no token, and what it
	// writes is broker.ActorLocal's.
	Local bool
}

// Handler serves /api/. The error says what Config lacks.
func Handler(cfg Config) (http.Handler, error) {
	if cfg.Control == nil || cfg.Log == nil {
		return nil, errors.New("adminapi: control plane and log are required")
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	mux := http.NewServeMux()
	spec := register(mux, &service{cfg.Control, cfg})
	document, err := json.MarshalIndent(spec, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("adminapi: OpenAPI document: %w", err)
	}
	page, err := newPage(spec)
	if err != nil {
		return nil, fmt.Errorf("adminapi: docs page: %w", err)
	}
	mux.HandleFunc("GET "+specPath, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/openapi+json")
		w.Write(append(document, '\n'))
	})
	mux.Handle("GET "+problem.DocsPath, page)
	mux.HandleFunc("/", unmatched(mux))
	return &guard{next: mux, cfg: cfg, throttle: newThrottle(), told: tally.New(cfg.Log)}, nil
}

// register puts all routes on mux and gives their description.
func register(mux *http.ServeMux, s *service) *huma.OpenAPI {
	config := huma.DefaultConfig("Signet operators' API", "1")
	config.Info.Description = "Pools, devices and all that belongs to them. Every request needs an operator's token. A request that changes something may say why in the header " +
		reasonHeader + ": one line of printable text, at most 256 bytes, kept in the audit trail."
	config.OpenAPIPath, config.DocsPath, config.SchemasPath = "", "", ""
	config.CreateHooks = nil // no $schema links
	config.Transformers = []huma.Transformer{reportProblems}
	config.RejectUnknownQueryParameters = true
	config.Formats = map[string]huma.Format{"application/json": {Marshal: huma.DefaultJSONFormat.Marshal, Unmarshal: readJSON}}
	config.Formats["json"] = config.Formats["application/json"]
	config.Components.SecuritySchemes = map[string]*huma.SecurityScheme{
		scheme: {Type: "http", Scheme: "bearer", Description: "An operator's token, sgnt_..., of the scope that the operation names or a wider one: read, enroll, write, admin"},
	}
	config.Components.Schemas.RegisterTypeAlias(reflect.TypeFor[huma.ErrorModel](), reflect.TypeFor[problem.Problem]())
	config.Security = []map[string][]string{{scheme: {}}}
	api := humago.New(mux, config)
	api.UseMiddleware(authorize)
	s.poolRoutes(api)
	s.deviceRoutes(api)
	for _, k := range made() {
		k.register(s, api)
	}
	s.sessionRoutes(api)
	for _, r := range resources() {
		r.register(s, api)
	}
	s.applyRoutes(api)
	s.keyRoutes(api)
	s.operatorRoutes(api)
	s.auditRoutes(api)
	s.connectionRoutes(api)
	s.traceRoutes(api)
	finish(api.OpenAPI())
	return api.OpenAPI()
}

// readJSON refuses what encoding/json and Huma forgive: members that occur twice or are spelt
// in another case, bad UTF-8, depth without bound.
func readJSON(data []byte, v any) error {
	return strictjson.Unmarshal(data, strictjson.MaxSize, v)
}

// unmatched answers for paths and methods that do not exist.
func unmatched(mux *http.ServeMux) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		var allowed []string
		for _, method := range []string{http.MethodGet, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete} {
			probe := r.Clone(r.Context())
			probe.Method = method
			if _, pattern := mux.Handler(probe); pattern != "/" {
				allowed = append(allowed, method)
			}
		}
		if allowed == nil {
			problem.New(http.StatusNotFound, "no such path; see "+problem.DocsPath).Write(w)
			return
		}
		for _, m := range allowed {
			w.Header().Add("Allow", m)
		}
		problem.New(http.StatusMethodNotAllowed, "not with "+r.Method).Write(w)
	}
}
