package adminapi

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/signetd/signet/broker"
)

// made are the kinds of authenticators that the broker makes for devices. A new kind has
// its line here, and what operators must know of it in a file beside this one.
func made() []madeKind { return []madeKind{totpKind()} }

// An AuthenticatorKind describes a kind of authenticator to who makes one for a device. The
// fields of its form say in tags what a command's flags are, as those of a Noun do.
type AuthenticatorKind struct {
	Kind    string // the challenge that it answers, the last part of its path, and its command
	One     string // in sentences
	About   string // what it is good for, and how it gets to whoever is to use it
	Make    Verb   // its New is the form of POST
	Remove  string // what taking it away means
	Heading string // of its secret
	Use     string // what is to be done with its secret
	Scan    bool   // its secret is for a camera, too: a QR code
}

// AuthenticatorKinds gives all kinds of authenticators that the broker makes for devices.
func AuthenticatorKinds() []AuthenticatorKind {
	var all []AuthenticatorKind
	for _, k := range made() {
		all = append(all, k.about())
	}
	return all
}

// A MadeAuthenticator is one that was just made for a device.
type MadeAuthenticator struct {
	Pool   string `json:"pool"`
	Name   string `json:"name" doc:"The device"`
	Kind   string `json:"kind" doc:"The challenge that it answers"`
	ID     string `json:"id" doc:"As among the device's authenticators"`
	Secret string `json:"secret" doc:"For whoever is to use it; shown only now"`
}

// madeKind is a kind with a form of whatever type.
type madeKind interface {
	about() AuthenticatorKind
	register(s *service, api huma.API)
}

// madeBy is a kind whose form is an F.
type madeBy[F any] struct{ AuthenticatorKind }

func (k madeBy[F]) about() AuthenticatorKind { return k.AuthenticatorKind }

func (k madeBy[F]) register(s *service, api huma.API) {
	const tag = "devices"
	path := devicesPath + "/{name}/authenticators/" + k.Kind
	handle(s, api, route(broker.OperatorWrite, http.MethodPost, path, "create-"+k.Kind, k.Make.About, tag),
		func(ctx context.Context, in *struct {
			DevicePath
			Replace bool `query:"replace" doc:"The one that there is goes; otherwise 409 if there is one"`
			Body    F
		}) (MadeAuthenticator, error) {
			id, err := in.device()
			if err != nil {
				return MadeAuthenticator{}, err
			}
			params, err := parameters(in.Body)
			if err != nil {
				return MadeAuthenticator{}, err
			}
			a, secret, err := s.dir.MakeAuthenticator(ctx, byOf(ctx), id, k.Kind, params, in.Replace)
			return MadeAuthenticator{id.Pool.String(), id.Name.String(), k.Kind, a.ID.String(), secret}, err
		})
	handleEmpty(s, api, route(broker.OperatorWrite, http.MethodDelete, path, "delete-"+k.Kind, k.Remove, tag),
		func(ctx context.Context, in *DevicePath) error {
			id, err := in.device()
			if err != nil {
				return err
			}
			return s.dir.RemoveAuthenticator(ctx, byOf(ctx), id, k.Kind)
		})
}

// parameters gives the members of a form that say something, by name and as text.
func parameters(form any) (map[string]string, error) {
	raw, err := json.Marshal(form)
	if err != nil {
		return nil, fmt.Errorf("form: %w", err)
	}
	dec := json.NewDecoder(bytes.NewReader(raw))
	dec.UseNumber() // digits as they are
	var members map[string]any
	if err := dec.Decode(&members); err != nil {
		return nil, fmt.Errorf("form: %w", err)
	}
	out := make(map[string]string, len(members))
	for name, v := range members {
		out[name] = fmt.Sprint(v)
	}
	return out, nil
}

// MakeAuthenticator makes an authenticator of a kind (AuthenticatorKind.Kind) for a device;
// form is one such as its Make.New gives. The answer has its secret. With replace one that
// there is goes.
func (p PoolClient) MakeAuthenticator(ctx context.Context, name, kind string, form any, replace bool) (MadeAuthenticator, error) {
	path := p.path + join("devices", name, "authenticators", kind)
	if replace {
		path += "?replace=true"
	}
	return send[MadeAuthenticator](ctx, p.c, http.MethodPost, path, form)
}

// RemoveAuthenticator takes a device's authenticator of a kind away.
func (p PoolClient) RemoveAuthenticator(ctx context.Context, name, kind string) error {
	return p.c.do(ctx, http.MethodDelete, p.path+join("devices", name, "authenticators", kind), nil, nil)
}
