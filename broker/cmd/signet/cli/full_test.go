package cli_test

import (
	"bytes"
	"os"
	"strings"
	"testing"

	"github.com/signetd/signet/broker/cmd/signet/cli"
)

// No command says that all went well when what it printed went nowhere.
func TestOutputNowhere(t *testing.T) {
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Skip(err)
	}
	defer full.Close()
	s := newShell(t)
	flags := " --server " + s.url + " --ca " + s.ca + " --token " + s.token
	for _, line := range []string{
		"--help", "device --help", "completion bash", "completion zsh", "version", "version -o json", "__complete pool ''",
		"pool create demo" + flags, "pool list" + flags, "pool list -o csv" + flags, "pool list -o yaml" + flags, "pool list -o json" + flags,
		"pool show demo" + flags, "status" + flags, "operator list" + flags, "operator create bob" + flags, "key list --pool demo" + flags,
		"device create lamp --pool demo" + flags, "device list --pool demo" + flags, "device history lamp --pool demo" + flags,
		"audit list" + flags, "audit list -o json" + flags, "client list --pool demo" + flags, "client show default --pool demo" + flags,
		"flow list --pool demo" + flags, "enrollment create --pool demo" + flags, "diff -f -" + flags, "apply -f -" + flags,
		"token inspect -", "token inspect - -o json",
	} {
		in := "pools: [{name: other}]\n"
		if strings.HasPrefix(line, "token") {
			in = "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJ4In0.AAAA"
		}
		var errs bytes.Buffer
		code := cli.Run(t.Context(), cli.Surroundings{
			In: strings.NewReader(in), Out: full, Err: &errs, Getenv: func(k string) string { return s.env[k] }, Now: s.Clock.Now,
		}, strings.Fields(line))
		if code != 1 || !strings.Contains(errs.String(), "write the output") || !strings.Contains(errs.String(), "no space left") {
			t.Errorf("signet %.60s: exit %d, %s", line, code, &errs)
		}
	}
}
