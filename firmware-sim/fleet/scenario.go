package fleet

import (
	"errors"
	"fmt"
	"time"

	"github.com/signetd/signet/firmware-sim/fault"
	"github.com/signetd/signet/firmware-sim/firmware"
)

// Limits on scenarios. Chosen arbitrarily, far above what anyone writes.
const (
	maxSteps = 100
	maxTimes = 1_000_000
	maxRate  = 1_000_000 // per second
	maxPause = 24 * time.Hour
)

// ErrScenario is wrapped by ParseScenario and Builtin.
var ErrScenario = errors.New("invalid scenario")

// A Pattern is how the devices of a step arrive.
type Pattern string

// The patterns.
const (
	Steady Pattern = "steady" // at a mean rate, at random moments
	Storm  Pattern = "storm"  // all at once
)

// A Scenario is what a fleet does, step after step: a step begins when the one
// before has ended for all devices.
type Scenario struct {
	Name   string  `json:"name"`
	Steps  []Step  `json:"steps"`
	Faults *Faults `json:"faults,omitempty"` // nil for the usual ones
}

// Pause is a step in which devices do nothing but stay connected.
const Pause firmware.Op = "pause"

// A Step is one thing that all devices do.
type Step struct {
	Do        firmware.Op `json:"do"`                  // enroll, authenticate, refresh or pause
	Pattern   Pattern     `json:"pattern,omitempty"`   // "" for storm
	Rate      float64     `json:"rate,omitempty"`      // devices per second; only and always with steady
	Times     int         `json:"times,omitempty"`     // how often each device does it; 0 for once
	Reconnect bool        `json:"reconnect,omitempty"` // devices hang up before the step
	For       string      `json:"for,omitempty"`       // how long a pause is, such as 30s

	pause time.Duration
}

// Faults says how much goes wrong.
type Faults struct {
	Rate  float64      `json:"rate"`            // share of calls, 0 to 1
	Kinds []fault.Kind `json:"kinds,omitempty"` // nil for all
}

// Builtin gives the scenario steady or storm: all enroll, then all authenticate
// times times, at rate per second if steady. Errors wrap ErrScenario.
func Builtin(p Pattern, rate float64, times int) (Scenario, error) {
	s := Scenario{Name: string(p), Steps: []Step{{Do: firmware.Enroll}, {Do: firmware.Authenticate, Times: times}}}
	for i := range s.Steps {
		s.Steps[i].Pattern, s.Steps[i].Rate = p, rate
	}
	return s, s.check()
}

// ParseScenario reads a scenario's JSON. Unknown and doubled members are refused.
// Errors wrap ErrScenario and say in which line or step.
func ParseScenario(raw []byte) (Scenario, error) {
	var s Scenario
	if err := readStrictly(raw, &s); err != nil {
		return Scenario{}, fmt.Errorf("%w: %w", ErrScenario, err)
	}
	if s.Name == "" || len(s.Name) > 64 {
		return Scenario{}, fmt.Errorf("%w: name: want 1 to 64 characters", ErrScenario)
	}
	return s, s.check()
}

func (s *Scenario) check() error {
	if len(s.Steps) == 0 || len(s.Steps) > maxSteps {
		return fmt.Errorf("%w: %d steps, want 1 to %d", ErrScenario, len(s.Steps), maxSteps)
	}
	if s.Steps[0].Do != firmware.Enroll {
		return fmt.Errorf("%w: step 1: the devices are new, so the first step is %q", ErrScenario, firmware.Enroll)
	}
	for i := range s.Steps {
		if err := s.Steps[i].check(); err != nil {
			return fmt.Errorf("%w: step %d: %w", ErrScenario, i+1, err)
		}
	}
	if s.Faults == nil {
		return nil
	}
	if r := s.Faults.Rate; !(r >= 0 && r <= 1) {
		return fmt.Errorf("%w: faults: rate %v, want 0 to 1", ErrScenario, r)
	}
	for _, k := range s.Faults.Kinds {
		if _, err := fault.Parse(string(k)); err != nil {
			return fmt.Errorf("%w: faults: %w", ErrScenario, err)
		}
	}
	return nil
}

func (s *Step) check() error {
	switch s.Do {
	case firmware.Enroll, firmware.Authenticate, firmware.Refresh:
	case Pause:
		return s.checkPause()
	default:
		return fmt.Errorf("do %q, want enroll, authenticate, refresh or pause", s.Do)
	}
	if s.For != "" {
		return errors.New("only a pause has a for")
	}
	switch s.Pattern {
	case "":
		s.Pattern = Storm
	case Steady, Storm:
	default:
		return fmt.Errorf("pattern %q, want steady or storm", s.Pattern)
	}
	switch {
	case s.Pattern == Steady && !(s.Rate > 0 && s.Rate <= maxRate):
		return fmt.Errorf("rate %v, want above 0 and at most %d per second", s.Rate, maxRate)
	case s.Pattern == Storm && s.Rate != 0:
		return errors.New("a storm has no rate; it comes all at once")
	case s.Times < 0 || s.Times > maxTimes:
		return fmt.Errorf("times %d, want 1 to %d", s.Times, maxTimes)
	}
	s.Times = max(s.Times, 1)
	return nil
}

func (s *Step) checkPause() (err error) {
	if s.Pattern != "" || s.Rate != 0 || s.Times != 0 || s.Reconnect {
		return errors.New("a pause has a for and nothing else")
	}
	s.pause, err = time.ParseDuration(s.For)
	if err != nil || s.pause <= 0 || s.pause > maxPause {
		return fmt.Errorf("for %q, want a duration such as 30s, at most %v", s.For, maxPause)
	}
	return nil
}

// total is how many times a device does something in the scenario.
func (s *Step) total(devices int) int { return s.Times * devices }
