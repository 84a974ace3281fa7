package protocol

import "fmt"

// Code tells a device why it was refused. Numbers are frozen; one that a device
// does not know means internal. The zero value is internal, so an unset code is the safe one.
type Code uint8

// The codes. What each asks of the device is in docs/protocol.md.
const (
	CodeInternal    Code = 0
	CodeMalformed   Code = 1
	CodeVersion     Code = 2
	CodeCritical    Code = 3
	CodeDenied      Code = 4
	CodeWrongAnswer Code = 5
	CodeExpired     Code = 6
	CodeReplayed    Code = 7
	CodeDisabled    Code = 8
	CodePending     Code = 9
	CodeBusy        Code = 10
	CodeTooLarge    Code = 11
	CodeExists      Code = 12
	CodeTries       Code = 13
	CodeFlow        Code = 14
)

type codeText struct {
	title string
	coap  uint8 // CoAP response code, class << 5 | detail
}

func (c Code) text() codeText {
	switch c {
	case CodeMalformed:
		return codeText{"malformed message", 0x80}
	case CodeVersion:
		return codeText{"unsupported protocol version", 0x80}
	case CodeCritical:
		return codeText{"unknown critical field", 0x82}
	case CodeDenied:
		return codeText{"denied", 0x83}
	case CodeWrongAnswer:
		return codeText{"wrong answer", 0x81}
	case CodeExpired:
		return codeText{"session expired", 0x81}
	case CodeReplayed:
		return codeText{"already used", 0x89}
	case CodeDisabled:
		return codeText{"device disabled", 0x83}
	case CodePending:
		return codeText{"waiting for approval", 0x83}
	case CodeBusy:
		return codeText{"busy", 0xa3}
	case CodeTooLarge:
		return codeText{"message too large", 0x8d}
	case CodeExists:
		return codeText{"enrolled with another key", 0x89}
	case CodeTries:
		return codeText{"too many wrong answers", 0x9d}
	case CodeFlow:
		return codeText{"the client's flow asks for no key to enroll", 0x83}
	}
	return codeText{"internal error", 0xa0}
}

func (c Code) String() string { return c.text().title }

// Error lets a code be an error inside the broker; Refuse turns it into a message.
func (c Code) Error() string { return c.text().title }

// Refuse makes the refusal of the call id.
func Refuse(id CallID, d ProblemDetail) *Refusal {
	t := d.Code.text()
	if d.Code == CodeVersion {
		d.Versions = []uint{Version}
	}
	return &Refusal{Head: Head{ID: id}, Problem: Problem{Title: t.title, Code: t.coap, Signet: d}}
}

// Error makes a received refusal an error for the device.
func (r *Refusal) Error() string {
	d := r.Problem.Signet
	s := "refused: " + d.Code.String()
	if r.Problem.Detail != "" {
		s += ": " + r.Problem.Detail
	}
	if d.TriesLeft > 0 {
		s += fmt.Sprintf(" (%d tries left)", d.TriesLeft)
	}
	if d.RetryAfter > 0 {
		s += fmt.Sprintf(" (try again in %d s)", d.RetryAfter)
	}
	return s
}

// Is lets errors.Is(err, protocol.CodeDenied) find the code of a refusal.
func (r *Refusal) Is(target error) bool {
	c, ok := target.(Code)
	return ok && r.Problem.Signet.Code == c
}
