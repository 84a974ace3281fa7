package exchange

import (
	"github.com/signetd/signet/protocol"
	"github.com/signetd/signet/protocol/ident"
)

// claimed is the device that a message says it is from, zero if it does not say. Nothing
// of that is proven.
func claimed(m protocol.Message) ident.Device {
	switch m := m.(type) {
	case *protocol.Start:
		return m.Device()
	case *protocol.Enroll:
		return m.Device()
	case *protocol.Refresh:
		if body, err := protocol.DecodeRefreshBody(m.Body); err == nil {
			return body.Device()
		}
	case *protocol.Answer:
		return claimed(m.Opened())
	}
	return ident.Device{}
}
