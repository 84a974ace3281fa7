// Package agent is a device's half of Signet: it enrolls, authenticates, refreshes,
// checks that the broker is the real one, learns the time from it, and keeps
// doing so for as long as the device lives. Firmware imports it.
//
//	device, err := agent.New(ctx, agent.Config{Device: name, Prover: key, State: new(agent.Memory)})
//	if err != nil {
//		log.Fatal(err)
//	}
//	tokens, err := device.Enroll(ctx, link, admission)
//
// Enroll makes the device known, once, with the enrollment token that the admission
// brings. Renew gets new tokens whenever they are wanted; Run does all of it by
// itself and stays connected.
//
// How messages travel is a Link's business (agent/mqttlink), where keys and state
// live a Prover's and a State's (agent/keyfile, or the driver of a chip; Memory for
// tests). The package never trusts the device's clock, never keeps tokens that it
// could not check, and never writes a secret to its log.
package agent
