// Package environ is the table of environment variables that Signet's programs share:
// each has one name, one meaning, and is read alike by all that read it. A flag goes
// before its variable. signetd's own settings are variables of their own, one for each
// key of its configuration, and none of these.
//
// Beside it are the user's folders. It reads nothing itself and is small, for the agent carries it.
package environ

// The variables.
const (
	Broker        = "SIGNET_BROKER"
	Server        = "SIGNET_SERVER"
	CA            = "SIGNET_CA"
	CAFingerprint = "SIGNET_CA_FINGERPRINT"
	Pool          = "SIGNET_POOL"
	Name          = "SIGNET_NAME"
	Enrollment    = "SIGNET_ENROLLMENT"
	State         = "SIGNET_STATE"
	AgentSocket   = "SIGNET_AGENT_SOCKET"
	Token         = "SIGNET_TOKEN"
	TokenFile     = "SIGNET_TOKEN_FILE"
	Profile       = "SIGNET_PROFILE"
)

// The programs.
const (
	Signet      = "signet"
	Agent       = "signet-agent"
	FirmwareSim = "firmware-sim"
)

// A Variable is one row of the table.
type Variable struct {
	Name     string
	Flag     string   // that says the same and goes before it, with its dashes
	Meaning  string   // in a few words
	Programs []string // that read it
	Dev      bool     // signetd serve --dev writes it into dev.env
}

// Table gives all variables.
func Table() []Variable {
	return []Variable{
		{Server, "--server", "URL of the broker for operators, `https://host:8443`", []string{Signet}, true},
		{Token, "--token", "operator's token", []string{Signet}, true},
		{TokenFile, "--token-file", "file with the operator's token", []string{Signet}, false},
		{Profile, "--profile", "profile of signet's to use", []string{Signet}, false},
		{CA, "--ca", "PEM file with the root certificate of the broker", []string{Signet, Agent, FirmwareSim}, true},
		{CAFingerprint, "--ca-fingerprint", "SHA-256 of that root in hex, instead of its file", []string{Signet, Agent}, false},
		{Broker, "--broker", "URL of the broker for devices, `mqtts://host:8883` or `wss://host/mqtt`", []string{Agent, FirmwareSim}, true},
		{Pool, "--pool", "the pool", []string{Signet, Agent, FirmwareSim}, true},
		{Name, "--name", "the device's name in its pool", []string{Agent}, false},
		{Enrollment, "--token", "enrollment token, or `@FILE`", []string{Agent, FirmwareSim}, true},
		{State, "--state", "the device's own folder", []string{Agent}, false},
		{AgentSocket, "--socket", "Unix socket of the running agent", []string{Agent}, false},
	}
}
