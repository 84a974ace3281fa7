// Package protocol is the conversation between a device and the broker: its
// messages, their codec, the transcript that every proof covers, and the sealing
// of what the broker sends back. signet.cddl is the source of truth and
// docs/protocol.md tells it to a firmware engineer.
//
//	device: start ─▶ challenge ─▶ answer ─▶ (challenge ─▶ answer)* ─▶ grant
//	        enroll ─▶ the same        refresh ─▶ grant        any ─▶ refusal
//
// Key statements and enrollment tokens, which are carried beside messages, are here
// too. The package knows no transport, reads no clock and stores nothing.
package protocol
