package command

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// No command says that all went well when what it printed went nowhere.
func TestOutputNowhere(t *testing.T) {
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Skip(err)
	}
	defer full.Close()
	dir := t.TempDir()
	data, other := " --data "+filepath.Join(dir, "data"), " --data "+filepath.Join(dir, "other")
	signetd(t, nil, "init"+data)
	backup := filepath.Join(dir, "b.tar")
	for _, line := range []string{
		"--help", "serve --help", "--version", "version", "completion bash", "check-config" + data, "init" + other,
		"operator create ada" + data, "operator list" + data, "backup " + backup + data, "restore " + backup + " --data " + filepath.Join(dir, "new"),
		"serve --dev --listen-mqtt 127.0.0.1:0 --listen-https 127.0.0.1:0 --listen-health 127.0.0.1:0 --data " + filepath.Join(dir, "dev"),
	} {
		var errs bytes.Buffer
		code := Main(t.Context(), nil, strings.Fields(line), full, &errs)
		if code != 1 || !strings.Contains(errs.String(), "write the output") || !strings.Contains(errs.String(), "no space left") {
			t.Errorf("signetd %s: exit %d, %s", line, code, &errs)
		}
	}
}
