package fleet_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"testing"
	"testing/synctest"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/signetd/signet/agent"
	"github.com/signetd/signet/firmware-sim/fault"
	"github.com/signetd/signet/firmware-sim/firmware"
	"github.com/signetd/signet/firmware-sim/firmwaretest"
	"github.com/signetd/signet/firmware-sim/fleet"
	"github.com/signetd/signet/protocol"
	"github.com/signetd/signet/protocol/ident"
	"github.com/signetd/signet/protocol/ident/identtest"
)

const devices = 40

func config(t *testing.T) (fleet.Config, *firmwaretest.Broker) {
	t.Helper()
	b, err := firmwaretest.NewBroker()
	if err != nil {
		t.Fatal(err)
	}
	pool := identtest.Pool(t, "demo")
	s, err := fleet.Builtin(fleet.Storm, 0, 3)
	if err != nil {
		t.Fatal(err)
	}
	return fleet.Config{
		Pool: pool, Prefix: "sim", Devices: devices, Keys: []firmware.Kind{firmware.P256, firmware.Ed25519}, Scenario: s, Concurrency: 8,
		Voucher: agent.Admission{Token: b.Token}, Dial: b.Dial,
	}, b
}

// run runs on a clock of its own, so that no test waits for a backoff.
func run(t *testing.T, c fleet.Config) (rep *fleet.Report) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) { rep = runFor(t, t.Context(), c) })
	return rep
}

func runFor(t *testing.T, ctx context.Context, c fleet.Config) *fleet.Report {
	t.Helper()
	rep, err := fleet.Run(ctx, c)
	if err != nil {
		t.Fatal(err)
	}
	if err := rep.Check(); err != nil {
		t.Error(err)
	}
	return rep
}

func TestRunWithoutFaults(t *testing.T) {
	c, b := config(t)
	bar := new(progress)
	c.Progress = bar
	rep := run(t, c)
	if !rep.OK() || rep.Enrolled != devices || rep.Authentications != 3*devices || rep.Attempts != 4*devices || rep.Unauthenticated != 0 || rep.Online != devices {
		t.Errorf("%+v", rep)
	}
	if rep.Latency["authenticate"].Count != 3*devices || rep.Latency["connect"].Count != devices || len(rep.Faults) != 0 {
		t.Errorf("%+v", rep.Latency)
	}
	if dials, open, most := b.Counts(); dials != devices || open != 0 || most > c.Concurrency {
		t.Errorf("%d connections made, %d still open, %d calls at once", dials, open, most)
	}
	want := []string{"enroll 40/40", "authenticate 120/120"}
	if diff := cmp.Diff(want, bar.steps); diff != "" {
		t.Error(diff)
	}
}

// progress writes down what it is told.
type progress struct {
	step        string
	done, total int
	steps       []string
}

func (p *progress) Begin(step string, total int) { p.step, p.done, p.total = step, 0, total }
func (p *progress) Add(n int)                    { p.done += n }
func (p *progress) End()                         { p.steps = append(p.steps, fmt.Sprintf("%s %d/%d", p.step, p.done, p.total)) }

// TestSeededRun wants the same faults from the same seed, others from another, and
// every device in in spite of them.
func TestSeededRun(t *testing.T) {
	faults := func(seed uint64) map[fault.Kind]int {
		c, _ := config(t)
		c.Faults = fault.Source{Seed: seed, Rate: 0.2}
		c.Scenario.Steps = append(c.Scenario.Steps, fleet.Step{Do: firmware.Refresh, Reconnect: true})
		rep := run(t, c)
		if !rep.OK() || rep.Unauthenticated != 0 || len(rep.Failures) != 0 || rep.Enrolled != devices || rep.Refreshes != devices {
			t.Errorf("seed %d: %+v", seed, rep)
		}
		return rep.Faults
	}
	one := faults(1)
	if diff := cmp.Diff(one, faults(1)); diff != "" {
		t.Error(diff)
	}
	if cmp.Equal(one, faults(2)) {
		t.Error("another seed, the same faults")
	}
	if len(one) != len(fault.Kinds()) {
		t.Errorf("not every kind came: %v", one)
	}
}

