package packet

import "fmt"

// A Code is a reason code (section 2.4). Codes of 0x80 and above say that something failed.
type Code byte

// The reason codes. Four of the names below are for the value 0, which every acknowledgement has its own name for.
const (
	Success                           Code = 0x00
	NormalDisconnection               Code = 0x00
	GrantedQoS0                       Code = 0x00
	GrantedQoS1                       Code = 0x01
	GrantedQoS2                       Code = 0x02
	DisconnectWithWill                Code = 0x04
	NoMatchingSubscribers             Code = 0x10
	NoSubscriptionExisted             Code = 0x11
	ContinueAuthentication            Code = 0x18
	Reauthenticate                    Code = 0x19
	UnspecifiedError                  Code = 0x80
	MalformedPacket                   Code = 0x81
	ProtocolError                     Code = 0x82
	ImplementationSpecificError       Code = 0x83
	UnsupportedProtocolVersion        Code = 0x84
	ClientIDNotValid                  Code = 0x85
	BadUserNameOrPassword             Code = 0x86
	NotAuthorized                     Code = 0x87
	ServerUnavailable                 Code = 0x88
	ServerBusy                        Code = 0x89
	Banned                            Code = 0x8a
	ServerShuttingDown                Code = 0x8b
	BadAuthenticationMethod           Code = 0x8c
	KeepAliveTimeout                  Code = 0x8d
	SessionTakenOver                  Code = 0x8e
	TopicFilterInvalid                Code = 0x8f
	TopicNameInvalid                  Code = 0x90
	PacketIDInUse                     Code = 0x91
	PacketIDNotFound                  Code = 0x92
	ReceiveMaximumExceeded            Code = 0x93
	TopicAliasInvalid                 Code = 0x94
	PacketTooLarge                    Code = 0x95
	MessageRateTooHigh                Code = 0x96
	QuotaExceeded                     Code = 0x97
	AdministrativeAction              Code = 0x98
	PayloadFormatInvalid              Code = 0x99
	RetainNotSupported                Code = 0x9a
	QoSNotSupported                   Code = 0x9b
	UseAnotherServer                  Code = 0x9c
	ServerMoved                       Code = 0x9d
	SharedSubscriptionsNotSupported   Code = 0x9e
	ConnectionRateExceeded            Code = 0x9f
	MaximumConnectTime                Code = 0xa0
	SubscriptionIDsNotSupported       Code = 0xa1
	WildcardSubscriptionsNotSupported Code = 0xa2
)

