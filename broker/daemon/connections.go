package daemon

import (
	"crypto/rand"
	"encoding/hex"
	"os"

	"github.com/signetd/signet/broker/control"
	"github.com/signetd/signet/broker/mqttfront"
)

// connections shows operators those of this broker, by its host's name.
func (d *Daemon) connections() *control.Connections {
	host, err := os.Hostname()
	if err != nil || host == "" {
		host = "signetd"
	}
	var run [4]byte
	_, _ = rand.Read(run[:]) // never fails
	return control.NewConnections(mqttfront.Connections{Server: d.mqtt}, d.store, host, hex.EncodeToString(run[:]))
}
