package hook

import (
	"bytes"
	"encoding/json"
	"testing"
)

// FuzzDecode: whatever a hook answers that grants is what a reader that takes exact names
// and the first of two members sees, too, and a repeated member grants nothing.
func FuzzDecode(f *testing.F) {
	for _, s := range []string{
		`{"response":{"answerCorrect":true,"issueTokens":false}}`, `{"response":{"answerCorrect":false,"AnswerCorrect":true}}`,
		`{"response":{"answerCorrect":false,"answerCorrect":true}}`, `{"response":{"publicChallengeParameters":{"a":"b"}},"Response":{}}`,
		`{"response":{"challengeName":null,"answer\u0043orrect":true}}`, `[]`, `{"response":null}`,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		got, err := decode(raw)
		if err != nil || got.correct == nil {
			return
		}
		var all map[string]json.RawMessage
		var members map[string]json.RawMessage
		if json.Unmarshal(raw, &all) != nil || json.Unmarshal(all["response"], &members) != nil {
			t.Fatalf("%q is no JSON", raw)
		}
		if want := bytes.TrimSpace(members["answerCorrect"]); string(want) != "true" && string(want) != "false" || (string(want) == "true") != *got.correct {
			t.Errorf("%q: %v, it says %s", raw, *got.correct, want)
		}
	})
}
