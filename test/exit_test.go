package test

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/signetd/signet/protocol/exit"
)

// TestExitCodesAreOneTable: the document has the table that the programs share.
func TestExitCodesAreOneTable(t *testing.T) {
	raw, err := os.ReadFile("../docs/settings.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, _ := strings.Cut(string(raw), "| code | | meaning |\n|---|---|---|\n")
	table, _, _ = strings.Cut(table, "\n\n")
	var want []string
	for _, r := range exit.Table() {
		want = append(want, fmt.Sprintf("| %d | %s | %s |", r.Code, r.Word, r.Meaning))
	}
	if got := strings.Join(want, "\n"); got != table {
		t.Errorf("docs/settings.md says\n%s\nand package exit\n%s", table, got)
	}
}
