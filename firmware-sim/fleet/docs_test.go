package fleet_test

import (
	"encoding/json"
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"github.com/signetd/signet/firmware-sim/fault"
	"github.com/signetd/signet/firmware-sim/fleet"
)

const document = "../../docs/firmware-sim.md"

// Each member of scenarios and reports, and each kind of fault, has a line in the
// document, and the document's scenario is one.
func TestDocumented(t *testing.T) {
	raw, err := os.ReadFile(document)
	if err != nil {
		t.Fatal(err)
	}
	text := string(raw)
	for _, v := range []any{fleet.Scenario{}, fleet.Step{}, fleet.Faults{}, fleet.Report{}, fleet.Device{}, fleet.Latency{}, fleet.StepReport{}} {
		typ := reflect.TypeOf(v)
		for i := range typ.NumField() {
			name, _, _ := strings.Cut(typ.Field(i).Tag.Get("json"), ",")
			if name != "" && !strings.Contains(text, "`"+name+"`") {
				t.Errorf("%s of %s is not in %s", name, typ, document)
			}
		}
	}
	for _, k := range fault.Kinds() {
		if !strings.Contains(text, "`"+string(k)+"`") {
			t.Errorf("fault %s is not in %s", k, document)
		}
	}
	blocks := regexp.MustCompile("(?s)```json\n(.*?)```").FindAllStringSubmatch(text, -1)
	if len(blocks) != 2 {
		t.Fatalf("%d JSON blocks, want a scenario and a report", len(blocks))
	}
	if _, err := fleet.ParseScenario([]byte(blocks[0][1])); err != nil {
		t.Error(err)
	}
	if _, err := fleet.ParseReport([]byte(blocks[1][1])); err != nil {
		t.Error(err)
	}
}

// TestReportsMembers fixes what readers of reports rely on.
func TestReportsMembers(t *testing.T) {
	c, _ := config(t)
	c.Devices = 2
	raw, err := json.Marshal(run(t, c))
	if err != nil {
		t.Fatal(err)
	}
	var members map[string]json.RawMessage
	if err := json.Unmarshal(raw, &members); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"version", "devices", "seed", "enrolled", "authentications", "failures", "faults", "unauthenticated", "unexplained", "latency"} {
		if members[name] == nil {
			t.Errorf("no %s in %s", name, raw)
		}
	}
}
