package strictjson_test

import (
	"encoding/json"
	"errors"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/signetd/signet/protocol/strictjson"
)

func TestObject(t *testing.T) {
	got, err := strictjson.Object([]byte(" {\"a\" : 1 ,\n\"b\\u0063\":[ {\"x\":\"}\\\"\"} , 2],\"\":{}} "))
	if err != nil {
		t.Fatal(err)
	}
	want := []strictjson.Member{
		{Name: "a", Value: strictjson.Value("1")},
		{Name: "bc", Value: strictjson.Value(`[ {"x":"}\""} , 2]`)},
		{Name: "", Value: strictjson.Value("{}")},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestObjectRefuses(t *testing.T) {
	for name, in := range map[string]string{
		"empty":              "",
		"array":              "[]",
		"duplicate":          `{"a":1,"a":1}`,
		"escaped duplicate":  `{"a":1,"\u0061":1}`,
		"duplicate inside":   `{"x":{"a":1,"a":1}}`,
		"duplicate in array": `{"x":[{"a":1,"a":1}]}`,
		"trailing":           `{}{}`,
		"not UTF-8":          "{\"a\":\"\xff\"}",
		"comment":            "{/**/}",
		"deep":               `{"a":` + strings.Repeat("[", 8) + strings.Repeat("]", 8) + `}`,
		"many":               `{"a":[0` + strings.Repeat(",0", 256) + `]}`,
		"large":              `{"a":"` + strings.Repeat("x", strictjson.MaxSize) + `"}`,
	} {
		t.Run(name, func(t *testing.T) {
			if _, err := strictjson.Object([]byte(in)); !errors.Is(err, strictjson.ErrMalformed) {
				t.Errorf("Object(%.60q) = %v, want ErrMalformed", in, err)
			}
		})
	}
}

// TestObjectWithin: larger documents are read only where the caller says so, and as strictly.
func TestObjectWithin(t *testing.T) {
	list := func(n int) string { return `{"a":[` + strings.TrimSuffix(strings.Repeat("0,", n), ",") + `]}` }
	large := `{"a":"` + strings.Repeat("x", strictjson.MaxSize) + `"}`
	members := make([]string, strictjson.MaxMembers+1)
	for i := range members {
		members[i] = strconv.Quote(strconv.Itoa(i)) + ":0"
	}
	for name, c := range map[string]struct {
		in             string
		size, elements int
		ok             bool
	}{
		"elements":       {list(3000), 1 << 20, 3000, true},
		"one too many":   {list(3001), 1 << 20, 3000, false},
		"large":          {large, len(large), 1, true},
		"a byte more":    {large, len(large) - 1, 1, false},
		"many members":   {"{" + strings.Join(members, ",") + "}", 1 << 20, 3000, false},
		"duplicate":      {`{"a":[{"b":1,"b":1}]}`, 1 << 20, 3000, false},
		"many, as usual": {list(strictjson.MaxMembers + 1), strictjson.MaxSize, strictjson.MaxMembers, false},
	} {
		got, err := strictjson.ObjectWithin([]byte(c.in), c.size, c.elements)
		if (err == nil) != c.ok || err != nil && !errors.Is(err, strictjson.ErrMalformed) {
			t.Errorf("%s: got %v", name, err)
		}
		if err == nil && got[0].Value[0] == '[' {
			if all, err := got[0].Value.Array(); err != nil || len(all) != c.elements {
				t.Errorf("%s: %d elements, %v", name, len(all), err)
			}
		}
	}
}

func TestInteger(t *testing.T) {
	for in, ok := range map[string]bool{"0": true, "-5": true, "17": true, "1.0": false, "1e3": false, "-0": false, `"1"`: false, "": false, "9223372036854775808": false} {
		if _, err := strictjson.Value(in).Integer(); (err == nil) != ok {
			t.Errorf("Integer(%q) = %v, want success %v", in, err, ok)
		}
	}
}

// FuzzObject holds the walk against encoding/json: what is accepted has the
// same members there.
func FuzzObject(f *testing.F) {
	for _, s := range []string{`{}`, `{"a":1,"b":[true,null,{"c":"d\\"}]}`, `{"a":1,"a":2}`, ` { "\u0061" : -1.5e3 } `} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		members, err := strictjson.Object(data)
		if err != nil {
			if plain := json.Unmarshal(data, new(map[string]any)); plain == nil && utf8.Valid(data) && !stricter(err) {
				t.Fatalf("%v, encoding/json accepts", err)
			}
			return
		}
		for _, m := range members {
			_, _ = m.Value.Integer()
			_, _ = m.Value.Texts()
			if _, err := m.Value.Object(); err != nil && m.Value[0] == '{' {
				t.Fatalf("%s was checked and is refused: %v", m.Value, err)
			}
		}
		var want map[string]json.RawMessage
		if err := json.Unmarshal(data, &want); err != nil {
			t.Fatal(err)
		}
		if len(want) != len(members) {
			t.Fatalf("%d members, encoding/json finds %d", len(members), len(want))
		}
		for _, m := range members {
			if string(want[m.Name]) != string(m.Value) {
				t.Fatalf("%q is %s, encoding/json says %s", m.Name, m.Value, want[m.Name])
			}
		}
	})
}

// stricter reports whether err is one that encoding/json would not raise.
func stricter(err error) bool {
	for _, reason := range []string{"occurs twice", "at most", "want an object"} {
		if strings.Contains(err.Error(), reason) {
			return true
		}
	}
	return false
}