func TestOneDeviceKeptOut(t *testing.T) {
	for name, tt := range map[string]struct {
		code   protocol.Code
		faults float64
		ok     bool
		tries  int
	}{
		"disabled":         {protocol.CodeDisabled, 0, false, 1},
		"denied each time": {protocol.CodeDenied, 0, false, 6},
	} {
		t.Run(name, func(t *testing.T) {
			c, b := config(t)
			b.Refuse = func(n ident.Name) error {
				if n.String() == "sim-00007" {
					return tt.code
				}
				return nil
			}
			rep := run(t, c)
			if rep.OK() || rep.Unauthenticated != 1 || rep.Unexplained != 1 || rep.Enrolled != devices-1 || rep.Online != devices-1 {
				t.Errorf("%+v", rep)
			}
			if diff := cmp.Diff(map[string]int{"refused: " + tt.code.String(): tt.tries}, rep.Failures); diff != "" {
				t.Error(diff)
			}
			if len(rep.LeftOut) != 1 || rep.LeftOut[0].Name.String() != "demo:sim-00007" || rep.LeftOut[0].Injected {
				t.Errorf("left out: %+v", rep.LeftOut)
			}
		})
	}
}

// TestFaultsExcuse keeps all devices out by faults alone: that is no failure of the broker's.
func TestFaultsExcuse(t *testing.T) {
	c, _ := config(t)
	c.Devices = 4
	c.Scenario.Faults = &fleet.Faults{Rate: 1, Kinds: []fault.Kind{fault.Corrupt}}
	c.Faults.Seed = 3
	rep := run(t, c)
	if rep.Breaches != 0 || rep.Unexplained != 0 || !rep.OK() {
		t.Errorf("%+v", rep)
	}
	if rep.Faults[fault.Corrupt] < 4 || rep.InjectedFailures[fault.Corrupt] == 0 {
		t.Errorf("%+v", rep)
	}
}

func TestEndedEarly(t *testing.T) {
	c, _ := config(t)
	c.Scenario.Steps = append(c.Scenario.Steps, fleet.Step{Do: fleet.Pause, For: "1h"})
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		c.Progress = &stopper{after: devices + 5, stop: cancel}
		rep := runFor(t, ctx, c)
		if rep.OK() || rep.Ended != "interrupted" || rep.Unauthenticated == 0 {
			t.Errorf("%+v", rep)
		}
	})
}

// stopper stops a run after a number of calls.
type stopper struct {
	after int
	stop  func()
}

func (*stopper) Begin(string, int) {}
func (*stopper) End()              {}
func (s *stopper) Add(n int) {
	if s.after -= n; s.after == 0 {
		s.stop()
	}
}

func TestReportSurvivesJSON(t *testing.T) {
	c, _ := config(t)
	c.Faults = fault.Source{Seed: 5, Rate: 0.3}
	rep := run(t, c)
	raw, err := json.Marshal(rep)
	if err != nil {
		t.Fatal(err)
	}
	again, err := fleet.ParseReport(raw)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(rep, again, cmpopts.EquateComparable(ident.Pool{}, ident.Name{})); diff != "" {
		t.Error(diff)
	}
	rep.Authentications++
	raw, err = json.Marshal(rep)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := fleet.ParseReport(raw); !errors.Is(err, fleet.ErrReport) {
		t.Errorf("counters do not add up, and: %v", err)
	}
}

