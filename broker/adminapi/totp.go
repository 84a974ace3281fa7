package adminapi

import "github.com/signetd/signet/protocol/challenge"

// TOTP asks for a device's generator of one-time codes (RFC 6238).
type TOTP struct {
	Algorithm string `json:"algorithm,omitempty" enum:"SHA1,SHA256,SHA512" doc:"SHA1 unless given: what every authenticator app knows" flag:"algorithm" usage:"SHA1, SHA256 or SHA512; many apps know only SHA1" shown:"SHA1"`
	Digits    *int   `json:"digits,omitempty" minimum:"6" maximum:"8" doc:"6 unless given" flag:"digits" usage:"digits of a code, 6 to 8" shown:"6"`
}

func totpKind() madeBy[TOTP] {
	return madeBy[TOTP]{AuthenticatorKind{
		Kind: challenge.TOTP, One: "generator of one-time codes",
		About: "Makes a generator of one-time codes (RFC 6238) for a device: a second factor for flows\nwith the step totp behind key or psk. Scan the QR code with an authenticator app, or\ngive the URI to a program. Neither is shown again.",
		Make: Verb{"Make a device's generator of one-time codes, and show it once",
			"signet device totp lamp-1 --pool demo\nsignet device totp lamp-1 --pool demo --replace\nsignet device totp lamp-1 --pool demo --remove", func() any { return &TOTP{} }},
		Remove:  "Take a device's generator of one-time codes away",
		Heading: "URI",
		Use:     "scan the code or keep the URI; it is shown only now\non the device: signet-agent answer CODE, or --answer-command",
		Scan:    true,
	}}
}
