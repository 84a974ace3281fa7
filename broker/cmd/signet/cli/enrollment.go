package cli

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/signetd/signet/broker/adminapi"
)

func enrollmentShelf() shelf[adminapi.EnrollmentToken] {
	return shelf[adminapi.EnrollmentToken]{
		noun:   "enrolment token",
		header: []string{"ID", "USED", "EXPIRES", "GROUPS", "ATTRIBUTES", "REPLACE", "APPROVE"},
		row: func(t adminapi.EnrollmentToken) []string {
			return []string{
				t.ID, fmt.Sprintf("%d of %d", t.Used, t.Uses), stamp(&t.Expires), strings.Join(t.Groups, ","),
				pairs(t.Attributes), fmt.Sprint(t.Replace), fmt.Sprint(t.Approve),
			}
		},
		more: func(t adminapi.EnrollmentToken) (header, row []string) {
			return []string{"CREATED"}, []string{stamp(&t.Created)}
		},
		all: adminapi.PoolClient.EnrollmentTokens,
	}
}

func (a *app) enrollment() *cobra.Command {
	s := enrollmentShelf()
	return a.inPool("enrollment", "Tokens that admit devices to a pool", a.createEnrollment(), s.listing(a),
		s.showing(a, "ID", adminapi.PoolClient.EnrollmentToken), a.updateEnrollment(s),
		s.removing(a, "ID", "End an enrolment token; devices that it admitted stay", adminapi.PoolClient.DeleteEnrollmentToken))
}

func (a *app) createEnrollment() *cobra.Command {
	var n adminapi.NewEnrollmentToken
	var uses int
	var life adminapi.Duration
	var attrs []string
	cmd := a.leaf("create", "Make an enrolment token and print it, once",
		"signet enrollment create --pool demo --uses 100 --expires 30d --group lab --attr site=berlin", func(cmd *cobra.Command, _ []string) error {
			n.Uses, n.Expires = given(cmd, "uses", uses), given(cmd, "expires", life)
			var err error
			if n.Attributes, err = parsePairs(attrs); err != nil {
				return err
			}
			p, err := a.enter(cmd.Context())
			if err != nil {
				return err
			}
			t, err := p.CreateEnrollmentToken(cmd.Context(), n)
			if err != nil {
				return err
			}
			return a.secret(t, t.Token, "TOKEN", fmt.Sprintf(
				"enrolment token %s: %s, until %s; it is shown only now\nwith it, on a device: signet-agent enroll --broker URL --pool %s --name NAME --token @FILE",
				t.ID, counted(t.Uses, "use"), stamp(&t.Expires), a.pool))
		})
	f := cmd.Flags()
	f.IntVar(&uses, "uses", 1, "how many enrolments, 1 to 1000000")
	spanFlag(cmd, &life, "expires", "24h", "lifetime, 1m to 365d, such as 24h or 30d")
	f.StringArrayVar(&n.Groups, "group", nil, "`group` of the devices; may be repeated")
	f.StringArrayVar(&attrs, "attr", nil, "attribute `k=v` of the devices; may be repeated")
	f.BoolVar(&n.Replace, "replace", false, "may replace the key of a device that has one")
	f.BoolVar(&n.Approve, "approve", false, "devices wait for approval: signet device approve")
	return cmd
}

func (a *app) updateEnrollment(s shelf[adminapi.EnrollmentToken]) *cobra.Command {
	var uses int
	var life adminapi.Duration
	cmd := a.leaf("update ID", "Give an enrolment token more uses or another end", "signet enrollment update 39e8f701361b7b1a --pool demo --uses 200 --expires 30d",
		func(cmd *cobra.Command, args []string) error {
			if err := needsOne(cmd, "uses", "expires"); err != nil {
				return err
			}
			p, err := a.enter(cmd.Context())
			if err != nil {
				return err
			}
			t, err := p.UpdateEnrollmentToken(cmd.Context(), args[0],
				adminapi.EnrollmentTokenChange{Uses: given(cmd, "uses", uses), Expires: given(cmd, "expires", life)})
			if err != nil {
				return err
			}
			return a.show(t, s.header, s.row(t))
		})
	cmd.ValidArgsFunction = s.names(a)
	cmd.Flags().IntVar(&uses, "uses", 0, "how many enrolments in all, those that were included")
	spanFlag(cmd, &life, "expires", "", "lifetime from now, 1m to 365d")
	return cmd
}
