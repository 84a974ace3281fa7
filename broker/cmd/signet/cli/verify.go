package cli

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/signetd/signet/protocol/detcbor"
	"github.com/signetd/signet/protocol/exit"
	"github.com/signetd/signet/protocol/strictjson"
	"github.com/signetd/signet/protocol/token"
	"github.com/signetd/signet/protocol/verify"
)

// verification is one run of token verify.
type verification struct {
	format, keyFile, audience, at string
	leeway                        time.Duration
}

func (a *app) verify() *cobra.Command {
	var v verification
	cmd := a.leaf("verify", "Verify one token from standard input",
		"signet-agent token | signet token verify --format jws --key jwks.json --aud demo", func(cmd *cobra.Command, _ []string) error {
			return a.doVerify(cmd, v)
		})
	cmd.Long = "Verifies one signed object from standard input: a JWS as text, a CWT or COSE_Sign1 or COSE_Mac0 as hex or raw.\n" +
		"Says nothing and exits 0 if it is accepted, exits 1 with one line why if it is refused, 2 if the arguments are\n" +
		"unusable; -o json, yaml or csv print the verdict, too. Signature, header and algorithm are always checked; exp, nbf and iat of a JWS whose payload is a\n" +
		"JSON object and of every CWT, with the leeway, or to the second with --at; the audience with --aud. It checks no issuer: the key file says whose tokens they are."
	f := cmd.Flags()
	f.StringVar(&v.format, "format", "", "jws, cwt or cose")
	complete(cmd, "format", cobra.FixedCompletions([]string{"jws", "cwt", "cose"}, cobra.ShellCompDirectiveNoFileComp))
	f.StringVar(&v.keyFile, "key", "", "`file` with the key: JWK, JWK set, PEM, COSE key or key set (hex or raw)")
	f.StringVar(&v.audience, "aud", "", "audience that the token must be for")
	f.StringVar(&v.at, "at", "", "time to judge at, RFC 3339 or seconds since 1970 (now if not given)")
	f.DurationVar(&v.leeway, "leeway", verify.DefaultLeeway, "how much clocks may differ; with --at none unless given")
	return cmd
}

func (a *app) doVerify(cmd *cobra.Command, v verification) error {
	at, err := v.time(a.Now())
	if err != nil {
		return err
	}
	if v.at != "" && !cmd.Flags().Changed("leeway") {
		v.leeway = 0
	}
	switch {
	case v.leeway < 0:
		return usagef("--leeway %s: want 0 or more", v.leeway)
	case v.format == "cose" && cmd.Flags().Changed("leeway"):
		return usagef("--leeway is about claims: use it with jws and cwt")
	case v.format != "jws" && v.format != "cwt" && v.format != "cose":
		return usagef("--format %q: want jws, cwt or cose", v.format)
	case v.keyFile == "" || v.keyFile == "-":
		return usagef("--key FILE is needed")
	case v.format == "cose" && (cmd.Flags().Changed("aud") || v.at != ""):
		return usagef("--aud and --at are about claims: use them with jws and cwt")
	case cmd.Flags().Changed("aud") && v.audience == "":
		return usagef("--aud is empty")
	}
	rawKey, err := a.readInput(v.keyFile, token.MaxKeys*token.MaxKeySize)
	if err != nil {
		return exit.With(exit.Usage, err) // as of all that keeps it from judging
	}
	raw, err := a.readInput("-", 4*token.MaxSize)
	if err != nil {
		return &rejectedToken{token.ErrMalformed}
	}
	keys, err := parseKeys(rawKey)
	var usage *usageError
	if errors.As(err, &usage) {
		return err
	}
	if err != nil {
		return &rejectedToken{err}
	}
	err = v.mistaken(raw, v.check(raw, keys, at))
	if cmd.Flag("output").Changed && a.format != "table" {
		if told := a.verdict(err); told != nil {
			return told
		}
	}
	if err != nil {
		return &rejectedToken{err}
	}
	return nil
}

