// Package channel gives a TLS connection a name that its two ends agree on and
// that no other connection has (RFC 9266). A device puts it into what it proves,
// so that a broker knows whether it hears the device itself or someone in between
// who passes its words on.
//
// It holds no state. The name is no secret.
package channel

import (
	"crypto/tls"

	"github.com/signetd/signet/protocol"
)

// label is registered for this use (RFC 9266, section 2). The context is empty, which
// in TLS 1.2 is not the same as none.
const label = "EXPORTER-Channel-Binding"

// Name gives the connection's name, protocol.ChannelLen bytes. It is nil while the
// handshake is not complete, and for a connection of which no name would be safe:
// in TLS 1.2 one without the extended master secret (RFC 7627), or one that may
// renegotiate.
func Name(s *tls.ConnectionState) []byte { return export(s, label) }

// labelACE is registered for RFC 9431 (sections 2.2.4.2.1 and 7.1).
const labelACE = "EXPORTER-ACE-MQTT-Sign-Challenge"

// Challenge gives what RFC 9431 has a device sign that connects to MQTT in its way, protocol.ChannelLen
// bytes that belong to the connection alone. It is nil where Name is.
func Challenge(s *tls.ConnectionState) []byte { return export(s, labelACE) }

func export(s *tls.ConnectionState, label string) []byte {
	if s == nil || !s.HandshakeComplete {
		return nil
	}
	name, err := s.ExportKeyingMaterial(label, []byte{}, protocol.ChannelLen)
	if err != nil {
		return nil
	}
	return name
}
