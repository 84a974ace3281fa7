package strictjson_test

import (
	"encoding/json"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/signetd/signet/protocol/strictjson"
)

type fields struct {
	S string           `json:"s"`
	B bool             `json:"b"`
	I int64            `json:"i"`
	X []byte           `json:"x"`
	V strictjson.Value `json:"-"`
}

func (f *fields) all() strictjson.Fields {
	return strictjson.Fields{"s": &f.S, "b": &f.B, "i": &f.I, "x": &f.X, "v": &f.V}
}

func TestRead(t *testing.T) {
	got := fields{S: "stays"}
	unknown, err := strictjson.Read([]byte(`{"b":true,"i":-7,"x":"AQI=","v":[1, {}],"new":null,"S":1}`), 100, got.all())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(fields{S: "stays", B: true, I: -7, X: []byte{1, 2}, V: strictjson.Value(`[1, {}]`)}, got); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]string{"new", "S"}, unknown); diff != "" {
		t.Error(diff)
	}
}

func TestReadRefuses(t *testing.T) {
	for name, in := range map[string]string{
		"number as text":  `{"s":1}`,
		"text as bool":    `{"b":"true"}`,
		"null":            `{"b":null}`,
		"fraction":        `{"i":1.0}`,
		"not base64":      `{"x":"A"}`,
		"url base64":      `{"x":"_-A="}`,
		"base64 with eol": `{"x":"AQI=\n "}`,
		"twice":           `{"s":"a","s":"b"}`,
		"array":           `[]`,
		"long":            `{"s":"0123456789012345678901234567890123456789"}`,
		"no variable":     `{"other":1}`,
	} {
		var f fields
		all := f.all()
		all["other"] = new(float64)
		if _, err := strictjson.Read([]byte(in), 40, all); !errors.Is(err, strictjson.ErrMalformed) {
			t.Errorf("%s: %v, want ErrMalformed", name, err)
		}
	}
}

// FuzzText holds strings, escapes and all, against encoding/json.
func FuzzText(f *testing.F) {
	for _, s := range []string{`"a"`, `"\"\\\/\b\f\n\r\t"`, `"\u0061\ud83d\ude00"`, `"\ud83d"`, `"\ud83dx\ude00"`, `"\ud83d\u0061"`, `"\ud83d\ud83d\ude00"`, `"é\u00e9"`, `"\u0000"`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		members, err := strictjson.Object([]byte(`{"a":` + string(data) + `}`))
		if err != nil || len(members) != 1 {
			return
		}
		got, err := members[0].Value.Text()
		if err != nil {
			return
		}
		var want string
		if err := json.Unmarshal(members[0].Value, &want); err != nil {
			t.Fatalf("%q was read as %q, encoding/json says %v", data, got, err)
		}
		if got != want {
			t.Errorf("%q was read as %q, encoding/json says %q", data, got, want)
		}
	})
}
