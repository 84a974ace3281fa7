package mqttd

import "encoding/binary"

// text says a reason in a few words of its own for who reads a client's log, what to
// do included; "" where there is nothing to add to the code's name.
func (r Reason) text() string {
	switch r {
	case ReasonMalformed:
		return "a packet that is none"
	case ReasonProtocol:
		return "a packet that was out of place"
	case ReasonBusy:
		return "room was needed for others: try again later"
	case ReasonShutdown:
		return "the broker stops: try again later"
	case ReasonKeepAlive:
		return "nothing came in time"
	case ReasonTakenOver:
		return "another connection has the same client id"
	case ReasonTooLarge:
		return "a packet that was too large"
	case ReasonQuota:
		return "more was asked for, or are connected, than one device or pool may have"
	case ReasonAdministrative:
		return "the device was disabled, its sessions ended or its key replaced: authenticate again"
	case ReasonExpired:
		return "the time of the token, or the time to authenticate, is over: connect again"
	}
	return ""
}

// Reasons are all of them.
var Reasons = [...]Reason{
	ReasonMalformed, ReasonProtocol, ReasonBusy, ReasonShutdown, ReasonKeepAlive, ReasonTakenOver, ReasonTooLarge, ReasonQuota, ReasonAdministrative, ReasonExpired,
}

// String is the reason in a word for metrics.
func (r Reason) String() string {
	switch r {
	case ReasonMalformed:
		return "malformed"
	case ReasonProtocol:
		return "protocol"
	case ReasonBusy:
		return "busy"
	case ReasonShutdown:
		return "shutdown"
	case ReasonKeepAlive:
		return "keep-alive"
	case ReasonTakenOver:
		return "taken-over"
	case ReasonTooLarge:
		return "too-large"
	case ReasonQuota:
		return "quota"
	case ReasonAdministrative:
		return "administrative"
	case ReasonExpired:
		return "expired"
	}
	return "other"
}

const propReasonString = 0x1f // MQTT 5, section 3.14.2.2.3

// farewell is a DISCONNECT of at most most bytes, 0 for no limit: with its reason in
// words where that fits (MQTT-3.14.2-3). Some clients pass over the reason's code in
// a packet that has no property.
func farewell(r Reason, most uint32) []byte {
	text := r.text()
	n := len(text) + 3 // of the properties: one, its text with its length before it
	whole := []byte{typeDisconnect << 4, byte(n + 2), byte(r), byte(n), propReasonString}
	whole = append(binary.BigEndian.AppendUint16(whole, uint16(len(text))), text...)
	if text == "" || n+2 > 127 || most > 0 && uint32(len(whole)) > most {
		return []byte{typeDisconnect << 4, 2, byte(r), 0}
	}
	return whole
}