// mistaken says of what is no token of the form that was asked for what it is, if that can be
// seen; in the one line that a refusal has.
func (v verification) mistaken(raw []byte, err error) error {
	if !errors.Is(err, token.ErrMalformed) {
		return err
	}
	form := "nothing"
	if len(bytes.TrimSpace(raw)) > 0 {
		s, lookErr := look(raw)
		if lookErr != nil {
			return err
		}
		form = s.Form
	}
	switch {
	case form == "JWT" && v.format != "jws":
		form += ", want --format jws"
	case form == "CWT" && v.format == "jws":
		form += ", want --format cwt"
	case form == "JWT" || form == "CWT":
		return err
	}
	return fmt.Errorf("%w: on standard input there is: %s", token.ErrMalformed, form)
}

// verdict prints what came of a verification, for a program.
func (a *app) verdict(err error) error {
	why := ""
	if err != nil {
		why = (&rejectedToken{err}).Error()
	}
	said := struct {
		Accepted bool   `json:"accepted"`
		Why      string `json:"why,omitempty"`
	}{err == nil, why}
	return a.show(said, []string{"ACCEPTED", "WHY"}, []string{fmt.Sprint(err == nil), why})
}

// A rejectedToken is a token that is not accepted.
type rejectedToken struct{ cause error }

func (r *rejectedToken) Error() string {
	return "refused: " + strings.Join(strings.Fields(r.cause.Error()), " ")
}
func (r *rejectedToken) Unwrap() error { return r.cause }

func (v verification) time(now time.Time) (time.Time, error) {
	if v.at == "" {
		return now, nil
	}
	if n, err := strconv.ParseInt(v.at, 10, 64); err == nil && n >= 0 && n < 1<<40 {
		return time.Unix(n, 0), nil
	}
	t, err := time.Parse(time.RFC3339, v.at)
	if err != nil {
		return t, usagef("--at %q: want a time such as 2026-01-31T12:00:00Z, or seconds since 1970", v.at)
	}
	return t, nil
}

func (v verification) check(raw []byte, keys *keyring, at time.Time) error {
	if v.format == "jws" {
		return v.checkJWS(raw, keys, at)
	}
	message, err := binaryInput(raw)
	if err != nil {
		return fmt.Errorf("%w: %w", token.ErrMalformed, err)
	}
	m, err := keys.openCOSE(message)
	if err != nil {
		return keys.explain(err, func() []byte {
			var of coseMessage
			if len(message) == 0 || detcbor.Unmarshal(message[1:], &of) != nil {
				return nil
			}
			kid, _ := of.Unprotected[4].([]byte)
			return kid
		})
	}
	if v.format == "cose" {
		return nil
	}
	if err := forBackends(m.TypeText, m.Type); err != nil {
		return err
	}
	if message[0] != tagSign1 {
		return fmt.Errorf("%w: a CWT is a COSE_Sign1", token.ErrMalformed)
	}
	c, err := cwtClaims(m.Payload)
	if err != nil {
		return err
	}
	return v.judge(c, at)
}

func (v verification) checkJWS(raw []byte, keys *keyring, at time.Time) error {
	raw = bytes.TrimSuffix(bytes.TrimSuffix(raw, []byte("\n")), []byte("\r"))
	var jws *token.JWS
	err := keys.try(func(k *token.Key) (kid []byte, err error) {
		if jws, err = token.VerifyJWS(raw, k); err != nil {
			return nil, err
		}
		return []byte(jws.KID), nil
	})
	if err != nil {
		return keys.explain(err, func() []byte { return kidOf(raw) })
	}
	if err := forBackends(jws.Type, 0); err != nil {
		return err
	}
	if len(jws.Payload) == 0 || jws.Payload[0] != '{' {
		if v.audience != "" || v.at != "" {
			return fmt.Errorf("%w: the payload is not a JSON object", token.ErrClaims)
		}
		return nil
	}
	c, err := jwtClaims(jws.Payload)
	if err != nil {
		return err
	}
	return v.judge(c, at)
}

// claims are those that verify judges, as package verify does.
type claims struct {
	expires, notBefore, issuedAt *int64 // seconds since 1970
	audiences                    []string
}

