package cli

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/signetd/signet/protocol"
	"github.com/signetd/signet/protocol/detcbor"
	"github.com/signetd/signet/protocol/ident"
	"github.com/signetd/signet/protocol/strictjson"
	"github.com/signetd/signet/protocol/token"
)

func (a *app) tokens() *cobra.Command {
	inspect := a.leaf("inspect [FILE|-]", "Show what a token says, without checking its signature", "signet-agent token | signet token inspect -", a.inspect)
	inspect.Long = "Shows what a JWT, a CWT or an enrollment token says. The token is read from a file or standard input\n" +
		"and never sent anywhere. Its signature is not checked: that is what token verify does."
	inspect.ValidArgsFunction = nil // files
	return group("token", "Read and verify tokens, offline", inspect, a.verify())
}

// A sighting is what can be seen of a token that nobody verified.
type sighting struct {
	Form   string         `json:"form"`
	Header map[string]any `json:"header,omitempty"`
	Claims map[string]any `json:"claims"`
}

func (a *app) inspect(_ *cobra.Command, args []string) error {
	from := first(append(args, "-")...)
	if strings.HasPrefix(from, "sgne_") || strings.HasPrefix(from, "sgnt_") || strings.HasPrefix(from, "eyJ") && strings.Count(from, ".") == 2 {
		return &hintedError{usagef("this is a token, not a file"), "give it on standard input, where the process list does not show it: signet token inspect -"}
	}
	raw, err := a.readInput(from, 2*token.MaxSize)
	if err != nil {
		return err
	}
	s, err := look(raw)
	if err != nil {
		return err
	}
	if a.format != "table" {
		return a.show(s, []string{"CLAIM", "VALUE"}, claimRows(s.Claims)...)
	}
	fmt.Fprintln(a.Out, s.line(a.Now()))
	if s.Form == "JWT" || s.Form == "CWT" {
		a.note("the signature was not checked; signet token verify does that")
	}
	return nil
}

func claimRows(claims map[string]any) [][]string {
	var rows [][]string
	for _, k := range slices.Sorted(maps.Keys(claims)) {
		rows = append(rows, []string{k, claimText(claims[k])})
	}
	return rows
}

// claimText is a claim's value as a cell: a text as it is, all else as JSON has it.
func claimText(v any) string {
	if s, ok := v.(string); ok {
		return s
	}
	if n, ok := v.(float64); ok {
		return strconv.FormatFloat(n, 'f', -1, 64)
	}
	raw, err := json.Marshal(v)
	if err != nil {
		return fmt.Sprint(v)
	}
	return string(raw)
}

// look reads any of our tokens. Its errors never hold the token.
func look(raw []byte) (*sighting, error) {
	text := strings.TrimSpace(string(raw))
	switch {
	case text == "":
		return nil, usagef("no token given")
	case strings.HasPrefix(text, "sgne_"):
		return lookEnrollment(text)
	case strings.HasPrefix(text, "sgnt_"):
		return nil, errors.New("this is an operator's token: it is opaque, only the broker knows what it stands for (signet status)")
	case raw[0] < 0x80 && strings.Count(text, ".") == 2:
		return lookJWT(text)
	}
	cwt, err := binaryInput(raw)
	if err != nil {
		return nil, err
	}
	return lookCWT(cwt)
}

func lookEnrollment(text string) (*sighting, error) {
	t, err := protocol.ParseEnrollToken(text)
	if err != nil {
		return nil, err
	}
	return &sighting{Form: "enrollment token", Claims: map[string]any{
		"id": hex.EncodeToString(t.ID()), "anchor": hex.EncodeToString(t.Pin()),
	}}, nil
}

func lookJWT(text string) (*sighting, error) {
	parts := strings.Split(text, ".")
	s := &sighting{Form: "JWT"}
	for i, to := range []*map[string]any{&s.Header, &s.Claims} {
		raw, err := base64.RawURLEncoding.Strict().DecodeString(parts[i])
		if err != nil {
			return nil, fmt.Errorf("JWT: part %d is not base64url", i+1)
		}
		if err := strictjson.Unmarshal(raw, strictjson.MaxSize, to); err != nil {
			return nil, fmt.Errorf("JWT: part %d: %w", i+1, err)
		}
	}
	return s, nil
}

// binaryInput reads what was given raw, in hex or in base64url.
func binaryInput(raw []byte) ([]byte, error) {
	if len(raw) > 0 && raw[0] >= 0x80 {
		return raw, nil // CBOR: array, map or tag
	}
	text := strings.TrimSpace(string(raw))
	if b, err := hex.DecodeString(text); err == nil && len(b) > 0 {
		return b, nil
	}
	if b, err := base64.RawURLEncoding.Strict().DecodeString(text); err == nil && len(b) > 0 {
		return b, nil
	}
	return nil, errors.New("neither a JWT nor CBOR, in hex, base64url or raw")
}

