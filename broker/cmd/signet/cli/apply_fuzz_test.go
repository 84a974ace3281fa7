package cli

import (
	"encoding/json"
	"errors"
	"testing"

	"github.com/signetd/signet/broker/problem"
)

// FuzzSettingsFiles puts bytes where two files of settings and a broker's complaint are read.
func FuzzSettingsFiles(f *testing.F) {
	f.Add("clients:\n  - {pool: demo, id: a}\n", "clients:\n  - pool: demo\n    id: b\n", "clients[1].id")
	f.Add("pools: [{name: demo}]\n", "flows: []\n", "flows")
	f.Add("a: &x []\n", "- b", "a[")
	f.Add("prune: true\n", "a: 1\na: 2\n", "a[99999999999999999999].b]c[")
	f.Fuzz(func(t *testing.T, one, two, path string) {
		set, err := readSettings([]string{"one", "two"}, [][]byte{[]byte(one), []byte(two)})
		var wrong fileErrors
		if err != nil && !errors.As(err, &wrong) {
			t.Fatalf("error %v", err)
		}
		if raw := set.request(asked{dryRun: true}); !json.Valid(raw) {
			t.Fatalf("request %s", raw)
		}
		p := &problem.Problem{Errors: []problem.Place{{Location: path, Message: "expected string"}}}
		if !errors.As(set.explain(p), &wrong) || wrong[0].Line < 1 || wrong[0].Column < 1 {
			t.Fatalf("%q is at %+v", path, wrong)
		}
	})
}
