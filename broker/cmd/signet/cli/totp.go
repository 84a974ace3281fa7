package cli

import (
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"
	"rsc.io/qr"

	"github.com/signetd/signet/broker/adminapi"
)

// totp makes and removes a device's generator of one-time codes.
func (a *app) totp(s shelf[adminapi.Device]) *cobra.Command {
	var n adminapi.NewTOTP
	var remove, draw bool
	cmd := a.leaf("totp NAME", "Make a device's generator of one-time codes and print it, once",
		"signet device totp lamp-1 --pool demo\nsignet device totp lamp-1 --pool demo --replace\nsignet device totp lamp-1 --pool demo --remove",
		func(cmd *cobra.Command, args []string) error {
			p, err := a.enter(cmd.Context())
			if err != nil {
				return err
			}
			if remove {
				if err := p.DeleteTOTP(cmd.Context(), args[0]); err != nil {
					return err
				}
				a.note("removed the one-time codes of %s; a flow that asks for them refuses it now", args[0])
				return nil
			}
			n.Algorithm = strings.ToUpper(n.Algorithm)
			t, err := p.CreateTOTP(cmd.Context(), args[0], n)
			if err != nil {
				return err
			}
			return a.showTOTP(t, draw)
		})
	cmd.Long = "Makes a generator of one-time codes (RFC 6238) for a device: a second factor for flows\nwith the step totp behind key or psk. Scan the QR code with an authenticator app, or\ngive the URI to a program. Neither is shown again."
	cmd.ValidArgsFunction = s.completion(a)
	f := cmd.Flags()
	f.BoolVar(&n.Replace, "replace", false, "replace the generator that there is")
	f.BoolVar(&remove, "remove", false, "take the generator away")
	f.BoolVar(&draw, "qr", false, "draw the QR code although the output is no terminal")
	f.StringVar(&n.Algorithm, "algorithm", "SHA1", "SHA1, SHA256 or SHA512; many apps know only SHA1")
	f.IntVar(&n.Digits, "digits", 6, "digits of a code, 6 to 8")
	cmd.MarkFlagsMutuallyExclusive("remove", "replace")
	return cmd
}

func (a *app) showTOTP(t adminapi.TOTP, draw bool) error {
	out, ok := a.Out.(*os.File)
	if a.format == "table" && (draw || ok && term.IsTerminal(int(out.Fd()))) {
		if err := a.drawQR(t.URI); err != nil {
			return err
		}
	}
	return a.secret(t, t.URI, "URI", fmt.Sprintf(
		"one-time codes of %s: scan the code or keep the URI; it is shown only now\non the device: signet-agent answer CODE, or --answer-command", t.Name))
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
	_, err = a.Out.Write([]byte(b.String()))
	return err
}

func half(black bool) int {
	if black {
		return 1
	}
	return 0
}
