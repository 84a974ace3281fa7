package adminapi

import (
	"context"
	"fmt"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/broker/control"
	"github.com/signetd/signet/protocol/ident"
)

// An EnrollmentToken admits devices.
type EnrollmentToken struct {
	ID         string            `json:"id" maxLength:"64" column:"ID"`
	Token      string            `json:"token,omitempty" readOnly:"true" doc:"Only in the answer that made it" secret:"TOKEN"`
	Uses       int               `json:"uses" minimum:"1" maximum:"1000000" doc:"How many enrollments in all"`
	Used       int               `json:"used" readOnly:"true" doc:"How many there were; the revision does not count it" column:"USED" of:"Uses"`
	Expires    time.Time         `json:"expires" column:"EXPIRES"`
	Groups     []string          `json:"groups,omitempty" nullable:"false" column:"GROUPS"`
	Attributes map[string]string `json:"attributes,omitempty" column:"ATTRIBUTES"`
	Replace    bool              `json:"replace,omitempty" doc:"May replace the key of a device that has one; then name or namePattern is set" column:"REPLACE"`
	Name       string            `json:"name,omitempty" maxLength:"128" doc:"The only device that it admits" column:"NAME,show"`
	Pattern    string            `json:"namePattern,omitempty" maxLength:"128" doc:"Names of the devices that it admits: * stands for any characters, ? for one" column:"NAMES"`
	Networks   []string          `json:"networks,omitempty" nullable:"false" maxItems:"16" doc:"Where devices must come from: 192.0.2.0/24, 2001:db8::/32" column:"NETWORKS"`
	Approve    bool              `json:"approve,omitempty" doc:"Devices wait for approval" column:"APPROVE"`
	Created    *time.Time        `json:"created,omitempty" readOnly:"true" column:"CREATED,show"`
}

// SecretNote is what a person is told beside the token's text.
func (t *EnrollmentToken) SecretNote(pool string) string {
	uses := fmt.Sprintf("%d uses", t.Uses)
	if t.Uses == 1 {
		uses = "1 use"
	}
	return fmt.Sprintf("enrollment token %s: %s, until %s; it is shown only now\nwith it, on a device: signet-agent enroll --broker URL --pool %s --name NAME --token @FILE",
		t.ID, uses, t.Expires.UTC().Format(time.RFC3339), pool)
}

// NewEnrollmentToken asks for an enrollment token.
type NewEnrollmentToken struct {
	Uses       *int              `json:"uses,omitempty" minimum:"1" maximum:"1000000" doc:"How many enrollments; 1 if absent" flag:"uses" usage:"how many enrollments, 1 to 1000000" shown:"1"`
	Expires    *Duration         `json:"expires,omitempty" doc:"1m to 365d; 24h if absent" flag:"expires" usage:"lifetime, 1m to 365d, such as 24h or 30d" shown:"24h"`
	Groups     []string          `json:"groups,omitempty" nullable:"false" flag:"group" usage:"<group> of the devices; may be repeated"`
	Attributes map[string]string `json:"attributes,omitempty" flag:"attr" usage:"attribute <k=v> of the devices; may be repeated"`
	Replace    bool              `json:"replace,omitempty" flag:"replace" usage:"may replace the key of a device that has one; needs --name or --name-pattern"`
	Name       string            `json:"name,omitempty" maxLength:"128" flag:"name" usage:"admit the device <name> only"`
	Pattern    string            `json:"namePattern,omitempty" maxLength:"128" flag:"name-pattern" usage:"admit devices whose names fit <pattern>, such as 'lamp-*'"`
	Networks   []string          `json:"networks,omitempty" nullable:"false" maxItems:"16" flag:"network" usage:"admit devices from the network <CIDR> only; may be repeated"`
	Approve    bool              `json:"approve,omitempty" flag:"approve" usage:"devices wait for approval: signet device approve"`
}

// EnrollmentTokenChange changes an enrollment token. Members that are not given stay as they are.
type EnrollmentTokenChange struct {
	Uses    *int      `json:"uses,omitempty" minimum:"1" maximum:"1000000" doc:"How many enrollments in all" flag:"uses" usage:"how many enrollments in all, those that were included"`
	Expires *Duration `json:"expires,omitempty" doc:"From now" flag:"expires" usage:"lifetime from now, 1m to 365d"`
}

