package vectors_test

import (
	"testing"

	"github.com/signetd/signet/protocol/detcbor"
)

// TestMessagesMatchTheCDDL: each valid vector is what its rule says, and each
// invalid one is not, but for what signet.cddl says that its rules leave out.
func TestMessagesMatchTheCDDL(t *testing.T) {
	m := matcher{rules: readCDDL(t), open: true}
	f := load[messageFile](t, "messages.json")
	for _, v := range f.Valid {
		if err := m.match(v.What, unhex(t, v.Hex)); err != nil {
			t.Errorf("%s: %v", v.Name, err)
		}
	}
	for _, v := range f.Invalid {
		b := unhex(t, v.Hex)
		if detcbor.Check(b) != nil || v.Code == "too-large" {
			continue // encoding and size
		}
		switch err := m.match(v.What, b); {
		case err == nil && !notInRules(v.Name):
			t.Errorf("%s: matches", v.Name)
		case err != nil && notInRules(v.Name):
			t.Errorf("%s: does not match, but is said not to be in the rules", v.Name)
		}
	}
}

// notInRules lists what the head of signet.cddl lists.
func notInRules(name string) bool {
	switch name {
	case "start: 17 pairs of metadata", "enroll: 17 attributes", "challenge-body: 17 parameters", "challenge-body: 17 successions", "grant-body: 17 successions", "start: metadata without a name",
		"start: metadata with a name of 65 bytes", "start: metadata with a value of 1025 bytes", "answer: neither proof nor secret",
		"answer: opening of another call", "answer: opening of more than 8 KiB", "start: audience of an MQTT password",
		"connect-proof: proof of 63 bytes", "connect-proof: unknown member":
		return true
	}
	return false
}

// TestExchangesMatchTheCDDL: every message of the whole exchanges, and what they
// carry inside.
func TestExchangesMatchTheCDDL(t *testing.T) {
	m := matcher{rules: readCDDL(t), open: true}
	for _, x := range load[exchangeFile](t, "exchanges.json").Exchanges {
		for _, s := range x.Steps {
			if err := m.match(s.Message, unhex(t, s.Hex)); err != nil {
				t.Errorf("%s: %s: %v", x.Name, s.Message, err)
			}
			if s.Grant == nil {
				continue
			}
			if err := m.match("grant-body", unhex(t, s.Grant.Plain)); err != nil {
				t.Errorf("%s: grant body: %v", x.Name, err)
			}
		}
	}
}

// TestSignedObjectsMatchTheCDDL: tokens, the key statement and keys.
func TestSignedObjectsMatchTheCDDL(t *testing.T) {
	m := matcher{rules: readCDDL(t)}
	rules := map[string]string{"access": "access-cwt", "id": "id-cwt", "keys": "key-statement", "anchor": "anchor-succession"}
	f := load[tokenFile](t, "tokens.json")
	n := 0
	for _, v := range f.Valid {
		if v.Form != "cwt" {
			continue
		}
		n++
		for class, rule := range rules {
			if err := m.match(rule, unhex(t, v.Token)); (err == nil) != (class == v.Class) {
				t.Errorf("%s as %s: %v", v.Name, rule, err)
			}
		}
	}
	if n < 7 {
		t.Errorf("only %d objects", n)
	}
	if err := m.match("key-set", unhex(t, f.COSEKeys)); err != nil {
		t.Errorf("key set: %v", err)
	}
	for _, v := range load[keyFile](t, "keys.json").Valid {
		if err := m.match("pool-key", unhex(t, v.COSE)); err != nil {
			t.Errorf("key %s: %v", v.Name, err)
		}
	}
}

// TestCDDLReader tries the reader itself: text, value, whether it matches.
func TestCDDLReader(t *testing.T) {
	for _, tt := range []struct {
		rules, value string
		open, ok     bool
	}{
		{"r = uint", "05", false, true},
		{"r = uint", "20", false, false},
		{"r = 1 / 3", "03", false, true},
		{"r = 1 / 3", "02", false, false},
		{"r = 1..3", "04", false, false},
		{"r = -7", "26", false, true},
		{`r = "a" / "b"`, "6162", false, true},
		{"r = bstr .size 2", "42aabb", false, true},
		{"r = bstr .size 2", "43aabbcc", false, false},
		{"r = tstr .size (1..2)", "60", false, false},
		{`r = tstr .regexp "[a-z]"`, "626161", false, false},
		{"r = bstr .cbor s s = [ 1 ]", "428101", false, true},
		{"r = bstr .cbor s s = [ 1 ]", "428102", false, false},
		{"r = [ * uint ]", "83010203", false, true},
		{"r = [ + uint ]", "80", false, false},
		{"r = [ uint, tstr ]", "8201", false, false},
		{"r = { 1 => uint, ? 2 => uint }", "a10105", false, true},
		{"r = { 1 => uint, ? 2 => uint }", "a10205", false, false},
		{"r = { 1 => uint }", "a201050305", false, false},
		{"r = { 1 => uint }", "a201050305", true, true},
		{"r = { 1 => uint }", "a201052005", true, false},
		{"r = { ? 1 => uint }", "a1016161", true, false},
		{"r = { ( 1 => uint // 2 => uint ) }", "a10205", true, true},
		{"r = { ( 1 => uint // 2 => uint ) }", "a201050205", true, false},
		{"r = { g<2>, 3 => 4 } g<t> = ( 1 => t )", "a201020304", false, true},
		{"r = { g<2>, 3 => 4 } g<t> = ( 1 => t )", "a201030304", false, false},
		{"r = { a => uint } a = -1", "a12005", false, true},
		{"r = { * tstr => tstr }", "a161616162", false, true},
		{"r = &( x: 1, y: 2 )", "02", false, true},
		{"r = #6.18([ 1 ])", "d28101", false, true},
		{"r = #6.18([ 1 ])", "8101", false, false},
		{"r = s", "05", false, false},
	} {
		rules, err := parseCDDL(tt.rules)
		if err != nil {
			t.Errorf("%s: %v", tt.rules, err)
			continue
		}
		if err := (matcher{rules, tt.open}).match("r", unhex(t, tt.value)); (err == nil) != tt.ok {
			t.Errorf("%s of %s: %v, want match %v", tt.rules, tt.value, err, tt.ok)
		}
	}
	for _, bad := range []string{"r", "r = ", "r = {", "r = uint r = uint", "r = %", "r = 1..", "1 = uint"} {
		if _, err := parseCDDL(bad); err == nil {
			t.Errorf("%q: read", bad)
		}
	}
}
