package packet

import (
	"bytes"
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const both Version = 0 // rows for both versions; properties are then left out of the one that has none

// connect5 and connect4 are how the body of a CONNECT begins that has nothing but a clean session.
const (
	connect5 = "'MQTT' 05 02 003c 00"
	connect4 = "'MQTT' 04 02 003c"
)

// statements are packets that a normative statement of MQTT 5 (or of 3.1.1, whose numbers say so)
// is about, and what becomes of them: refused with a code, or 0: taken.
var statements = []struct {
	statement string
	what      string
	v         Version
	from      side
	first     byte
	body      string
	code      Code
}{
	// 1.5.4: text
	{"MQTT-1.5.4-1", "a surrogate", both, client, 0x30, "0004 61 eda080", MalformedPacket},
	{"MQTT-1.5.4-1", "two surrogates that are a character in UTF-16", both, client, 0x30, "0006 eda0bd edb888", MalformedPacket},
	{"MQTT-1.5.4-1", "an overlong form", both, client, 0x30, "0002 c0af", MalformedPacket},
	{"MQTT-1.5.4-1", "a byte that is none", both, client, 0x30, "0001 ff", MalformedPacket},
	{"MQTT-1.5.4-1", "a character that ends early", both, client, 0x30, "0002 e282 00", MalformedPacket},
	{"MQTT-1.5.4-1", "more than U+10FFFF", both, client, 0x30, "0004 f4908080", MalformedPacket},
	{"MQTT-1.5.4-1", "a surrogate in a client id", V5, client, 0x10, connect5 + "0003 edbfbf", MalformedPacket},
	{"MQTT-1.5.4-1", "a surrogate in a client id", V311, client, 0x10, connect4 + "0003 edbfbf", MalformedPacket},
	{"MQTT-1.5.4-1", "in a filter", V5, client, 0x82, "0001 00 0002 61ff 00", MalformedPacket},
	{"MQTT-1.5.4-1", "in a filter", V311, client, 0x82, "0001 0002 61ff 00", MalformedPacket},
	{"MQTT-1.5.4-1", "in a filter to be left", V5, client, 0xa2, "0001 00 0002 61ff", MalformedPacket},
	{"MQTT-1.5.4-1", "in a reason", V5, client, 0x40, "0001 00 04 1f 0001 ff", MalformedPacket},
	{"MQTT-1.5.4-1", "of four bytes", V5, client, 0x30, "0004 f09f9880 00", 0},
	{"MQTT-1.5.4-2", "U+0000 in a topic", both, client, 0x30, "'a\x00b' 00", MalformedPacket},
	{"MQTT-1.5.4-2", "U+0000 in a client id", V5, client, 0x10, connect5 + "'\x00'", MalformedPacket},
	{"MQTT-1.5.4-2", "U+0000 in a user name", V5, client, 0x10, "'MQTT' 05 82 0000 00 'c' 'u\x00'", MalformedPacket},
	{"MQTT-1.5.4-2", "U+0000 in a content type", V5, client, 0x30, "'a' 04 03 '\x00'", MalformedPacket},
	{"MQTT-1.5.4-2", "U+0000 in binary data, which is no text", V5, client, 0x30, "'a' 04 09 '\x00'", 0},
	{"MQTT-1.5.4-3", "a byte order mark, which is a character", V5, client, 0x30, "'\ufeffa' 00", 0},

	{"1.5.4", "a control character in a topic", both, client, 0x30, "'a\x1f' 00", MalformedPacket},
	{"1.5.4", "U+007F in a topic", both, client, 0x30, "'a\x7f' 00", MalformedPacket},
	{"1.5.4", "U+0080 in a topic", both, client, 0x30, "'a\u0080' 00", MalformedPacket},
	{"1.5.4", "U+009F in a filter", V5, client, 0x82, "0001 00 'a\u009f' 00", MalformedPacket},
	{"1.5.4", "a line feed in a filter to be left", V311, client, 0xa2, "0001 'a\n'", MalformedPacket},
	{"1.5.4", "in a client id", V311, client, 0x10, connect4 + "'c\t'", MalformedPacket},
	{"1.5.4", "in a user name", V5, client, 0x10, "'MQTT' 05 82 0000 00 'c' 'u\x1b'", MalformedPacket},
	{"1.5.4", "in a response topic", V5, client, 0x30, "'a' 04 08 '\n'", MalformedPacket},
	{"1.5.4", "U+00A0 in a topic", V5, client, 0x30, "'a\u00a0' 00", 0},
	{"1.5.4", "a line feed in a pair, which is no name", V5, client, 0x30, "'a' 07 26 'k' '\n'", 0},

	// 1.5.5, 1.5.7: integers, pairs
	{"MQTT-1.5.5-1", "a property length of two bytes where one does", V5, client, 0x30, "'a' 80 00", MalformedPacket},
	{"MQTT-1.5.5-1", "a property length of five bytes", V5, client, 0x30, "'a' 80 80 80 80 01", MalformedPacket},
	{"MQTT-1.5.5-1", "a subscription identifier with a byte too many", V5, client, 0x82, "0001 03 0b 81 00 'a' 00", MalformedPacket},
	{"MQTT-1.5.5-1", "a subscription identifier of five bytes", V5, client, 0x82, "0001 06 0b 81 80 80 80 01 'a' 00", MalformedPacket},
	{"MQTT-1.5.7-1", "a pair whose name is no text", V5, client, 0x30, "'a' 06 26 0001 ff 'v'", MalformedPacket},
	{"MQTT-1.5.7-1", "a pair whose value is no text", V5, client, 0x30, "'a' 07 26 'k' 0001 ff", MalformedPacket},
	{"MQTT-1.5.7-1", "a pair whose value has U+0000", V5, client, 0x30, "'a' 07 26 'k' '\x00'", MalformedPacket},
	{"MQTT-1.5.7-1", "a pair with no value", V5, client, 0x30, "'a' 04 26 'k'", MalformedPacket},

	// 2.1.3: flags
	{"MQTT-2.1.3-1", "a CONNECT's", both, client, 0x11, connect5 + "'c'", MalformedPacket},
	{"MQTT-2.1.3-1", "a PUBACK's", both, client, 0x42, "0001", MalformedPacket},
	{"MQTT-2.1.3-1", "a PUBREC's", both, client, 0x58, "0001", MalformedPacket},
	{"MQTT-2.1.3-1", "a PUBCOMP's", both, client, 0x71, "0001", MalformedPacket},
	{"MQTT-2.1.3-1", "a PINGREQ's", both, client, 0xc4, "", MalformedPacket},
	{"MQTT-2.1.3-1", "a CONNACK's", both, server, 0x21, "0000 00", MalformedPacket},
	{"MQTT-2.1.3-1", "a SUBACK's", both, server, 0x92, "0001 00 00", MalformedPacket},

	// 2.2.1: packet identifiers
	{"MQTT-2.2.1-2", "QoS 0 has none: what would be it is the payload", V311, client, 0x30, "'a' 0000", 0},
	{"MQTT-2.2.1-3", "a SUBSCRIBE's is 0", V5, client, 0x82, "0000 00 'a' 00", ProtocolError},
	{"MQTT-2.2.1-3", "a SUBSCRIBE's is 0", V311, client, 0x82, "0000 'a' 00", ProtocolError},
	{"MQTT-2.2.1-3", "an UNSUBSCRIBE's is 0", V5, client, 0xa2, "0000 00 'a'", ProtocolError},
	{"MQTT-2.2.1-3", "an UNSUBSCRIBE's is 0", V311, client, 0xa2, "0000 'a'", ProtocolError},
	{"MQTT-2.2.1-3", "a PUBLISH's is 0", both, client, 0x32, "'a' 0000 00", ProtocolError},
	{"MQTT-2.2.1-3", "a PUBLISH's is 0", both, client, 0x34, "'a' 0000 00", ProtocolError},
	{"MQTT-2.2.1-3", "a PUBLISH has none", both, client, 0x32, "'a' 00", MalformedPacket},
	{"MQTT-2.2.1-4", "a server's PUBLISH's is 0", both, server, 0x32, "'a' 0000 00", ProtocolError},
	{"MQTT-2.2.1-5", "a PUBACK's is 0", both, client, 0x40, "0000", ProtocolError},
	{"MQTT-2.2.1-5", "a PUBREC's is 0", both, client, 0x50, "0000", ProtocolError},
	{"MQTT-2.2.1-5", "a PUBREL's is 0", both, client, 0x62, "0000", ProtocolError},
	{"MQTT-2.2.1-5", "a PUBCOMP's is 0", both, client, 0x70, "0000", ProtocolError},
	{"MQTT-2.2.1-5", "a PUBACK with half of one", both, client, 0x40, "00", MalformedPacket},
	{"MQTT-2.2.1-6", "a SUBACK's is 0", V5, server, 0x90, "0000 00 00", ProtocolError},
	{"MQTT-2.2.1-6", "an UNSUBACK's is 0", V5, server, 0xb0, "0000 00 00", ProtocolError},

	// 2.2.2: properties
	{"MQTT-2.2.2-1", "a CONNECT without their length", V5, client, 0x10, "'MQTT' 05 02 003c", MalformedPacket},
	{"MQTT-2.2.2-1", "a PUBLISH without their length", V5, client, 0x30, "'a'", MalformedPacket},
	{"MQTT-2.2.2-1", "a SUBSCRIBE without their length", V5, client, 0x82, "0001", MalformedPacket},
	{"MQTT-2.2.2-1", "an UNSUBSCRIBE without their length", V5, client, 0xa2, "0001", MalformedPacket},
	{"MQTT-2.2.2-1", "a SUBACK without their length", V5, server, 0x90, "0001", MalformedPacket},
	{"MQTT-2.2.2-1", "a CONNACK without their length", V5, server, 0x20, "0000", MalformedPacket},
	{"MQTT-2.2.2-1", "an AUTH without their length", V5, client, 0xf0, "18", MalformedPacket},
	{"MQTT-2.2.2-1", "longer than the packet", V5, client, 0x30, "'a' 7f 01 00", MalformedPacket},
	{"MQTT-2.2.2-1", "an acknowledgement has them or not", V5, client, 0x40, "0001 10", 0},
	{"MQTT-2.2.2-1", "an acknowledgement has them or not", V5, client, 0x40, "0001 10 00", 0},
	{"MQTT-2.2.2-1", "an acknowledgement with more than them", V5, client, 0x40, "0001 10 00 00", MalformedPacket},
	{"MQTT-2.2.2-1", "an acknowledgement of 3.1.1 has none", V311, client, 0x40, "0001 00", MalformedPacket},
	{"MQTT-2.2.2-1", "a DISCONNECT of one byte has none", V5, client, 0xe0, "04", 0},
	{"MQTT-2.2.2-1", "a DISCONNECT with more than them", V5, client, 0xe0, "00 00 00", MalformedPacket},

	// 3.1: CONNECT
	{"MQTT-3.1.2-1", "another name", V5, client, 0x10, "'MQTt' 05 02 003c 00 'c'", UnsupportedProtocolVersion},
	{"MQTT-3.1.2-1", "no name", V5, client, 0x10, "'' 05 02 003c 00 'c'", UnsupportedProtocolVersion},
	{"MQTT-3.1.2-1", "a longer name", V5, client, 0x10, "'MQTTX' 05 02 003c 00 'c'", UnsupportedProtocolVersion},
	{"MQTT-3.1.2-1", "the name of MQTT 3.1", V5, client, 0x10, "'MQIsdp' 05 02 003c 00 'c'", UnsupportedProtocolVersion},
	{"MQTT-3.1.2-2", "MQTT 3.1", V311, client, 0x10, "'MQIsdp' 03 02 003c 'c'", UnsupportedProtocolVersion},
	{"MQTT-3.1.2-2", "level 3", V311, client, 0x10, "'MQTT' 03 02 003c 'c'", UnsupportedProtocolVersion},
	{"MQTT-3.1.2-2", "level 6", V5, client, 0x10, "'MQTT' 06 02 003c 00 'c'", UnsupportedProtocolVersion},
	{"MQTT-3.1.2-2", "level 0", V5, client, 0x10, "'MQTT' 00 02 003c 00 'c'", UnsupportedProtocolVersion},
	{"MQTT-3.1.2-2", "level 0x84", V5, client, 0x10, "'MQTT' 84 02 003c 00 'c'", UnsupportedProtocolVersion},
	{"MQTT-3.1.2-2", "none", V5, client, 0x10, "'MQTT'", MalformedPacket},
	{"MQTT-3.1.2-3", "the reserved flag", V5, client, 0x10, "'MQTT' 05 03 003c 00 'c'", MalformedPacket},
	{"MQTT-3.1.2-3", "the reserved flag", V311, client, 0x10, "'MQTT' 04 03 003c 'c'", MalformedPacket},
	{"MQTT-3.1.2-9", "a will flag and no will", V5, client, 0x10, "'MQTT' 05 06 003c 00 'c'", MalformedPacket},
	{"MQTT-3.1.2-9", "a will without a message", V5, client, 0x10, "'MQTT' 05 06 003c 00 'c' 00 'w'", MalformedPacket},
	{"MQTT-3.1.2-9", "a will without a message", V311, client, 0x10, "'MQTT' 04 06 003c 'c' 'w'", MalformedPacket},
	{"MQTT-3.1.2-9", "a will", V5, client, 0x10, "'MQTT' 05 06 003c 00 'c' 00 'w' ''", 0},
	{"MQTT-3.1.2-9", "a will", V311, client, 0x10, "'MQTT' 04 06 003c 'c' 'w' ''", 0},
	{"MQTT-3.1.2-11", "a will's QoS without a will", V5, client, 0x10, "'MQTT' 05 0a 003c 00 'c'", MalformedPacket},
	{"MQTT-3.1.2-11", "a will's QoS without a will", V311, client, 0x10, "'MQTT' 04 12 003c 'c'", MalformedPacket},
	{"MQTT-3.1.2-12", "a will's QoS of 3", V5, client, 0x10, "'MQTT' 05 1e 003c 00 'c' 00 'w' ''", MalformedPacket},
	{"MQTT-3.1.2-12", "a will's QoS of 3", V311, client, 0x10, "'MQTT' 04 1e 003c 'c' 'w' ''", MalformedPacket},
	{"MQTT-3.1.2-13", "a will's retain without a will", V5, client, 0x10, "'MQTT' 05 22 003c 00 'c'", MalformedPacket},
	{"MQTT-3.1.2-13", "a will's retain without a will", V311, client, 0x10, "'MQTT' 04 22 003c 'c'", MalformedPacket},
	{"MQTT-3.1.2-16", "a user name without its flag", V5, client, 0x10, connect5 + "'c' 'u'", MalformedPacket},
	{"MQTT-3.1.2-16", "a user name without its flag", V311, client, 0x10, connect4 + "'c' 'u'", MalformedPacket},
	{"MQTT-3.1.2-17", "a flag without a user name", V5, client, 0x10, "'MQTT' 05 82 003c 00 'c'", MalformedPacket},
	{"MQTT-3.1.2-17", "a flag without a user name", V311, client, 0x10, "'MQTT' 04 82 003c 'c'", MalformedPacket},
	{"MQTT-3.1.2-18", "a password without its flag", V5, client, 0x10, "'MQTT' 05 82 003c 00 'c' 'u' 'p'", MalformedPacket},
	{"MQTT-3.1.2-19", "a flag without a password", V5, client, 0x10, "'MQTT' 05 c2 003c 00 'c' 'u'", MalformedPacket},
	{"MQTT-3.1.2-19", "a flag without a password", V311, client, 0x10, "'MQTT' 04 c2 003c 'c' 'u'", MalformedPacket},
	{"MQTT-3.1.2-19", "a password alone", V5, client, 0x10, "'MQTT' 05 42 003c 00 'c' 'p'", 0},
	{"3.1.1 MQTT-3.1.2-22", "a password alone", V311, client, 0x10, "'MQTT' 04 42 003c 'c' 'p'", MalformedPacket},
	{"MQTT-3.1.3-1", "another order: user name before the will", V5, client, 0x10, "'MQTT' 05 86 003c 00 'c' 'u' 00 'w' ''", MalformedPacket},
	{"MQTT-3.1.3-1", "all of it", V5, client, 0x10, "'MQTT' 05 c6 003c 00 'c' 00 'w' 'm' 'u' 'p'", 0},
	{"MQTT-3.1.3-3", "no client id", V5, client, 0x10, connect5, MalformedPacket},
	{"MQTT-3.1.3-3", "no client id", V311, client, 0x10, connect4, MalformedPacket},
	{"MQTT-3.1.3-4", "a client id that is no text", V5, client, 0x10, connect5 + "0001 80", MalformedPacket},
	{"MQTT-3.1.3-6", "an empty one", V5, client, 0x10, connect5 + "''", 0},
	{"MQTT-3.1.3-6", "an empty one and no clean start", V5, client, 0x10, "'MQTT' 05 00 003c 00 ''", 0},
	{"3.1.1 MQTT-3.1.3-7", "an empty one and a clean session", V311, client, 0x10, connect4 + "''", 0},
	{"3.1.1 MQTT-3.1.3-8", "an empty one and no clean session", V311, client, 0x10, "'MQTT' 04 00 003c ''", ClientIDNotValid},
	{"MQTT-3.1.3-11", "a will's topic that is no text", V5, client, 0x10, "'MQTT' 05 06 003c 00 'c' 00 0001 ff ''", MalformedPacket},
	{"MQTT-3.1.3-12", "a user name that is no text", V5, client, 0x10, "'MQTT' 05 82 003c 00 'c' 0001 ff", MalformedPacket},
	{"MQTT-3.1.3-12", "a user name that is no text", V311, client, 0x10, "'MQTT' 04 82 003c 'c' 0001 ff", MalformedPacket},
	{"MQTT-3.1.4-1", "bytes after the end", V5, client, 0x10, connect5 + "'c' 00", MalformedPacket},
	{"MQTT-3.1.4-1", "bytes after the end", V311, client, 0x10, connect4 + "'c' 00", MalformedPacket},
	{"MQTT-3.1.4-1", "nothing at all", both, client, 0x10, "", MalformedPacket},

	// 3.2: CONNACK
	{"MQTT-3.2.2-1", "reserved flags", V5, server, 0x20, "02 00 00", MalformedPacket},
	{"MQTT-3.2.2-1", "reserved flags", V311, server, 0x20, "80 00", MalformedPacket},
	{"MQTT-3.2.2-6", "refused with a session", V5, server, 0x20, "01 87 00", ProtocolError},
	{"MQTT-3.2.2-6", "refused with a session", V311, server, 0x20, "01 05", ProtocolError},
	{"MQTT-3.2.2-8", "another code", V5, server, 0x20, "00 8e 00", ProtocolError},
	{"MQTT-3.2.2-8", "no code", V5, server, 0x20, "00 01 00", ProtocolError},
	{"3.1.1 MQTT-3.2.2-6", "another return code", V311, server, 0x20, "00 06", ProtocolError},

	// 3.3: PUBLISH
	{"MQTT-3.3.1-2", "DUP at QoS 0", both, client, 0x38, "'a' 00", MalformedPacket},
	{"MQTT-3.3.1-4", "QoS 3", both, client, 0x36, "'a' 0001 00", MalformedPacket},
	{"MQTT-3.3.1-4", "QoS 3 with DUP and RETAIN", both, client, 0x3f, "'a' 0001 00", MalformedPacket},
	{"MQTT-3.3.2-1", "no topic", both, client, 0x30, "", MalformedPacket},
	{"MQTT-3.3.2-1", "a topic that ends early", both, client, 0x30, "0005 61", MalformedPacket},
	{"MQTT-3.3.2-2", "a + in it", both, client, 0x30, "'a/+' 00", MalformedPacket},
	{"MQTT-3.3.2-2", "a # in it", both, client, 0x30, "'a#b' 00", MalformedPacket},
	{"MQTT-3.3.2-8", "an alias of 0", V5, client, 0x30, "'a' 03 23 0000", TopicAliasInvalid},
	{"MQTT-3.3.2-8", "an alias of 0 and no topic", V5, client, 0x30, "'' 03 23 0000", TopicAliasInvalid},
	{"MQTT-3.3.2-12", "an alias for the topic", V5, client, 0x30, "'' 03 23 0001", 0},
	{"MQTT-3.3.2-13", "a response topic that is no text", V5, client, 0x30, "'a' 04 08 0001 ff", MalformedPacket},
	{"MQTT-3.3.2-14", "a response topic with a +", V5, client, 0x30, "'a' 04 08 '+'", ProtocolError},
	{"MQTT-3.3.2-14", "a response topic with a #", V5, client, 0x30, "'a' 06 08 'b/#'", ProtocolError},
	{"MQTT-3.3.2-14", "an empty response topic", V5, client, 0x30, "'a' 03 08 ''", ProtocolError},
	{"MQTT-3.3.2-14", "a will's response topic with a #", V5, client, 0x10, "'MQTT' 05 06 003c 00 'c' 04 08 '#' 'w' ''", ProtocolError},
	{"MQTT-3.3.2-19", "a content type that is no text", V5, client, 0x30, "'a' 04 03 0001 ff", MalformedPacket},
	{"MQTT-3.3.4-6", "a client's subscription identifier", V5, client, 0x30, "'a' 02 0b 01", ProtocolError},
	{"MQTT-3.3.4-6", "a server's subscription identifier", V5, server, 0x30, "'a' 04 0b 01 0b 01", 0},

	// 3.4 to 3.7: acknowledgements
	{"MQTT-3.4.2-1", "a PUBACK with another code", V5, client, 0x40, "0001 92", ProtocolError},
	{"MQTT-3.4.2-1", "a PUBACK with no code", V5, client, 0x40, "0001 ff 00", ProtocolError},
	{"MQTT-3.5.2-1", "a PUBREC with another code", V5, client, 0x50, "0001 01", ProtocolError},
	{"MQTT-3.5.2-1", "a PUBREC that refuses", V5, client, 0x50, "0001 97 00", 0},
	{"MQTT-3.6.1-1", "a PUBREL with other flags", both, client, 0x60, "0001", MalformedPacket},
	{"MQTT-3.6.1-1", "a PUBREL with more flags", both, client, 0x66, "0001", MalformedPacket},
	{"MQTT-3.6.2-1", "a PUBREL with another code", V5, client, 0x62, "0001 10", ProtocolError},
	{"MQTT-3.6.2-1", "a PUBREL of what is not known", V5, client, 0x62, "0001 92", 0},
	{"MQTT-3.7.2-1", "a PUBCOMP with another code", V5, client, 0x70, "0001 80", ProtocolError},

	// 3.8, 3.9: SUBSCRIBE, SUBACK
	{"MQTT-3.8.1-1", "other flags", both, client, 0x80, "0001 00 'a' 00", MalformedPacket},
	{"MQTT-3.8.1-1", "more flags", both, client, 0x8a, "0001 00 'a' 00", MalformedPacket},
	{"MQTT-3.8.3-1", "a filter that is no text", V5, client, 0x82, "0001 00 0002 ffff 00", MalformedPacket},
	{"MQTT-3.8.3-2", "no filter", V5, client, 0x82, "0001 00", ProtocolError},
	{"MQTT-3.8.3-2", "no filter", V311, client, 0x82, "0001", ProtocolError},
	{"MQTT-3.8.3-2", "a filter without options", V5, client, 0x82, "0001 00 'a'", MalformedPacket},
	{"MQTT-3.8.3-2", "a filter without options", V311, client, 0x82, "0001 'a'", MalformedPacket},
	{"MQTT-3.8.3-2", "a second filter without options", V311, client, 0x82, "0001 'a' 00 'b'", MalformedPacket},
	{"MQTT-3.8.3-4", "no local, shared", V5, client, 0x82, "0001 00 '$share/g/a' 04", ProtocolError},
	{"MQTT-3.8.3-4", "no local, not shared", V5, client, 0x82, "0001 00 '$shared/g/a' 04", 0},
	{"MQTT-3.8.3-5", "a reserved bit", V5, client, 0x82, "0001 00 'a' 40", MalformedPacket},
	{"MQTT-3.8.3-5", "the other reserved bit", V5, client, 0x82, "0001 00 'a' 80", MalformedPacket},
	{"3.1.1 MQTT-3-8.3-4", "a reserved bit", V311, client, 0x82, "0001 'a' 04", MalformedPacket},
	{"3.1.1 MQTT-3-8.3-4", "QoS 3", V311, client, 0x82, "0001 'a' 03", MalformedPacket},
	{"3.8.3.1", "QoS 3", V5, client, 0x82, "0001 00 'a' 03", ProtocolError},
	{"3.8.3.1", "a retain handling of 3", V5, client, 0x82, "0001 00 'a' 30", ProtocolError},
	{"3.8.2.1.2", "a subscription identifier of 0", V5, client, 0x82, "0001 02 0b 00 'a' 00", ProtocolError},
	{"MQTT-3.9.3-2", "another code", V5, server, 0x90, "0001 00 03", ProtocolError},
	{"3.1.1 MQTT-3.9.3-2", "another code", V311, server, 0x90, "0001 87", MalformedPacket},

	// 3.10, 3.11: UNSUBSCRIBE, UNSUBACK
	{"MQTT-3.10.1-1", "other flags", both, client, 0xa0, "0001 00 'a'", MalformedPacket},
	{"MQTT-3.10.3-1", "a filter that is no text", V5, client, 0xa2, "0001 00 0001 c0", MalformedPacket},
	{"MQTT-3.10.3-2", "no filter", V5, client, 0xa2, "0001 00", ProtocolError},
	{"MQTT-3.10.3-2", "no filter", V311, client, 0xa2, "0001", ProtocolError},
	{"MQTT-3.11.3-2", "another code", V5, server, 0xb0, "0001 00 01", ProtocolError},
	{"3.1.1 3.11.3", "a code", V311, server, 0xb0, "0001 00", MalformedPacket},

	// 3.12, 3.13: pings
	{"3.12.1", "a PINGREQ that is not empty", both, client, 0xc0, "00", MalformedPacket},
	{"3.13.1", "a PINGRESP that is not empty", both, server, 0xd0, "00", MalformedPacket},

	// 3.14: DISCONNECT
	{"MQTT-3.14.1-1", "flags", both, client, 0xe1, "", MalformedPacket},
	{"MQTT-3.14.1-1", "other flags", both, client, 0xe8, "", MalformedPacket},
	{"MQTT-3.14.2-1", "another code", V5, client, 0xe0, "01", ProtocolError},
	{"MQTT-3.14.2-1", "a code that only servers send", V5, client, 0xe0, "8b 00", ProtocolError},
	{"MQTT-3.14.2-1", "a code that only clients send", V5, server, 0xe0, "04 00", ProtocolError},
	{"MQTT-3.14.2-2", "a server's session expiry", V5, server, 0xe0, "00 05 11 00000001", ProtocolError},
	{"MQTT-3.14.2-2", "a client's session expiry", V5, client, 0xe0, "00 05 11 00000001", 0},
	{"3.14.2.2.5", "a client's server reference", V5, client, 0xe0, "00 04 1c 'a'", ProtocolError},
	{"3.1.1 3.14.2", "a code", V311, client, 0xe0, "00", MalformedPacket},

	// 3.15: AUTH
	{"MQTT-3.15.1-1", "flags", V5, client, 0xf2, "18 04 15 'm'", MalformedPacket},
	{"MQTT-3.15.2-1", "another code", V5, client, 0xf0, "80 04 15 'm'", ProtocolError},
	{"MQTT-3.15.2-1", "success, which servers say", V5, client, 0xf0, "00 04 15 'm'", ProtocolError},
	{"MQTT-3.15.2-1", "success, which servers say, in short", V5, client, 0xf0, "", ProtocolError},
	{"MQTT-3.15.2-1", "success in short", V5, server, 0xf0, "", 0},
	{"MQTT-3.15.2-1", "a server asks to begin again", V5, server, 0xf0, "19 04 15 'm'", ProtocolError},
	{"3.15.2.2.2", "no method", V5, client, 0xf0, "18 00", ProtocolError},
	{"3.15.2.2.2", "no method, but data", V5, client, 0xf0, "18 04 16 'd'", ProtocolError},
	{"3.1.2.11.10", "data and no method", V5, client, 0x10, "'MQTT' 05 02 003c 04 16 'd' 'c'", ProtocolError},
	{"3.1.2.11.10", "data and a method", V5, client, 0x10, "'MQTT' 05 02 003c 08 16 'd' 15 'm' 'c'", 0},

	// 3.1.2.11: values of properties
	{"3.1.2.11.3", "a receive maximum of 0", V5, client, 0x10, "'MQTT' 05 02 003c 03 21 0000 'c'", ProtocolError},
	{"3.1.2.11.4", "a maximum packet size of 0", V5, client, 0x10, "'MQTT' 05 02 003c 05 27 00000000 'c'", ProtocolError},
	{"3.1.2.11.6", "response information of 2", V5, client, 0x10, "'MQTT' 05 02 003c 02 19 02 'c'", ProtocolError},
	{"3.1.2.11.7", "problem information of 2", V5, client, 0x10, "'MQTT' 05 02 003c 02 17 02 'c'", ProtocolError},
	{"3.2.2.3.4", "a maximum QoS of 2", V5, server, 0x20, "00 00 02 24 02", ProtocolError},
	{"3.3.2.3.2", "a payload format of 2", V5, client, 0x30, "'a' 02 01 02", ProtocolError},
	{"3.3.2.3.2", "a payload that is not what it says", V5, client, 0x30, "'a' 02 01 01 ff", PayloadFormatInvalid},
	{"3.3.2.3.2", "a payload that says nothing", V5, client, 0x30, "'a' 02 01 00 ff", 0},
	{"3.3.2.3.2", "a payload with U+0000, which is UTF-8", V5, client, 0x30, "'a' 02 01 01 00", 0},
	{"3.3.2.3.2", "a will that is not what it says", V5, client, 0x10, "'MQTT' 05 06 003c 00 'c' 02 01 01 'w' 0001 ff", PayloadFormatInvalid},

	{"2.2.2.2", "a will's property of a CONNECT", V5, client, 0x10, "'MQTT' 05 02 003c 05 18 00000001 'c'", MalformedPacket},
	{"2.2.2.2", "a CONNECT's property of a will", V5, client, 0x10, "'MQTT' 05 06 003c 00 'c' 05 11 00000001 'w' ''", MalformedPacket},
	{"2.2.2.2", "one that is unknown", V5, client, 0x30, "'a' 02 7f 00", MalformedPacket},
	{"2.2.2.2", "one that is unknown, of two bytes", V5, client, 0x30, "'a' 03 ff 01 00", MalformedPacket},
	{"2.2.2.2", "one that is 0", V5, client, 0x30, "'a' 02 00 00", MalformedPacket},
	{"3.3.2.3.3", "two of them", V5, client, 0x30, "'a' 0a 02 00000001 02 00000001", ProtocolError},
	{"3.8.3", "too many filters for whoever asks", V5, client, 0x82, "0001 00" + strings.Repeat("'a' 00", filters+1), QuotaExceeded},

	// 4.7: topics
	{"MQTT-4.7.0-1", "a will's topic with a wildcard", V5, client, 0x10, "'MQTT' 05 06 003c 00 'c' 00 'w/#' ''", MalformedPacket},
	{"MQTT-4.7.0-1", "a will's topic with a wildcard", V311, client, 0x10, "'MQTT' 04 06 003c 'c' '+' ''", MalformedPacket},
	{"MQTT-4.7.1-1", "a # with text before it", V5, client, 0x82, "0001 00 'a/b#' 00", MalformedPacket},
	{"MQTT-4.7.1-1", "a # with levels behind it", V5, client, 0x82, "0001 00 'a/#/b' 00", MalformedPacket},
	{"MQTT-4.7.1-1", "the second filter's #", V311, client, 0x82, "0001 'a' 00 '#/' 00", MalformedPacket},
	{"MQTT-4.7.1-1", "a # with levels behind it, to be left", V5, client, 0xa2, "0001 00 'a/#/b'", MalformedPacket},
	{"MQTT-4.7.1-1", "where it may stand", V311, client, 0xa2, "0100 '#' '/#' 'a//#'", 0},
	{"MQTT-4.7.1-2", "a + with text before it", V5, client, 0x82, "0001 00 'a+' 00", MalformedPacket},
	{"MQTT-4.7.1-2", "a + with text behind it", V311, client, 0x82, "0001 '+a/b' 00", MalformedPacket},
	{"MQTT-4.7.1-2", "two of them", V5, client, 0xa2, "0001 00 'a/++'", MalformedPacket},
	{"MQTT-4.7.1-2", "where it may stand", V5, client, 0x82, "0001 00 '+/+//+' 00 '+/#' 00", 0},
	{"MQTT-4.8.2-1", "no group", V5, client, 0x82, "0001 00 '$share//a' 00", MalformedPacket},
	{"MQTT-4.8.2-2", "a group with a +", V5, client, 0x82, "0001 00 '$share/g+/a' 00", MalformedPacket},
	{"MQTT-4.8.2-2", "a group that is a #", V5, client, 0x82, "0001 00 '$share/#/a' 00", MalformedPacket},
	{"MQTT-4.8.2-2", "a group and no filter", V5, client, 0x82, "0001 00 '$share/g' 00", MalformedPacket},
	{"MQTT-4.8.2-2", "a group and an empty filter", V5, client, 0x82, "0001 00 '$share/g/' 00", MalformedPacket},
	{"MQTT-4.8.2-2", "a group and a filter", V5, client, 0x82, "0001 00 '$share/g/+/#' 00", 0},
	{"4.7.3", "a filter that is only longer than is served", V5, client, 0x82, "0001 00 '" + strings.Repeat("a", 257) + "' 00", 0},
	{"MQTT-4.7.3-1", "an empty topic and no alias", V5, client, 0x30, "'' 00", ProtocolError},
	{"MQTT-4.7.3-1", "an empty topic", V311, client, 0x30, "'' 00", ProtocolError},
	{"MQTT-4.7.3-1", "an empty topic of a will", V5, client, 0x10, "'MQTT' 05 06 003c 00 'c' 00 '' ''", MalformedPacket},
	{"MQTT-4.7.3-1", "an empty filter", V5, client, 0x82, "0001 00 '' 00", MalformedPacket},
	{"MQTT-4.7.3-1", "an empty filter", V311, client, 0x82, "0001 '' 00", MalformedPacket},
	{"MQTT-4.7.3-1", "an empty filter to be left", V5, client, 0xa2, "0001 00 ''", MalformedPacket},
	{"MQTT-4.7.3-1", "a separator alone", both, client, 0x30, "'/' 00", 0},
	{"MQTT-4.7.3-3", "the longest that its length can say", both, client, 0x30, "'" + strings.Repeat("a", 65535) + "' 00", 0},
	{"MQTT-4.7.3-2", "U+0000 in a filter", V5, client, 0x82, "0001 00 'a\x00' 00", MalformedPacket},

	// 2.1.2 and what else is for one side
	{"2.1.2", "type 0", both, client, 0x00, "", MalformedPacket},
	{"2.1.2", "a client's CONNACK", both, client, 0x20, "0000 00", ProtocolError},
	{"2.1.2", "a client's SUBACK", both, client, 0x90, "0001 00", ProtocolError},
	{"2.1.2", "a client's UNSUBACK", both, client, 0xb0, "0001", ProtocolError},
	{"2.1.2", "a client's PINGRESP", both, client, 0xd0, "", ProtocolError},
	{"3.1.1 2.2.1", "an AUTH", V311, client, 0xf0, "18 04 15 'm'", MalformedPacket},
}

func TestStatements(t *testing.T) {
	for _, s := range statements {
		versions := []Version{s.v}
		if s.v == both {
			versions = []Version{V311, V5}
		}
		for _, v := range versions {
			t.Run(fmt.Sprintf("%s %s (%d)", s.statement, s.what, v), func(t *testing.T) {
				b := packetOf(t, s.first, s.body)
				p, err := read(v, s.from, b)
				if codeOf(t, err) != s.code {
					t.Errorf("%x: %#v, %v, want %v", b, p, err, s.code)
				}
			})
		}
	}
}

// Every reason why paho takes more than this package has an example among the statements, and paho takes it.
func TestStricterThanPaho(t *testing.T) {
	seen := map[string]bool{}
	for _, s := range statements {
		b := packetOf(t, s.first, s.body)
		_, err := read(V5, s.from, b)
		if s.v == V311 || codeOf(t, err) == 0 {
			continue
		}
		for why, r := range stricter {
			if r.MatchString(err.Error()) && takenByPaho(b) {
				seen[why] = true
			}
		}
	}
	for why := range stricter {
		if !seen[why] {
			t.Errorf("%q has no example", why)
		}
	}
}

// A refusal has no session, whoever writes it ([MQTT-3.2.2-6]).
func TestRefusalHasNoSession(t *testing.T) {
	for _, v := range []Version{V311, V5} {
		b := AppendConnack(nil, v, &Connack{SessionPresent: true, Code: NotAuthorized})
		if p, err := read(v, server, b); err != nil || p.(*Connack).SessionPresent {
			t.Errorf("version %d: %x, %+v, %v", v, b, p, err)
		}
	}
}

// A byte order mark stays ([MQTT-1.5.4-3]), user properties keep their order ([MQTT-3.3.2-18],
// [MQTT-3.1.3-10]), and so do the codes of a SUBACK ([MQTT-3.9.3-1]) and an UNSUBACK
// ([MQTT-3.11.3-1]): each is as it was sent.
func TestAsSent(t *testing.T) {
	p, err := read(V5, client, packetOf(t, 0x30, "'\ufeffa' 15 26 'b' '1' 26 'a' '2' 26 'b' '1'"))
	if err != nil {
		t.Fatal(err)
	}
	if p := p.(*Publish); string(p.Topic) != "\ufeffa" || !bytes.Equal(p.Forward, bytesOf(t, "26 'b' '1' 26 'a' '2' 26 'b' '1'")) {
		t.Errorf("%+v", p)
	}
	p, err = read(V5, client, packetOf(t, 0x10, "'MQTT' 05 06 003c 00 'c' 13 26 'b' '1' 18 00000001 26 'a' '2' 'w' ''"))
	if err != nil {
		t.Fatal(err)
	}
	if w := p.(*Connect).Will; !bytes.Equal(w.Forward, bytesOf(t, "26 'b' '1' 26 'a' '2'")) || w.Delay != 1 {
		t.Errorf("%+v", w)
	}
	for kind, first := range map[Type]byte{SUBACK: 0x90, UNSUBACK: 0xb0} {
		p, err = read(V5, server, packetOf(t, first, "0001 00 87 00 8f"))
		if err != nil || !slices.Equal(p.(*Suback).Codes, []Code{NotAuthorized, 0, TopicFilterInvalid}) {
			t.Errorf("%v: %+v, %v", kind, p, err)
		}
	}
}

// What a payload format of a PUBLISH refuses leaves the packet complete, so that it can be answered.
func TestPayloadFormatAnswerable(t *testing.T) {
	var p Publish
	err := p.Parse(V5, 2, bytesOf(t, "'a' 0007 02 01 01 ff"))
	if codeOf(t, err) != PayloadFormatInvalid || p.ID != 7 || p.QoS != 1 || string(p.Topic) != "a" || len(p.Payload) != 1 {
		t.Errorf("%+v, %v", p, err)
	}
}

// A CONNECT that is refused says in which version a CONNACK can be read.
func TestRefusedConnectHasVersion(t *testing.T) {
	for body, want := range map[string]Version{
		"'MQTT' 05 03 003c 00 'c'": V5, "'MQTT' 04 03 003c 'c'": V311, "'MQTT' 06": V5, "'MQTT' ff": V5, "'MQTT' 03": V311, "'MQIsdp' 03": V311,
		"'MQTT'": 0, "": 0, "0004 4d51": 0, "0001 ff 05": 0, "'MQTX' 05": 0, "'' 04": 0,
	} {
		c, err := ParseConnect(bytesOf(t, body))
		switch {
		case err == nil:
			t.Errorf("%s: taken", body)
		case want == 0 && c != nil, want != 0 && (c == nil || !reflect.DeepEqual(c, &Connect{Version: want})):
			t.Errorf("%s: %+v, want version %d", body, c, want)
		}
	}
}

func TestPeekConnect(t *testing.T) {
	for _, c := range []struct {
		begin    string
		password bool
		ok       bool
	}{
		{"", false, false}, {"00", false, false}, {"0004", false, false}, {"'MQTT'", false, false}, {"'MQTT' 05", false, false},
		{"'MQTT' 05 02", false, true}, {"'MQTT' 05 42", true, true}, {"'MQTT' 04 c2", true, true}, {"'MQTT' 04 80 ff", false, true},
		{"0005", false, true}, {"0000", false, true}, {"ffff", false, true}, {"'MQIsdp' 03 c2", false, true},
	} {
		if password, ok := PeekConnect(bytesOf(t, c.begin)); password != c.password || ok != c.ok {
			t.Errorf("%s: %v, %v", c.begin, password, ok)
		}
	}
}

// Nothing is kept of the bytes that a CONNECT came in.
func TestConnectCopies(t *testing.T) {
	for _, p := range sound()[client] {
		c, ok := p.(*Connect)
		if !ok {
			continue
		}
		b := AppendConnect(nil, c)
		_, n, err := ReadHeader(b)
		if err != nil {
			t.Fatal(err)
		}
		got, err := ParseConnect(b[n:])
		if err != nil {
			t.Fatal(err)
		}
		for i := range b {
			b[i] = 0xff
		}
		if !bytes.Equal(AppendConnect(nil, got), AppendConnect(nil, c)) {
			t.Errorf("%+v", got)
		}
	}
}

func TestMaxFilters(t *testing.T) {
	many := strings.Repeat("'a' 00", filters)
	for _, v := range []Version{V311, V5} {
		begin := "0001"
		if v == V5 {
			begin += "00"
		}
		for body, code := range map[string]Code{begin + many: 0, begin + many + "'a' 00": QuotaExceeded} {
			if _, err := read(v, client, packetOf(t, 0x82, body)); codeOf(t, err) != code {
				t.Errorf("a SUBSCRIBE in version %d: %v", v, err)
			}
			body = strings.ReplaceAll(body, "' 00", "'")
			if _, err := read(v, client, packetOf(t, 0xa2, body)); codeOf(t, err) != code {
				t.Errorf("an UNSUBSCRIBE in version %d: %v", v, err)
			}
		}
	}
}

// lacks are the errors of packets that are whole and say too little.
var lacks = regexp.MustCompile(`without a (filter|code)|client that says success`)

// Whatever is cut short anywhere is refused as malformed, but where the rest may be left out.
func TestCutShort(t *testing.T) {
	for from, packets := range sound() {
		for _, p := range packets {
			for _, v := range []Version{V311, V5} {
				if c, ok := p.(*Connect); ok && c.Version != v || v == V311 && from == server {
					continue
				}
				b := again(v, from, headerOf(p), p)
				if v == V311 && !inV311(t, from, b, p) {
					continue
				}
				h, n, err := ReadHeader(b)
				if err != nil || h.Type == PUBLISH {
					continue // a payload may end anywhere
				}
				for body := b[n:]; len(body) > 0; {
					body = body[:len(body)-1]
					_, err := read(v, from, append(appendHeader(nil, h.Type, h.Flags, len(body)), body...))
					if code := codeOf(t, err); code == 0 && !mayEnd(v, h.Type, b[n:], len(body)) || code != 0 && code != MalformedPacket && !(code == ProtocolError && lacks.MatchString(err.Error())) {
						t.Errorf("version %d, %#v cut after %d bytes: %v", v, p, len(body), err)
					}
				}
			}
		}
	}
}

// mayEnd reports whether a packet with that body may end after n bytes of it already.
func mayEnd(v Version, kind Type, body []byte, n int) bool {
	switch kind {
	case DISCONNECT:
		return n < 2
	case AUTH:
		return n == 0
	case SUBSCRIBE, UNSUBSCRIBE: // behind a filter
		p, err := ParseSubscribe(v, body[:n], filters)
		if kind == SUBSCRIBE {
			return err == nil && len(p.Filters) > 0
		}
		return true
	case SUBACK:
		return n > 3
	}
	return false
}