func enrollmentResource() resource[broker.EnrollToken, EnrollmentToken] {
	return resource[broker.EnrollToken, EnrollmentToken]{
		Noun: Noun{
			Command: "enrollment", One: "enrollment token", Path: "enrollment-tokens", Plural: "enrollments", Key: "id",
			About:  "Tokens that admit devices to a pool",
			Create: Verb{"Make an enrollment token and show it, once", "signet enrollment create --pool demo --uses 100 --expires 30d --group lab --attr site=berlin", func() any { return &NewEnrollmentToken{} }},
			Change: Verb{"Give an enrollment token more uses or another end", "signet enrollment update 39e8f701361b7b1a --pool demo --uses 200 --expires 30d", func() any { return &EnrollmentTokenChange{} }},
			Delete: Verb{About: "End an enrollment token; devices that it admitted stay"},
			New:    func() any { return &EnrollmentToken{} },
		},
		use:  use(broker.EnrollTokenKind(), (*control.Plane).EnrollTokens),
		name: func(t *EnrollmentToken) string { return t.ID },
		wire: func(t broker.EnrollToken) EnrollmentToken {
			return EnrollmentToken{
				ID: t.ID, Uses: t.Uses, Used: t.Used, Expires: t.Expires, Groups: t.Groups, Attributes: t.Attributes,
				Replace: t.Replace, Name: t.Name.String(), Pattern: t.NamePattern, Networks: networkTexts(t.Networks), Approve: t.Approve, Created: optional(t.Created),
			}
		},
		write: func(w *EnrollmentToken, t *broker.EnrollToken) error {
			t.Uses, t.Expires, t.Groups, t.Attributes = w.Uses, w.Expires.UTC(), w.Groups, w.Attributes
			t.Replace, t.Approve, t.NamePattern = w.Replace, w.Approve, w.Pattern
			var err error
			t.Name, t.Networks, err = boundsOf(w.Name, w.Networks)
			return err
		},
		admits: broker.OperatorEnroll,
		secret: func(w *EnrollmentToken, secret string) { w.Token = secret },
		post: func(s *service, api huma.API, op huma.Operation, r resource[broker.EnrollToken, EnrollmentToken]) {
			poster(s, api, op, r, s.createEnrollment)
		},
		patch: func(s *service, api huma.API, op huma.Operation, r resource[broker.EnrollToken, EnrollmentToken]) {
			patcher(s, api, op, r, s.changeEnrollment)
		},
	}
}

func (s *service) createEnrollment(ctx context.Context, in PoolPath, n NewEnrollmentToken) (broker.EnrollToken, string, error) {
	if n.Replace { // it takes over devices that there are
		if p := callOf(ctx).scope(broker.OperatorWrite); p != nil {
			return broker.EnrollToken{}, "", p
		}
	}
	pool, err := in.pool()
	if err != nil {
		return broker.EnrollToken{}, "", err
	}
	life, err := given("expires", n.Expires)
	if err != nil {
		return broker.EnrollToken{}, "", err
	}
	name, networks, err := boundsOf(n.Name, n.Networks)
	if err != nil {
		return broker.EnrollToken{}, "", err
	}
	return s.dir.CreateEnrollToken(ctx, byOf(ctx), control.NewEnrollToken{
		Pool: pool, Uses: number(n.Uses), Life: life, Groups: n.Groups, Attributes: n.Attributes, Replace: n.Replace,
		Name: name, NamePattern: n.Pattern, Networks: networks, Approve: n.Approve,
	})
}

// boundsOf reads which device and which networks an enrollment token is for.
func boundsOf(text string, networks []string) (name ident.Name, out []netip.Prefix, err error) {
	if text != "" {
		if name, err = ident.ParseName(text); err != nil {
			return name, nil, broker.Invalid("name", "%s", strings.TrimPrefix(err.Error(), ident.ErrInvalid.Error()+": "))
		}
	}
	for _, n := range networks {
		p, err := netip.ParsePrefix(n)
		if err != nil {
			return name, nil, broker.Invalid("networks", "%q is no network, such as 192.0.2.0/24 or 2001:db8::/32", n)
		}
		out = append(out, p)
	}
	return name, out, nil
}

func networkTexts(networks []netip.Prefix) []string {
	out := make([]string, 0, len(networks))
	for _, n := range networks {
		out = append(out, n.String())
	}
	return out
}

func (s *service) changeEnrollment(ctx context.Context, in LabelPath, m *control.Match, c EnrollmentTokenChange) (broker.EnrollToken, string, error) {
	pool, err := in.pool()
	if err != nil {
		return broker.EnrollToken{}, "", err
	}
	life, err := given("expires", c.Expires)
	if err != nil {
		return broker.EnrollToken{}, "", err
	}
	t, err := s.dir.UpdateEnrollToken(ctx, byOf(ctx), pool, in.ID, m, number(c.Uses), life)
	return t, "", err
}

// number gives a number that may be absent, which is 0.
func number(n *int) int {
	if n == nil {
		return 0
	}
	return *n
}

// EnrollmentTokens lists all enrollment tokens.
func (p PoolClient) EnrollmentTokens(ctx context.Context) ([]EnrollmentToken, error) {
	return all[EnrollmentToken](ctx, p.c, p.path+"/enrollment-tokens")
}

// EnrollmentToken shows an enrollment token.
func (p PoolClient) EnrollmentToken(ctx context.Context, id string) (EnrollmentToken, error) {
	return get[EnrollmentToken](ctx, p.c, p.path+join("enrollment-tokens", id))
}

// CreateEnrollmentToken makes an enrollment token; the answer has its text.
func (p PoolClient) CreateEnrollmentToken(ctx context.Context, n NewEnrollmentToken) (EnrollmentToken, error) {
	return send[EnrollmentToken](ctx, p.c, http.MethodPost, p.path+"/enrollment-tokens", n)
}

// UpdateEnrollmentToken changes an enrollment token's uses or end.
func (p PoolClient) UpdateEnrollmentToken(ctx context.Context, id string, change EnrollmentTokenChange) (EnrollmentToken, error) {
	return send[EnrollmentToken](ctx, p.c, http.MethodPatch, p.path+join("enrollment-tokens", id), change)
}