// coseMessage is a COSE_Sign1 or COSE_Mac0 without its tag (RFC 9052, 4.2, 6.2).
type coseMessage struct {
	_           struct{} `cbor:",toarray"`
	Protected   []byte
	Unprotected map[int64]any
	Payload     []byte
	Proof       []byte
}

func lookCWT(raw []byte) (*sighting, error) {
	if raw[0] != 0xd2 {
		return nil, errors.New("CWT: it does not begin with the tag of COSE_Sign1 (d2)")
	}
	var m coseMessage
	if err := detcbor.Unmarshal(raw[1:], &m); err != nil {
		return nil, fmt.Errorf("CWT: %w", err)
	}
	var protected map[int64]any
	if err := detcbor.Unmarshal(m.Protected, &protected); err != nil {
		return nil, fmt.Errorf("CWT: protected header: %w", err)
	}
	var claims map[int64]detcbor.RawMessage
	if err := detcbor.Unmarshal(m.Payload, &claims); err != nil {
		return nil, fmt.Errorf("CWT: claims: %w", err)
	}
	s := &sighting{Form: "CWT", Header: map[string]any{}, Claims: map[string]any{}}
	for k, v := range protected {
		s.Header[named(k, headerNames())] = readable(v)
	}
	if n, ok := protected[1].(int64); ok {
		s.Header["alg"] = token.Alg(n).String()
	}
	for k, v := range m.Unprotected {
		s.Header[named(k, headerNames())] = readable(v)
	}
	for k, v := range claims {
		s.Claims[named(k, claimNames())] = claimValue(k, v)
	}
	return s, nil
}

func named(label int64, names map[int64]string) string {
	if name, ok := names[label]; ok {
		return name
	}
	return strconv.FormatInt(label, 10)
}

func headerNames() map[int64]string {
	return map[int64]string{1: "alg", 2: "crit", 3: "content type", 4: "kid", 16: "typ"}
}

func claimNames() map[int64]string {
	return map[int64]string{
		1: "iss", 2: "sub", 3: "aud", 4: "exp", 5: "nbf", 6: "iat", 7: "cti", 8: "cnf", 9: "scope", 10: "nonce",
		token.ClaimClientID: "client_id", token.ClaimOriginID: "origin_jti", token.ClaimAuthTime: "auth_time",
		token.ClaimDevice: "signet:device", token.ClaimGroups: "signet:groups", token.ClaimRoles: "signet:roles",
		token.ClaimACR: "signet:acr", token.ClaimAttributes: "signet:attributes",
	}
}

// claimValue decodes a claim for reading; what does not decode is shown in hex.
func claimValue(label int64, raw detcbor.RawMessage) any {
	if label == token.ClaimAttributes {
		var m map[string]string
		if detcbor.Unmarshal(raw, &m) == nil {
			return m
		}
	}
	var v any
	if detcbor.Unmarshal(raw, &v) != nil {
		return hex.EncodeToString(raw)
	}
	if b, ok := v.([]byte); ok && label == 2 && len(b) == 16 {
		return ident.UUID(b).String()
	}
	return readable(v)
}

// readable makes what CBOR gives fit for JSON: bytes become hex, labels text.
func readable(v any) any {
	switch v := v.(type) {
	case []byte:
		return hex.EncodeToString(v)
	case map[int64]any:
		out := make(map[string]any, len(v))
		for k, e := range v {
			out[strconv.FormatInt(k, 10)] = readable(e)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, e := range v {
			out[i] = readable(e)
		}
		return out
	}
	return v
}

// line says the most important in one line. Whatever comes from the token is
// quoted if it holds anything but printable characters.
func (s *sighting) line(now time.Time) string {
	out := []string{s.Form}
	add := func(name string, v any) {
		if v != nil && v != "" {
			out = append(out, strings.TrimSpace(name+" "+plain(fmt.Sprint(v))))
		}
	}
	add("", s.Header["alg"])
	add("kid", s.Header["kid"])
	if at, ok := seconds(s.Claims["exp"]); ok {
		out = append(out, validity(at, now))
	}
	for _, name := range []string{"id", "anchor", "iss", "sub", "aud", "scope", "signet:device", "token_use"} {
		add(name, s.Claims[name])
	}
	if s.Claims["cnf"] != nil {
		out = append(out, "cnf present")
	}
	return strings.Join(out, "  ")
}

func validity(at, now time.Time) string {
	left := at.Sub(now).Truncate(time.Second)
	if left <= 0 {
		return "expired " + (-left).String() + " ago"
	}
	return "valid " + left.String()
}

func plain(s string) string {
	if q := strconv.QuoteToASCII(s); q != `"`+s+`"` {
		return q
	}
	return s
}

// seconds reads a numeric date as JSON or CBOR gives it.
func seconds(v any) (time.Time, bool) {
	switch n := v.(type) {
	case float64:
		if n > 0 && n < 1<<40 {
			return time.Unix(int64(n), 0), true
		}
	case int64:
		if n > 0 && n < 1<<40 {
			return time.Unix(n, 0), true
		}
	}
	return time.Time{}, false
}
