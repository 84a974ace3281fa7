package token

import (
	"encoding"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"time"

	"github.com/signetd/signet/protocol/ident"
	"github.com/signetd/signet/protocol/strictjson"
)

// jwtClaims is how claims are written in JSON, in this order.
type jwtClaims struct {
	Issuer    string            `json:"iss"`
	Subject   string            `json:"sub"`
	Audience  string            `json:"aud"`
	Expires   int64             `json:"exp"`
	NotBefore int64             `json:"nbf,omitempty"`
	IssuedAt  int64             `json:"iat"`
	ID        string            `json:"jti,omitempty"`
	Cnf       *jwtConfirmation  `json:"cnf,omitempty"`
	ClientID  string            `json:"client_id,omitempty"`
	Scope     string            `json:"scope,omitempty"`
	Use       string            `json:"token_use"`
	OriginID  string            `json:"origin_jti,omitempty"`
	AuthTime  int64             `json:"auth_time,omitempty"`
	Nonce     string            `json:"nonce,omitempty"`
	Pool      string            `json:"signet:pool,omitempty"`
	Device    string            `json:"signet:device,omitempty"`
	Groups    []string          `json:"signet:groups,omitempty"`
	Roles     []string          `json:"signet:roles,omitempty"`
	ACR       string            `json:"signet:acr,omitempty"`
	Attrs     map[string]string `json:"signet:attributes,omitempty"`
}

type jwtConfirmation struct {
	JKT string `json:"jkt"`
}

func encodeJWTClaims(class Class, c *Claims) ([]byte, error) {
	b64 := base64.RawURLEncoding.EncodeToString
	out := jwtClaims{
		Issuer: c.Issuer, Subject: c.Subject.String(), Audience: c.Audience,
		ID: b64(c.ID), ClientID: c.ClientID, Scope: c.Scope, Use: class.use(),
		Nonce: b64(c.Nonce), Groups: c.Groups, Roles: c.Roles, ACR: c.ACR, Attrs: c.Attributes,
		Pool: c.Device.Pool.String(), Device: c.Device.Name.String(),
	}
	if len(c.Confirmation.JKT) > 0 {
		out.Cnf = &jwtConfirmation{JKT: b64(c.Confirmation.JKT)}
	}
	if !c.OriginID.IsZero() {
		out.OriginID = c.OriginID.String()
	}
	for _, t := range []struct {
		to   *int64
		from time.Time
	}{{&out.Expires, c.Expires}, {&out.NotBefore, c.NotBefore}, {&out.IssuedAt, c.IssuedAt}, {&out.AuthTime, c.AuthTime}} {
		var err error
		if *t.to, err = secondsOf(t.from); err != nil {
			return nil, err
		}
	}
	payload, err := json.Marshal(out)
	if err != nil {
		return nil, fmt.Errorf("encode claims: %w", err)
	}
	return payload, nil
}

// A jwtReader reads claims; pool waits here for the device's name.
type jwtReader struct {
	claims Claims
	pool   ident.Pool
	name   ident.Name
}

func decodeJWTClaims(payload []byte) (*Claims, error) {
	members, err := strictjson.Object(payload)
	if err != nil {
		return nil, fmt.Errorf("%w: claims: %w", ErrMalformed, err)
	}
	r := new(jwtReader)
	for _, m := range members {
		if err := r.registered(m.Name, m.Value); err != nil {
			return nil, fmt.Errorf("%w: %s: %w", ErrClaims, m.Name, err)
		}
	}
	r.claims.Device = ident.Device{Pool: r.pool, Name: r.name}
	return &r.claims, nil
}

func (r *jwtReader) registered(name string, value strictjson.Value) (err error) {
	c := &r.claims
	switch name {
	case "iss":
		c.Issuer, err = value.Text()
	case "sub":
		err = parseJSON(value, &c.Subject)
	case "aud":
		c.Audience, err = value.Text()
	case "exp":
		c.Expires, err = jsonTime(value)
	case "nbf":
		c.NotBefore, err = jsonTime(value)
	case "iat":
		c.IssuedAt, err = jsonTime(value)
	case "jti":
		c.ID, err = jsonBytes(value)
	case "cnf":
		c.Confirmation.JKT, err = jsonConfirmation(value)
	case "nonce":
		c.Nonce, err = jsonBytes(value)
	case "client_id":
		c.ClientID, err = value.Text()
	case "scope":
		c.Scope, err = value.Text()
	default:
		return r.private(name, value)
	}
	return err
}

func (r *jwtReader) private(name string, value strictjson.Value) (err error) {
	c := &r.claims
	switch name {
	case "token_use":
		c.Use, err = value.Text()
	case "origin_jti":
		err = parseJSON(value, &c.OriginID)
	case "auth_time":
		c.AuthTime, err = jsonTime(value)
	case "signet:pool":
		err = parseJSON(value, &r.pool)
	case "signet:device":
		err = parseJSON(value, &r.name)
	case "signet:groups":
		c.Groups, err = value.Texts()
	case "signet:roles":
		c.Roles, err = value.Texts()
	case "signet:acr":
		c.ACR, err = value.Text()
	case "signet:attributes":
		c.Attributes, err = value.TextMap()
	}
	return err
}

func parseJSON(value strictjson.Value, into encoding.TextUnmarshaler) error {
	s, err := value.Chars()
	if err != nil {
		return err
	}
	return into.UnmarshalText(s)
}

func jsonTime(value strictjson.Value) (time.Time, error) {
	n, err := value.Integer()
	if err != nil {
		return time.Time{}, err
	}
	return timeOf(n)
}

func jsonBytes(value strictjson.Value) ([]byte, error) {
	s, err := value.Chars()
	if err != nil {
		return nil, err
	}
	return decodeBase64("value", s)
}

// jsonConfirmation reads cnf, which has exactly the one member jkt.
func jsonConfirmation(value strictjson.Value) ([]byte, error) {
	members, err := value.Object()
	if err != nil {
		return nil, err
	}
	if len(members) != 1 || members[0].Name != "jkt" {
		return nil, fmt.Errorf("want exactly the member jkt")
	}
	return jsonBytes(members[0].Value)
}
