package access_test

import (
	"bytes"
	"testing"

	"github.com/signetd/signet/broker/access"
	"github.com/signetd/signet/protocol"
)

func TestChannel(t *testing.T) {
	mine, other := bytes.Repeat([]byte{1}, protocol.ChannelLen), bytes.Repeat([]byte{2}, protocol.ChannelLen)
	for name, c := range map[string]struct {
		channel      access.Channel
		named        []byte
		is, endsHere bool
	}{
		"its own":                    {access.Channel{Name: mine}, mine, true, true},
		"another's":                  {access.Channel{Name: mine}, other, false, false},
		"no TLS here":                {access.Channel{}, mine, false, false},
		"named by nobody":            {access.Channel{Name: mine}, nil, false, false},
		"no names at all":            {access.Channel{}, nil, false, false},
		"short ones":                 {access.Channel{Name: mine[:31]}, mine[:31], false, false},
		"vouched for":                {access.Channel{Name: mine, Vouched: true}, other, true, false},
		"vouched for, without TLS":   {access.Channel{Vouched: true}, other, true, false},
		"vouched for, not named":     {access.Channel{Name: mine, Vouched: true}, nil, false, false},
		"vouched for, short name":    {access.Channel{Vouched: true}, mine[:31], false, false},
		"vouched for, and it passes": {access.Channel{Name: mine, Vouched: true}, mine, true, true},
	} {
		if is, here := c.channel.Is(c.named), c.channel.EndsHere(c.named); is != c.is || here != c.endsHere {
			t.Errorf("%s: is %v, ends here %v", name, is, here)
		}
	}
}
