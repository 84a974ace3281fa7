package strictyaml_test

import (
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/signetd/signet/broker/strictyaml"
)

const sample = `# settings
pools:
  - name: demo
clients:
  - pool: demo
    id: app
    audiences: [telemetry, "R & D [1]"]
    accessLife: 15m
  - {pool: demo, id: other, grace: 0}
groups:
  - pool: demo
    name: lab
    precedence: 5
    description: >-
      rooms
      and halls
`

func TestRead(t *testing.T) {
	v, err := strictyaml.Read([]byte(sample))
	if err != nil {
		t.Fatal(err)
	}
	want := `{"pools":[{"name":"demo"}],"clients":[{"pool":"demo","id":"app","audiences":["telemetry","R \u0026 D [1]"],"accessLife":"15m"},` +
		`{"pool":"demo","id":"other","grace":0}],"groups":[{"pool":"demo","name":"lab","precedence":5,"description":"rooms and halls"}]}`
	if got := string(v.JSON()); got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	for path, at := range map[string]strictyaml.Place{
		"clients[0].accessLife": {8, 5}, "clients[0]": {5, 5}, "clients[0].audiences[1]": {7, 28}, "clients[1].grace": {9, 29},
		"clients[0].none": {5, 5}, "clients[7]": {4, 1}, "groups[0].precedence": {13, 5}, "nothing": {2, 1}, "": {2, 1}, "pools": {2, 1},
	} {
		if got := v.At(path); got != at {
			t.Errorf("%q is at %v, want %v", path, got, at)
		}
	}
	if v, err := strictyaml.Read([]byte("# nothing\n")); err != nil || !v.Mapping {
		t.Errorf("empty file: %+v, %v", v, err)
	}
}

// TestColonsWithoutSpace: hook:pin is one word, wherever it is.
func TestColonsWithoutSpace(t *testing.T) {
	v, err := strictyaml.Read([]byte("a: {b: [key, hook:pin, \"x:y\", c: d], e: f:g}\nh: [i:j]\nk: l:m\n"))
	if err != nil {
		t.Fatal(err)
	}
	if got, want := string(v.JSON()), `{"a":{"b":["key","hook:pin","x:y",{"c":"d"}],"e":"f:g"},"h":["i:j"],"k":"l:m"}`; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
}

func TestRefused(t *testing.T) {
	for in, want := range map[string]string{
		"a: 1\nb: 2\na: 3\n":            `line 3, column 1: key "a" comes twice; it is on line 1 already`,
		"a: &x 1\nb: *x\n":              "line 1, column 4: anchors and aliases",
		"a: !!binary aGk=\n":            "line 1, column 4: tags",
		"a: 1\n---\nb: 2\n":             "a second YAML document",
		"a: [1, 2\n":                    "line 1",
		"1: x\n":                        "line 1, column 1: a key is plain text",
		"a: .inf\n":                     "line 1, column 4: write numbers in decimal",
		"a: .nan\n":                     "line 1, column 4: write numbers in decimal",
		"a: 010\n":                      "line 1, column 4: write numbers in decimal",
		"a: 0x10\n":                     "line 1, column 4: write numbers in decimal",
		"a: 1_000\n":                    "line 1, column 4: write numbers in decimal",
		"<<: {a: 1}\n":                  "line 1, column 1: a key is plain text",
		"a: " + strings.Repeat("[", 20): "nested too deep",
		"a:\n" + strings.Repeat(" ", 70) + "b: 1": "nested too deep",
		strings.Repeat("- ", 20) + "a":            "nested too deep",
		"a: " + strings.Repeat("x", 5000):         "more than 4096 bytes",
	} {
		_, err := strictyaml.Read([]byte(in))
		var all strictyaml.Errors
		if !errors.As(err, &all) || !strings.Contains(err.Error(), want) {
			t.Errorf("%.40q: got %v, want %q", in, err, want)
		}
	}
	_, err := strictyaml.Read([]byte("a: 1\na: 2\nb: {c: 1, c: 2}\n"))
	if all, ok := err.(strictyaml.Errors); !ok || len(all) != 2 {
		t.Errorf("all that is wrong is told at once: %v", err)
	}
}

// TestLargeFile: a thousand settings take no time that anybody waits for.
func TestLargeFile(t *testing.T) {
	began := time.Now()
	v, err := strictyaml.Read([]byte("groups:\n" + strings.Repeat("  - {pool: demo, name: lab, precedence: 5}\n", 5000)))
	if err != nil || len(v.Members[0].Value.Items) != 5000 {
		t.Fatal(err)
	}
	if took := time.Since(began); took > 10*time.Second {
		t.Errorf("5000 items took %v", took)
	}
}

func FuzzRead(f *testing.F) {
	for _, s := range []string{sample, "", "a: &x [1]\nb: *x", "a: 1\na: 2", "- - - a", "a: {b: [c, d: e]}", "a: |\n  x\n y", "\"a\": 'b'", "a: 0x10\nb: 1_000\nc: 1e3", "? a\n: b", "%YAML 1.2\n---\na: b", "a: [\"[[[[\", '{{']"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		v, err := strictyaml.Read(raw)
		if err != nil {
			var all strictyaml.Errors
			if !errors.As(err, &all) || len(all) == 0 {
				t.Fatalf("error %v", err)
			}
			return
		}
		if out := v.JSON(); !json.Valid(out) {
			t.Fatalf("%q became %s", raw, out)
		}
		if at := v.At("a[0].b"); at.Line < 1 || at.Column < 1 {
			t.Fatalf("place %v", at)
		}
	})
}
