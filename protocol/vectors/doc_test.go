package vectors_test

import (
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// example is a line of bytes, with a remark if it is a piece of a longer whole.
var example = regexp.MustCompile(`^    (sgne_\S+|[0-9a-f]{2,})(  \S.*)?$`)

// TestTheDocumentsExampleIsTheVectors keeps docs/protocol.md's bytes true: each
// line of bytes is in the vectors, and pieces that follow one another are there in
// one.
func TestTheDocumentsExampleIsTheVectors(t *testing.T) {
	text, err := os.ReadFile("../../docs/protocol.md")
	if err != nil {
		t.Fatal(err)
	}
	var all string
	for _, name := range []string{"exchanges.json", "enrollment.json", "tokens.json", "keys.json"} {
		all += string(raw(t, name))
	}
	whole, found := "", 0
	for line := range strings.Lines(string(text)) {
		m := example.FindStringSubmatch(strings.TrimRight(line, "\n"))
		if m != nil && m[2] != "" {
			whole += m[1]
			continue
		}
		for _, b := range []string{whole, lone(m)} {
			if b == "" {
				continue
			}
			found++
			if !strings.Contains(all, b) {
				t.Errorf("not in the vectors: %s", b)
			}
		}
		whole = ""
	}
	if found < 25 {
		t.Fatalf("only %d wholes of bytes in the document", found)
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

// lone gives the bytes of a line that stands for itself.
func lone(m []string) string {
	if m == nil {
		return ""
	}
	return m[1]
}
