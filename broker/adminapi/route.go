package adminapi

import (
	"context"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/broker/control"
	"github.com/signetd/signet/protocol/ident"
)

// A service holds the handlers.
type service struct {
	dir *control.Plane
	cfg Config
}

// A reply carries the body of an answer.
type reply[T any] struct{ Body T }

// handle registers a route whose answer has a body. GET answers 200, POST that
// makes something 201 (op.DefaultStatus).
func handle[I, T any](s *service, api huma.API, op huma.Operation, f func(context.Context, *I) (T, error)) {
	describe(&op)
	huma.Register(api, op, func(ctx context.Context, in *I) (*reply[T], error) {
		body, err := f(ctx, in)
		if err != nil {
			return nil, s.fail(ctx, err)
		}
		return &reply[T]{body}, nil
	})
}

// handleEmpty registers a route that answers 204.
func handleEmpty[I any](s *service, api huma.API, op huma.Operation, f func(context.Context, *I) error) {
	describe(&op)
	op.DefaultStatus = http.StatusNoContent
	huma.Register(api, op, func(ctx context.Context, in *I) (*struct{}, error) {
		if err := f(ctx, in); err != nil {
			return nil, s.fail(ctx, err)
		}
		return nil, nil
	})
}

func describe(op *huma.Operation) {
	op.MaxBodyBytes = maxBody
	op.Errors = []int{http.StatusUnauthorized, http.StatusForbidden, http.StatusNotFound, http.StatusConflict, http.StatusTooManyRequests}
	if op.Method != http.MethodGet {
		op.Errors = append(op.Errors, http.StatusInsufficientStorage)
	}
}

// fail logs what the outside does not learn.
func (s *service) fail(ctx context.Context, err error) error {
	p := problemOf(err)
	if p.Status >= http.StatusInternalServerError {
		s.cfg.Log.ErrorContext(ctx, "operators' API failed", "request", callOf(ctx).id, "err", err)
	}
	return p
}

// Inputs that several routes share. huma finds parameters in exported fields only,
// so those that are embedded have exported names.
type (
	// PoolPath is the path of what is in a pool.
	PoolPath struct {
		Pool string `path:"pool" maxLength:"32" example:"demo"`
	}
	// DevicePath is the path of a device.
	DevicePath struct {
		PoolPath
		Name string `path:"name" maxLength:"128" example:"lamp-1"`
	}
	// LabelPath is the path of anything else in a pool.
	LabelPath struct {
		PoolPath
		ID string `path:"id" maxLength:"64"`
	}
	// Paging says which part of a list is wanted.
	Paging struct {
		After string `query:"after" maxLength:"128" doc:"Begin after this one; next of the page before"`
		Limit int    `query:"limit" minimum:"1" maximum:"500" default:"100"`
	}
	poolList struct {
		PoolPath
		Paging
	}
)

func (p *PoolPath) pool() (ident.Pool, error) { return ident.ParsePool(p.Pool) }

func (p *DevicePath) device() (ident.Device, error) {
	pool, err := p.pool()
	if err != nil {
		return ident.Device{}, err
	}
	name, err := ident.ParseName(p.Name)
	return ident.Device{Pool: pool, Name: name}, err
}

// page cuts a whole list, sorted by key, to what was asked for.
func page[S, T any](p Paging, all []S, key func(S) string, wire func(S) T) Page[T] {
	out := Page[T]{Items: []T{}}
	last := ""
	for _, v := range all {
		if p.After != "" && key(v) <= p.After {
			continue
		}
		if len(out.Items) == p.Limit {
			out.Next = last
			break
		}
		last = key(v)
		out.Items = append(out.Items, wire(v))
	}
	return out
}

// route is an operation's fixed part, with the scope that it needs.
func route(scope broker.OperatorScope, method, path, id, summary, tag string) huma.Operation {
	op := huma.Operation{Method: method, Path: apiPath + path, OperationID: id, Summary: summary, Tags: []string{tag}}
	needs(&op, scope)
	if method == http.MethodPost {
		op.DefaultStatus = http.StatusCreated
	}
	return op
}

// action is a POST that makes nothing new.
func action(scope broker.OperatorScope, path, id, summary, tag string) huma.Operation {
	op := route(scope, http.MethodPost, path, id, summary, tag)
	op.DefaultStatus = http.StatusOK
	return op
}