func (v verification) judge(c *claims, at time.Time) error {
	if early := at.Add(-v.leeway).Unix(); c.expires != nil && early >= *c.expires {
		return fmt.Errorf("%w: exp is %d, it is %d, %d s later, with a leeway of %s", verify.ErrExpired, *c.expires, at.Unix(), at.Unix()-*c.expires, v.leeway)
	}
	late := at.Add(v.leeway).Unix()
	for name, start := range map[string]*int64{"nbf": c.notBefore, "iat": c.issuedAt} {
		if start != nil && late < *start {
			return fmt.Errorf("%w: %s is %d, it is %d, %d s earlier, with a leeway of %s", verify.ErrNotYetValid, name, *start, at.Unix(), *start-at.Unix(), v.leeway)
		}
	}
	if v.audience == "" {
		return nil
	}
	for _, aud := range c.audiences {
		if aud == v.audience {
			return nil
		}
	}
	return fmt.Errorf("%w: aud is %q", verify.ErrAudience, c.audiences)
}

func jwtClaims(payload []byte) (*claims, error) {
	members, err := strictjson.Object(payload)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", token.ErrClaims, err)
	}
	c := &claims{}
	for _, m := range members {
		switch m.Name {
		case "exp":
			c.expires, err = number(m.Value)
		case "nbf":
			c.notBefore, err = number(m.Value)
		case "iat":
			c.issuedAt, err = number(m.Value)
		case "aud":
			if c.audiences, err = m.Value.Texts(); err != nil {
				var one string
				one, err = m.Value.Text()
				c.audiences = []string{one}
			}
		}
		if err != nil {
			return nil, fmt.Errorf("%w: %s: %w", token.ErrClaims, m.Name, err)
		}
	}
	return c, nil
}

func number(v strictjson.Value) (*int64, error) {
	n, err := v.Integer()
	return &n, err
}

func cwtClaims(payload []byte) (*claims, error) {
	var m map[int64]detcbor.RawMessage
	if err := detcbor.Unmarshal(payload, &m); err != nil {
		return nil, fmt.Errorf("%w: %w", token.ErrClaims, err)
	}
	c := &claims{}
	for label, to := range map[int64]**int64{4: &c.expires, 5: &c.notBefore, 6: &c.issuedAt} {
		if raw, ok := m[label]; ok {
			*to = new(int64)
			if err := detcbor.Unmarshal(raw, *to); err != nil {
				return nil, fmt.Errorf("%w: claim %d: %w", token.ErrClaims, label, err)
			}
		}
	}
	if raw, ok := m[3]; ok {
		var one string
		if detcbor.Unmarshal(raw, &one) == nil {
			c.audiences = []string{one}
		} else if err := detcbor.Unmarshal(raw, &c.audiences); err != nil {
			return nil, fmt.Errorf("%w: aud: %w", token.ErrClaims, err)
		}
	}
	return c, nil
}

// Tags of COSE_Sign1 and COSE_Mac0 in one byte (RFC 9052, 2).
const (
	tagSign1 = 0xd2
	tagMac0  = 0xd1
)

// A keyring is what the key file holds: public keys or one secret. From a set, a
// token's kid chooses.
type keyring struct {
	set    *verify.KeySet
	many   bool
	secret *token.Secret
}

// parseKeys reads a key file. Errors wrap token.ErrKey and never hold the key.
func parseKeys(raw []byte) (*keyring, error) {
	text := bytes.TrimSpace(raw)
	switch {
	case len(text) == 0:
		return nil, usagef("--key: the file is empty")
	case bytes.HasPrefix(text, []byte("-----BEGIN ")):
		set, err := verify.ParsePEM(text)
		return public(set, true, err)
	case text[0] == '{':
		return parseJSONKeys(text)
	}
	b := raw
	if raw[0] < 0x80 {
		var err error
		if b, err = hex.DecodeString(string(text)); err != nil || len(b) == 0 {
			return nil, usagef("--key: none of JWK, JWK set, PEM, COSE key or key set")
		}
	}
	if b[0]>>5 == 4 {
		set, err := verify.ParseCOSEKeySet(b)
		return public(set, true, err)
	}
	if k := symmetricCOSE(b); k != nil {
		return secretRing(k)
	}
	key, err := token.ParseCOSEKey(b)
	if err != nil {
		return nil, err
	}
	set, err := verify.NewKeySet(key)
	return public(set, false, err)
}

func public(set *verify.KeySet, many bool, err error) (*keyring, error) {
	if err != nil {
		return nil, err
	}
	if len(set.Keys()) == 0 {
		return nil, fmt.Errorf("%w: no key for an allowed algorithm in the file", token.ErrKey)
	}
	return &keyring{set: set, many: many && len(set.Keys()) > 1}, nil
}