// codes says what each reason code is called and where it may stand (section 2.4 and the tables
// of the packets).
var codes = [...]struct {
	name string
	in   place
}{
	Success: {"success", inConnack | inPuback | inPubrec | inPubrel | inPubcomp | inSuback | inUnsuback | inDisconnect | inServerDisconnect | inServerAuth},

	GrantedQoS1:            {"granted QoS 1", inSuback},
	GrantedQoS2:            {"granted QoS 2", inSuback},
	DisconnectWithWill:     {"disconnect with will message", inDisconnect},
	NoMatchingSubscribers:  {"no matching subscribers", inPuback | inPubrec},
	NoSubscriptionExisted:  {"no subscription existed", inUnsuback},
	ContinueAuthentication: {"continue authentication", inAuth | inServerAuth},
	Reauthenticate:         {"re-authenticate", inAuth},

	UnspecifiedError:            {"unspecified error", inConnack | inPuback | inPubrec | inSuback | inUnsuback | inDisconnect | inServerDisconnect},
	MalformedPacket:             {"malformed packet", inConnack | inDisconnect | inServerDisconnect},
	ProtocolError:               {"protocol error", inConnack | inDisconnect | inServerDisconnect},
	ImplementationSpecificError: {"implementation specific error", inConnack | inPuback | inPubrec | inSuback | inUnsuback | inDisconnect | inServerDisconnect},
	UnsupportedProtocolVersion:  {"unsupported protocol version", inConnack},
	ClientIDNotValid:            {"client identifier not valid", inConnack},
	BadUserNameOrPassword:       {"bad user name or password", inConnack},
	NotAuthorized:               {"not authorized", inConnack | inPuback | inPubrec | inSuback | inUnsuback | inServerDisconnect},
	ServerUnavailable:           {"server unavailable", inConnack},
	ServerBusy:                  {"server busy", inConnack | inServerDisconnect},
	Banned:                      {"banned", inConnack},
	ServerShuttingDown:          {"server shutting down", inServerDisconnect},
	BadAuthenticationMethod:     {"bad authentication method", inConnack | inServerDisconnect},
	KeepAliveTimeout:            {"keep alive timeout", inServerDisconnect},
	SessionTakenOver:            {"session taken over", inServerDisconnect},
	TopicFilterInvalid:          {"topic filter invalid", inSuback | inUnsuback | inServerDisconnect},
	TopicNameInvalid:            {"topic name invalid", inConnack | inPuback | inPubrec | inDisconnect | inServerDisconnect},
	PacketIDInUse:               {"packet identifier in use", inPuback | inPubrec | inSuback | inUnsuback},
	PacketIDNotFound:            {"packet identifier not found", inPubrel | inPubcomp},
	ReceiveMaximumExceeded:      {"receive maximum exceeded", inDisconnect | inServerDisconnect},
	TopicAliasInvalid:           {"topic alias invalid", inDisconnect | inServerDisconnect},
	PacketTooLarge:              {"packet too large", inConnack | inDisconnect | inServerDisconnect},
	MessageRateTooHigh:          {"message rate too high", inDisconnect | inServerDisconnect},
	QuotaExceeded:               {"quota exceeded", inConnack | inPuback | inPubrec | inSuback | inDisconnect | inServerDisconnect},
	AdministrativeAction:        {"administrative action", inDisconnect | inServerDisconnect},
	PayloadFormatInvalid:        {"payload format invalid", inConnack | inPuback | inPubrec | inDisconnect | inServerDisconnect},
	RetainNotSupported:          {"retain not supported", inConnack | inServerDisconnect},
	QoSNotSupported:             {"QoS not supported", inConnack | inServerDisconnect},
	UseAnotherServer:            {"use another server", inConnack | inServerDisconnect},
	ServerMoved:                 {"server moved", inConnack | inServerDisconnect},

	SharedSubscriptionsNotSupported:   {"shared subscriptions not supported", inSuback | inServerDisconnect},
	ConnectionRateExceeded:            {"connection rate exceeded", inConnack | inServerDisconnect},
	MaximumConnectTime:                {"maximum connect time", inServerDisconnect},
	SubscriptionIDsNotSupported:       {"subscription identifiers not supported", inSuback | inServerDisconnect},
	WildcardSubscriptionsNotSupported: {"wildcard subscriptions not supported", inSuback | inServerDisconnect},
}

// String is the code's name in the standard, in lower case.
func (c Code) String() string {
	if int(c) < len(codes) && codes[c].name != "" {
		return codes[c].name
	}
	return fmt.Sprintf("reason code %#02x", byte(c))
}

// Failed reports whether the code says that something failed.
func (c Code) Failed() bool { return c >= 0x80 }

// V311 is the CONNACK return code of MQTT 3.1.1 (section 3.2.2.3 there) that says the same; not
// ok where none does and the connection is closed without a CONNACK.
func (c Code) V311() (returnCode byte, ok bool) {
	switch c {
	case Success:
		return 0, true
	case UnsupportedProtocolVersion:
		return 1, true
	case ClientIDNotValid:
		return 2, true
	case ServerUnavailable, ServerBusy, ServerShuttingDown, QuotaExceeded, ConnectionRateExceeded, UseAnotherServer, ServerMoved, UnspecifiedError, ImplementationSpecificError:
		return 3, true
	case BadUserNameOrPassword:
		return 4, true
	case NotAuthorized, Banned, BadAuthenticationMethod, TopicNameInvalid, RetainNotSupported, QoSNotSupported:
		return 5, true
	}
	return 0, false
}

// returnCodes are the CONNACK return codes of MQTT 3.1.1 as reason codes.
var returnCodes = [...]Code{Success, UnsupportedProtocolVersion, ClientIDNotValid, ServerUnavailable, BadUserNameOrPassword, NotAuthorized}
