package command

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/url"
	"time"

	"github.com/signetd/signet/agent"
	"github.com/signetd/signet/agent/localapi"
	"github.com/signetd/signet/protocol"
	"github.com/signetd/signet/protocol/exit"
	"github.com/signetd/signet/protocol/strictjson"
	"github.com/signetd/signet/protocol/topic"
)

// An MQTTLogin is what an ordinary MQTT program connects with. The password is a secret.
type MQTTLogin struct {
	Host     string `json:"host"`
	Port     string `json:"port"`
	Path     string `json:"path,omitempty"` // of the WebSocket, if that is how to connect; else ""
	ClientID string `json:"client_id"`
	UserName string `json:"user_name"`
	Password string `json:"password"`
	Life     int64  `json:"life"` // seconds in which to connect
	// Relayed: TLS on the way to Host ends in somebody else, who would see the password and could
	// connect by it as the device.
	Relayed bool `json:"relayed,omitempty"`
}

// errMethod: there is one kind of credentials so far.
var errMethod = exit.Usagef("it is signet-agent credentials mqtt")

// credentials prints what a program on the device connects elsewhere with.
func (p *program) credentials(ctx context.Context, args []string) error {
	var w where
	var format, suffix string
	f := p.flags("credentials mqtt")
	w.flags(f)
	w.socketFlag(f)
	f.StringVar(&format, "o", "text", "text, json or password, which prints nothing else")
	f.StringVar(&suffix, "suffix", "", "`end` of the client id, 1 to 64 of A-Z a-z 0-9 _ : - (default random)")
	words, err := p.words(f, args)
	if err != nil {
		return err
	}
	if len(words) != 1 || words[0] != "mqtt" {
		return errMethod
	}
	if format != "text" && format != "json" && format != "password" {
		return exit.Usagef("-o %q: want text, json or password", format)
	}
	if suffix != "" {
		if err := topic.CheckSuffix(suffix); err != nil {
			return exit.Usagef("--suffix: %w", err)
		}
	}
	path, socket, err := p.find(w)
	if err != nil {
		return err
	}
	l, err := p.mqttLogin(ctx, path, socket)
	if denied(err) {
		return fmt.Errorf("%w: %w", errNoPassword, err)
	}
	if err != nil {
		return err
	}
	if suffix != "" {
		l.ClientID = l.UserName + "/" + suffix
	}
	if l.Relayed {
		fmt.Fprintf(p.err, "signet-agent: warning: TLS at %s ends in somebody who passes messages on to the broker; whoever that is can connect as the device by this password\n", l.Host)
	}
	return p.printLogin(l, format)
}

func (p *program) printLogin(l *MQTTLogin, format string) error {
	switch format {
	case "password":
		fmt.Fprintln(p.out, l.Password)
		return nil
	case "json":
		enc := json.NewEncoder(p.out)
		enc.SetIndent("", "  ")
		return enc.Encode(l)
	}
	for _, row := range [][2]string{
		{"host", l.Host}, {"port", l.Port}, {"websocket", l.Path}, {"client id", l.ClientID}, {"user name", l.UserName}, {"password", l.Password},
		{"good for", fmt.Sprintf("connecting within %s; the connection lasts as long as the session", time.Duration(l.Life)*time.Second)},
	} {
		if row[1] != "" {
			fmt.Fprintf(p.out, "%-9s  %s\n", row[0], row[1])
		}
	}
	return nil
}

// mqttLogin asks the running agent, or connects by itself if none runs.
func (p *program) mqttLogin(ctx context.Context, path, socket string) (*MQTTLogin, error) {
	var l *MQTTLogin
	ask := mqttPassword()
	reply, err := p.answered(ctx, path, socket, localapi.Request{Op: "credentials", Type: "mqtt"}, &ask, func(v *device, g *agent.Tokens) (err error) {
		l, err = v.login(g)
		return err
	})
	if err == nil && reply != nil {
		return parseLogin(reply.Credentials)
	}
	return l, err
}

// mqttPassword is the demand for one, in the form that is shorter as text.
func mqttPassword() agent.Ask {
	return agent.Ask{MQTTPassword: true, Format: new(protocol.FormatCWT)}
}

// login spells a grant of an MQTT password out.
func (v *device) login(g *agent.Tokens) (*MQTTLogin, error) {
	broker, err := url.Parse(v.settings.Broker)
	if err != nil {
		return nil, err
	}
	password, err := spell(g, "access")
	if err != nil {
		return nil, err
	}
	var random [8]byte
	_, _ = rand.Read(random[:]) // never fails
	user := v.settings.Device.String()
	path := ""
	if broker.Scheme == "wss" {
		if path = broker.Path; path == "" {
			path = "/mqtt"
		}
	}
	return &MQTTLogin{
		Path: path, Host: broker.Hostname(), Port: portOf(broker), UserName: user, ClientID: user + "/" + hex.EncodeToString(random[:]),
		Password: password, Life: int64(g.Left(v.now()) / time.Second), Relayed: v.agent.Status().Relayed,
	}, nil
}

func portOf(broker *url.URL) string {
	switch {
	case broker.Port() != "":
		return broker.Port()
	case broker.Scheme == "mqtts":
		return "8883"
	case broker.Scheme == "wss":
		return "443"
	}
	return "1883"
}

// parseLogin passes over what a newer agent may say besides.
func parseLogin(raw []byte) (*MQTTLogin, error) {
	var l MQTTLogin
	_, err := strictjson.Read(raw, strictjson.MaxSize, strictjson.Fields{
		"host": &l.Host, "port": &l.Port, "path": &l.Path, "client_id": &l.ClientID, "user_name": &l.UserName, "password": &l.Password, "life": &l.Life, "relayed": &l.Relayed,
	})
	if err != nil {
		return nil, fmt.Errorf("the agent's reply makes no sense: %w", err)
	}
	return &l, nil
}
