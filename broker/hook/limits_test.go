package hook

import (
	"strings"
	"testing"

	"github.com/signetd/signet/protocol"
	"github.com/signetd/signet/protocol/challenge"
	"github.com/signetd/signet/protocol/detcbor"
)

// TestWhatAHookMayAskADeviceTakes: a challenge's parameters are as many and as long here
// as for whoever reads the message.
func TestWhatAHookMayAskADeviceTakes(t *testing.T) {
	if _, own := challenge.Of("door"); own {
		t.Fatal("the protocol has a challenge called door")
	}
	many := func(n int) map[string]string {
		m := map[string]string{}
		for i := range n {
			m[strings.Repeat("n", i+1)] = ""
		}
		return m
	}
	long := func(name, value int) map[string]string {
		return map[string]string{strings.Repeat("n", name): strings.Repeat("v", value)}
	}
	for what, c := range map[string]struct {
		params map[string]string
		fit    bool
	}{
		"none":               {nil, true},
		"as many as may be":  {many(protocol.MaxPairs), true},
		"one too many":       {many(protocol.MaxPairs + 1), false},
		"longest name":       {long(protocol.MaxPairName, 1), true},
		"name too long":      {long(protocol.MaxPairName+1, 1), false},
		"no name":            {long(0, 1), false},
		"longest value":      {long(1, protocol.MaxPairValue), true},
		"value too long":     {long(1, protocol.MaxPairValue+1), false},
		"longest of each":    {long(protocol.MaxPairName, protocol.MaxPairValue), true},
		"name is whole UTF8": {map[string]string{"schlüssel": "täglich"}, true},
	} {
		ours := checkSize("public", c.params, MaxPublic) == nil
		raw, err := detcbor.Marshal(&protocol.ChallengeBody{Kind: "door", Nonce: make([]byte, protocol.ServerNonce), Issuer: "https://x", Params: c.params})
		if err == nil {
			_, err = protocol.DecodeChallengeBody(raw)
		}
		if ours != c.fit || (err == nil) != c.fit {
			t.Errorf("%s: a hook may ask it: %v, a device takes it: %v", what, ours, err)
		}
	}
}
