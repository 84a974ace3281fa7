package mqttd

// text says a reason in a few words of its own for who reads a client's log, what to
// do included; "" where there is nothing to add to the code's name.
func (r Reason) text() string {
	switch r {
	case ReasonMalformed:
		return "a packet that is none"
	case ReasonProtocol:
		return "a packet that was out of place"
	case ReasonDenied:
		return "a message that it may not publish, or an authentication that failed"
	case ReasonMethod:
		return "another authentication method than the connection began with"
	case ReasonTopic:
		return "a topic that is none, or longer or deeper than is served here"
	case ReasonReceiveMaximum:
		return "more messages at once than the broker said that it takes"
	case ReasonAlias:
		return "a topic alias beyond those that the broker said that it takes"
	case ReasonPayload:
		return "a message that is not what it says it is"
	case ReasonRetain:
		return "a message to be retained, where the broker said that it retains none"
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
		return "the device was disabled, its sessions ended or its key replaced, or an operator ended the connection: authenticate again"
	case ReasonExpired:
		return "the time of the token, or the time to authenticate, is over: connect again"
	}
	return ""
}

// Reasons are all of them.
var Reasons = [...]Reason{
	ReasonMalformed, ReasonProtocol, ReasonDenied, ReasonBusy, ReasonShutdown, ReasonMethod, ReasonKeepAlive, ReasonTakenOver, ReasonTopic, ReasonReceiveMaximum, ReasonAlias, ReasonTooLarge,
	ReasonQuota, ReasonAdministrative, ReasonPayload, ReasonRetain, ReasonExpired,
}

// String is the reason in a word for metrics.
func (r Reason) String() string {
	switch r {
	case ReasonMalformed:
		return "malformed"
	case ReasonProtocol:
		return "protocol"
	case ReasonDenied:
		return "denied"
	case ReasonMethod:
		return "method"
	case ReasonTopic:
		return "topic"
	case ReasonReceiveMaximum:
		return "receive-maximum"
	case ReasonAlias:
		return "alias"
	case ReasonPayload:
		return "payload"
	case ReasonRetain:
		return "retain"
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
