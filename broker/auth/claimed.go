package auth

import (
	"github.com/signetd/signet/protocol"
	"github.com/signetd/signet/protocol/ident"
)

// Claimed is the device that a message says it is from, for the log alone: nothing
// of it is proven. It is the zero Device if the message doesn't say.
func (a *Authenticator) Claimed(m protocol.Message) ident.Device {
	switch m := m.(type) {
	case *protocol.Start:
		return m.Device()
	case *protocol.Enrol:
		return m.Device()
	case *protocol.Refresh:
		if body, err := protocol.DecodeRefreshBody(m.Body); err == nil {
			return body.Device()
		}
	case *protocol.Answer:
		switch opened := m.Opened().(type) {
		case *protocol.Start:
			return opened.Device()
		case *protocol.Enrol:
			return opened.Device()
		}
	}
	return ident.Device{}
}
