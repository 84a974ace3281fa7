package strictjson_test

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/signetd/signet/protocol/strictjson"
)

type inner struct {
	Name string `json:"name"`
}

type base struct {
	ID string `json:"id"`
}

type form struct {
	base
	Token string            `json:"token"`
	Ptr   *inner            `json:"ptr,omitempty"`
	List  []inner           `json:"list,omitempty"`
	ByKey map[string]inner  `json:"byKey,omitempty"`
	Attr  map[string]string `json:"attr,omitempty"`
	When  *time.Time        `json:"when,omitempty"`
	Raw   json.RawMessage   `json:"raw,omitempty"`
	Any   any               `json:"any,omitempty"`
	Plain int
	No    string `json:"-"`
}

func TestUnmarshal(t *testing.T) {
	var got form
	in := ` {"id":"i","token":"t","ptr":{"name":"p"},"list":[{"name":"l"}],"byKey":{"A":{"name":"a"},"a":{"name":"b"}},` +
		`"attr":{"Model":"x","model":"y"},"when":"2026-01-02T03:04:05Z","raw":{"X":1},"any":{"Y":1,"y":2},"Plain":3} `
	if err := strictjson.Unmarshal([]byte(in), strictjson.MaxSize, &got); err != nil {
		t.Fatal(err)
	}
	var want form
	if err := json.Unmarshal([]byte(in), &want); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(form{})); diff != "" {
		t.Error(diff)
	}
}

// TestUnmarshalRefuses: whatever encoding/json would take for something that it is not.
func TestUnmarshalRefuses(t *testing.T) {
	for name, in := range map[string]string{
		"another case":           `{"Token":"t"}`,
		"both cases":             `{"token":"t","TOKEN":"u"}`,
		"twice":                  `{"token":"t","token":"u"}`,
		"another letter's case":  "{\"to\u212aen\":\"t\"}", // KELVIN SIGN folds to k
		"embedded":               `{"ID":"i"}`,
		"in a pointer":           `{"ptr":{"Name":"p"}}`,
		"in a list":              `{"list":[{"name":"a"},{"NAME":"l"}]}`,
		"in a map":               `{"byKey":{"a":{"Name":"a"}}}`,
		"unknown":                `{"tokens":"t"}`,
		"untagged, another case": `{"plain":1}`,
		"not a member":           `{"No":"x"}`,
		"no object":              `[]`,
		"null":                   `null`,
		"trailing":               `{"token":"t"}{}`,
		"wrong type":             `{"token":1}`,
		"not UTF-8":              "{\"token\":\"\xff\"}",
	} {
		got := form{}
		if err := strictjson.Unmarshal([]byte(in), strictjson.MaxSize, &got); err == nil {
			t.Errorf("%s: %s was read as %+v", name, in, got)
		}
	}
	if strictjson.Unmarshal([]byte(`{"token":"t"}`), 12, new(form)) == nil {
		t.Error("13 bytes are read where 12 are allowed")
	}
}
