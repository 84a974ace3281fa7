package cli

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"
	"rsc.io/qr"

	"github.com/signetd/signet/broker/adminapi"
)

// authenticators makes a command for each kind of authenticator that the broker makes for
// devices: it makes one, replaces it, or takes it away.
func (a *app) authenticators(s shelf[adminapi.Device]) []*cobra.Command {
	var all []*cobra.Command
	for _, k := range adminapi.AuthenticatorKinds() {
		all = append(all, a.authenticator(s, k))
	}
	return all
}

func (a *app) authenticator(s shelf[adminapi.Device], k adminapi.AuthenticatorKind) *cobra.Command {
	var replace, remove, draw bool
	var take func(form) error
	cmd := a.leaf(k.Kind+" NAME", k.Make.About, k.Make.Example, func(cmd *cobra.Command, args []string) error {
		body := k.Make.New()
		if err := take(formOf(body)); err != nil {
			return err
		}
		p, err := a.enter(cmd.Context())
		if err != nil {
			return err
		}
		if remove {
			if err := p.RemoveAuthenticator(cmd.Context(), args[0], k.Kind); err != nil {
				return err
			}
			return a.did(outcome{Action: "delete", Kind: k.Kind, Pool: a.pool, Name: args[0]},
				"removed the %s of %s%s; a flow that asks for it refuses the device now", k.One, args[0], a.on())
		}
		made, err := p.MakeAuthenticator(cmd.Context(), args[0], k.Kind, body, replace)
		if err != nil {
			return err
		}
		if k.Scan {
			if err := a.scanned(made.Secret, draw); err != nil {
				return err
			}
		}
		return a.secret(made, made.Secret, k.Heading, k.One+" of "+made.Name+": "+k.Use)
	})
	cmd.Long = k.About
	cmd.ValidArgsFunction = s.completion(a)
	f := cmd.Flags()
	f.BoolVar(&replace, "replace", false, "replace the one that there is")
	f.BoolVar(&remove, "remove", false, "take it away")
	if k.Scan {
		f.BoolVar(&draw, "qr", false, "draw the QR code although the output is no terminal")
	}
	var names []string
	names, take = formOf(k.Make.New()).flags(cmd, true)
	for _, name := range append(names, "replace") {
		cmd.MarkFlagsMutuallyExclusive("remove", name)
	}
	return cmd
}

// scanned draws what a camera is to read where a person can hold one to it, or who asks for it.
func (a *app) scanned(text string, draw bool) error {
	if a.format == "table" && (draw || a.screen != nil && term.IsTerminal(int(a.screen.Fd()))) {
		return a.drawQR(text)
	}
	return nil
}

// drawQR draws text as a QR code, two modules a character, black on white whatever
// the terminal's colours are.
func (a *app) drawQR(text string) error {
	code, err := qr.Encode(text, qr.M)
	if err != nil {
		return fmt.Errorf("draw QR code: %w", err)
	}
	const quiet = 4 // modules of white about it (ISO/IEC 18004, 6.3.8)
	var b strings.Builder
	for y := -quiet; y < code.Size+quiet; y += 2 {
		b.WriteString("\x1b[38;5;16;48;5;231m")
		for x := -quiet; x < code.Size+quiet; x++ {
			b.WriteString([]string{" ", "\u2584", "\u2580", "\u2588"}[half(code.Black(x, y))<<1|half(code.Black(x, y+1))])
		}
		b.WriteString("\x1b[0m\n")
	}
	return a.out.WriteRaw([]byte(b.String()))
}

func half(black bool) int {
	if black {
		return 1
	}
	return 0
}