func secretRing(k []byte) (*keyring, error) {
	s, err := token.NewSecret(k)
	if err != nil {
		return nil, err
	}
	return &keyring{secret: &s}, nil
}

func parseJSONKeys(text []byte) (*keyring, error) {
	members, err := strictjson.Object(text)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", token.ErrKey, err)
	}
	var kty, k string
	for _, m := range members {
		switch m.Name {
		case "keys":
			set, err := verify.ParseJWKS(text)
			return public(set, true, err)
		case "kty":
			kty, err = m.Value.Text()
		case "k":
			k, err = m.Value.Text()
		}
		if err != nil {
			return nil, fmt.Errorf("%w: JWK: %s: %w", token.ErrKey, m.Name, err)
		}
	}
	if kty == "oct" {
		raw, err := base64.RawURLEncoding.Strict().DecodeString(k)
		if err != nil {
			return nil, fmt.Errorf("%w: JWK: k is not base64url", token.ErrKey)
		}
		return secretRing(raw)
	}
	set, err := verify.ParseJWKS(fmt.Appendf(nil, `{"keys":[%s]}`, text))
	return public(set, false, err)
}

// symmetricCOSE gives the k of a COSE_Key with kty 4 (RFC 9053, 7.3), or nil.
func symmetricCOSE(raw []byte) []byte {
	var key map[int64]any
	if detcbor.Unmarshal(raw, &key) != nil || key[1] != int64(4) {
		return nil
	}
	k, _ := key[-1].([]byte)
	return append([]byte{}, k...)
}

// try holds an object against the keys. check gives the kid that it names, which
// in a set must be that of the key.
func (r *keyring) try(check func(*token.Key) ([]byte, error)) error {
	if r.set == nil {
		return fmt.Errorf("%w: a secret does not verify signatures", token.ErrAlgorithm)
	}
	var all error
	for _, k := range r.set.Keys() {
		kid, err := check(k)
		if err != nil {
			if all == nil || !errors.Is(err, token.ErrAlgorithm) {
				all = err
			}
			continue
		}
		if !r.many {
			return nil
		}
		named, err := r.set.Key(context.Background(), kid)
		if len(kid) == 0 || err == nil && named.Equal(k) {
			return nil
		}
		all = fmt.Errorf("%w: its kid names another key than the one that signed", token.ErrUnknownKey)
	}
	return all
}

// explain says of a token whose signature verifies by no key that the key which it names
// is not there, if that is so. kid gives that name, unverified.
func (r *keyring) explain(err error, kid func() []byte) error {
	if r.set == nil || !errors.Is(err, token.ErrSignature) {
		return err
	}
	named := kid()
	if len(named) == 0 || len(named) > token.MaxKID {
		return err
	}
	if _, missing := r.set.Key(context.Background(), named); missing != nil {
		return missing
	}
	return err
}

// kidOf gives the kid in a JWS's header, nil if there is none.
func kidOf(raw []byte) []byte {
	head, _, _ := bytes.Cut(raw, []byte("."))
	text, err := base64.RawURLEncoding.Strict().DecodeString(string(head))
	if err != nil {
		return nil
	}
	var kid string
	if _, err := strictjson.Read(text, strictjson.MaxSize, strictjson.Fields{"kid": &kid}); err != nil {
		return nil
	}
	return []byte(kid)
}

// openCOSE verifies a COSE_Sign1 or COSE_Mac0.
func (r *keyring) openCOSE(raw []byte) (m *token.Message, err error) {
	if raw[0] == tagMac0 {
		if r.secret == nil {
			return nil, fmt.Errorf("%w: a COSE_Mac0 needs a secret", token.ErrAlgorithm)
		}
		return token.VerifyMac0(raw, *r.secret, nil)
	}
	err = r.try(func(k *token.Key) (kid []byte, err error) {
		if m, err = token.VerifySign1(raw, k, nil); err != nil {
			return nil, err
		}
		return m.KID, nil
	})
	return m, err
}

// forBackends refuses what no backend may believe: an MQTT password, which anybody who has
// seen it can show.
func forBackends(typ string, number uint64) error {
	if token.ClassOf(typ, number) == token.MQTTPassword {
		return fmt.Errorf("%w: an MQTT password is for the issuer's MQTT server only", token.ErrType)
	}
	return nil
}
