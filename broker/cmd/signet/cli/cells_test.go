package cli

import (
	"bytes"
	"encoding/csv"
	"strings"
	"testing"

	"github.com/signetd/signet/protocol/output"
)

// What a device says of itself moves no terminal, makes no further row or column, and is no
// formula where a spreadsheet opens it.
func TestOthersValuesAreOnlyText(t *testing.T) {
	nasty := []string{"\x1b[2Jx", "a\nb\tc", "=HYPERLINK(1)", "+1", "-1", "@SUM(A1)", "\u202eevil", "plain"}
	for _, format := range []string{"table", "csv", "json", "yaml"} {
		var buf bytes.Buffer
		out := output.To(&buf)
		a := &app{Surroundings: Surroundings{Out: out}, out: out, format: format}
		if err := a.show(nasty, []string{"A", "B", "C", "D", "E", "F", "G", "H"}, append([]string(nil), nasty...)); err != nil {
			t.Fatal(err)
		}
		if strings.ContainsAny(buf.String(), "\x1b\u202e") {
			t.Errorf("%s: %q", format, &buf)
		}
		switch format {
		case "table":
			if n := strings.Count(buf.String(), "\n"); n != 2 {
				t.Errorf("table of %d lines: %q", n, &buf)
			}
		case "csv":
			rows, err := csv.NewReader(&buf).ReadAll()
			if err != nil || len(rows) != 2 || len(rows[1]) != len(nasty) {
				t.Fatalf("%q, %v", rows, err)
			}
			for i, cell := range rows[1] {
				if strings.ContainsRune("=+-@\t\r", rune(cell[0])) {
					t.Errorf("%q came out as %q", nasty[i], cell)
				}
			}
			if rows[1][7] != "plain" || rows[1][2] != "'=HYPERLINK(1)" {
				t.Errorf("%q", rows[1])
			}
		}
	}
}
