package vectors_test

import (
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

var example = regexp.MustCompile(`(?m)^    (sgne_\S+|[0-9a-f]{16,})$`)

// TestTheDocumentsExampleIsTheVectors keeps docs/protocol.md's bytes true.
func TestTheDocumentsExampleIsTheVectors(t *testing.T) {
	text, err := os.ReadFile("../../docs/protocol.md")
	if err != nil {
		t.Fatal(err)
	}
	all := string(raw(t, "exchanges.json")) + string(raw(t, "enrolment.json"))
	found := example.FindAllStringSubmatch(string(text), -1)
	if len(found) < 15 {
		t.Fatalf("only %d lines of bytes in the document", len(found))
	}
	for _, m := range found {
		if !strings.Contains(all, `"`+m[1]+`"`) {
			t.Errorf("not in the vectors: %s", m[1])
		}
	}
}

// TestTheDocumentNamesEveryCode keeps its table of refusals whole.
func TestTheDocumentNamesEveryCode(t *testing.T) {
	text, err := os.ReadFile("../../docs/protocol.md")
	if err != nil {
		t.Fatal(err)
	}
	for name, code := range codes() {
		row := regexp.MustCompile(`(?m)^\| ` + regexp.QuoteMeta(itoa(uint8(code))) + ` \| ` + name + ` \| .+ \|$`)
		if !row.Match(text) {
			t.Errorf("no row for %d, %s", code, name)
		}
	}
}

func itoa(n uint8) string { return strconv.Itoa(int(n)) }