func TestScenario(t *testing.T) {
	good := `{"name":"morning","steps":[{"do":"enroll","pattern":"steady","rate":50},{"do":"pause","for":"2s"},
		{"do":"authenticate","times":3,"reconnect":true},{"do":"refresh"}],"faults":{"rate":0.1,"kinds":["drop","clock-2099"]}}`
	s, err := fleet.ParseScenario([]byte(good))
	if err != nil || len(s.Steps) != 4 || s.Steps[2].Pattern != fleet.Storm || s.Steps[3].Times != 1 {
		t.Fatalf("%+v, %v", s, err)
	}
	for name, bad := range map[string]string{
		"empty":              ``,
		"not an object":      `[]`,
		"unknown member":     `{"name":"x","steps":[{"do":"enroll"}],"colour":1}`,
		"doubled member":     `{"name":"x","name":"y","steps":[{"do":"enroll"}]}`,
		"more behind":        `{"name":"x","steps":[{"do":"enroll"}]} {}`,
		"no name":            `{"steps":[{"do":"enroll"}]}`,
		"no steps":           `{"name":"x","steps":[]}`,
		"does not enroll":    `{"name":"x","steps":[{"do":"authenticate"}]}`,
		"unknown op":         `{"name":"x","steps":[{"do":"enroll"},{"do":"dance"}]}`,
		"unknown pattern":    `{"name":"x","steps":[{"do":"enroll","pattern":"wave"}]}`,
		"steady, no rate":    `{"name":"x","steps":[{"do":"enroll","pattern":"steady"}]}`,
		"storm with rate":    `{"name":"x","steps":[{"do":"enroll","rate":3}]}`,
		"negative times":     `{"name":"x","steps":[{"do":"enroll","times":-1}]}`,
		"pause without for":  `{"name":"x","steps":[{"do":"enroll"},{"do":"pause"}]}`,
		"pause with times":   `{"name":"x","steps":[{"do":"enroll"},{"do":"pause","for":"1s","times":2}]}`,
		"for without pause":  `{"name":"x","steps":[{"do":"enroll","for":"1s"}]}`,
		"fault rate above 1": `{"name":"x","steps":[{"do":"enroll"}],"faults":{"rate":2}}`,
		"unknown fault":      `{"name":"x","steps":[{"do":"enroll"}],"faults":{"rate":0.1,"kinds":["gremlin"]}}`,
	} {
		if _, err := fleet.ParseScenario([]byte(bad)); !errors.Is(err, fleet.ErrScenario) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Mistakes are told with their line, and a misspelt key with the one nearest to it.
func TestScenarioSaysWhere(t *testing.T) {
	for text, want := range map[string]string{
		"{\"name\":\"x\",\n\"steps\":[\n{\"do\":\"enroll\",\"patern\":\"storm\"}]}":              `line 3: unknown key "patern", did you mean "pattern"?`,
		"{\"name\":\"x\",\n\"Steps\":[{\"do\":\"enroll\"}]}":                                     `line 2: unknown key "Steps", did you mean "steps"?`,
		"{\"name\":\"x\",\"steps\":[{\"do\":\"enroll\"}],\n\n\"faults\":{\"rates\":1}}":          `line 3: unknown key "rates", did you mean "rate"?`,
		"{\"name\":\"x\",\n\"steps\":[{\"do\":\"enroll\"}],\n\"colour\":1}":                      `line 3: unknown key "colour"`,
		"{\"name\":\"x\",\n\"steps\":[{\"do\":\"enroll\",\"times\":\"3\"}]}":                     `line 2: steps.times: want int, got string`,
		"{\"name\":\"x\",\n\"steps\":\n[{\"do\":}]}":                                             `line 3: invalid character`,
		"{\"name\":\"x\",\n\"steps\":[{\"do\":\"enroll\"},\n{\"do\":\"refresh\",\"times\":-1}]}": `step 2: times -1`,
	} {
		if _, err := fleet.ParseScenario([]byte(text)); !errors.Is(err, fleet.ErrScenario) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s\n%v\nwant %s", text, err, want)
		}
	}
}

func FuzzScenario(f *testing.F) {
	f.Add([]byte(`{"name":"x","steps":[{"do":"enroll","pattern":"steady","rate":50}]}`))
	f.Add([]byte(`{"name":"x","steps":[{"do":"enroll"},{"do":"pause","for":"2s"}],"faults":{"rate":1e-3}}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		s, err := fleet.ParseScenario(raw)
		if err != nil {
			if !errors.Is(err, fleet.ErrScenario) {
				t.Fatal(err)
			}
			return
		}
		again, err := json.Marshal(s)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := fleet.ParseScenario(again); err != nil {
			t.Errorf("what was read is not accepted again: %v", err)
		}
	})
}

func FuzzReport(f *testing.F) {
	f.Add([]byte(`{"version":1,"scenario":"storm","pool":"demo","devices":2,"attempts":1,"enrolled":1}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		if r, err := fleet.ParseReport(raw); err != nil && !errors.Is(err, fleet.ErrReport) || err == nil && r.Check() != nil {
			t.Fatal(err)
		}
	})
}

// Five thousand devices fit into one process, and none costs more than it should:
// keys, an agent and a goroutine while it is at work.
func TestFiveThousand(t *testing.T) {
	if testing.Short() {
		t.Skip("takes a while")
	}
	c, b := config(t)
	c.Devices, c.Concurrency = 5000, 64
	c.Keys = []firmware.Kind{firmware.Ed25519}
	c.Scenario = fleet.Scenario{Name: "many", Steps: []fleet.Step{{Do: firmware.Enroll}}}
	c.Progress = &heap{}
	rep := run(t, c)
	if !rep.OK() || rep.Enrolled != c.Devices || rep.Online != c.Devices {
		t.Errorf("%+v", rep)
	}
	if _, _, most := b.Counts(); most > c.Concurrency {
		t.Errorf("%d calls at once", most)
	}
	if per := c.Progress.(*heap).used / uint64(c.Devices); per > 32<<10 {
		t.Errorf("%d bytes of heap per device, without its connection", per)
	}
}

// heap measures what is in use when a step ends.
type heap struct{ used uint64 }

func (*heap) Begin(string, int) {}
func (*heap) Add(int)           {}
func (h *heap) End() {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	h.used = m.HeapAlloc
}
