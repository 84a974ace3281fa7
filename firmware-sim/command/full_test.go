package command

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/signetd/signet/firmware-sim/fleet"
	"github.com/signetd/signet/protocol/ident/identtest"
)

// No command says that all went well when what it printed went nowhere.
func TestOutputNowhere(t *testing.T) {
	full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
	if err != nil {
		t.Skip(err)
	}
	defer full.Close()
	raw, err := json.Marshal(fleet.Report{Version: 1, Pool: identtest.Pool(t, "demo")})
	if err != nil {
		t.Fatal(err)
	}
	report := filepath.Join(t.TempDir(), "report.json")
	if err := os.WriteFile(report, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, line := range []string{"version", "--version", "--help", "run --help", "completion bash", "report " + report} {
		var errs bytes.Buffer
		if code := Main(t.Context(), strings.Fields(line), full, &errs); code != 1 || !strings.Contains(errs.String(), "write the output") {
			t.Errorf("firmware-sim %s: exit %d, %s", line, code, &errs)
		}
	}
}
