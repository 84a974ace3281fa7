package fleet

import (
	"errors"
	"fmt"
	"time"

	"github.com/signetd/signet/firmware-sim/fault"
	"github.com/signetd/signet/firmware-sim/firmware"
	"github.com/signetd/signet/protocol/ident"
)

// reportVersion is the version of the report's form. Members may be added to it
// without a new one; a reader refuses what it does not know.
const reportVersion = 1

// maxNamed is how many devices a report names in its list of those left out.
const maxNamed = 50

// ErrReport is wrapped by ParseReport's and Report.Check's errors.
var ErrReport = errors.New("invalid report")

// Reasons in Report.Failures that no broker gave.
const (
	FailedCertificate = "broker's certificate"
	FailedNetwork     = "network"
	FailedConnection  = "connection"
)

// A Report is what came of a run. All times are in milliseconds.
type Report struct {
	Version  int        `json:"version"`
	Scenario string     `json:"scenario"`
	Pool     ident.Pool `json:"pool"`
	Devices  int        `json:"devices"`
	Seed     uint64     `json:"seed"`
	Started  time.Time  `json:"started"`
	Duration float64    `json:"duration_ms"`
	Ended    string     `json:"ended,omitempty"` // why it ended early

	Attempts         int                `json:"attempts"`
	Enrolled         int                `json:"enrolled"` // enrollments granted
	Authentications  int                `json:"authentications"`
	Refreshes        int                `json:"refreshes"`
	Failures         map[string]int     `json:"failures"`          // attempts that failed on their own, by reason
	InjectedFailures map[fault.Kind]int `json:"injected_failures"` // attempts that failed on purpose
	Faults           map[fault.Kind]int `json:"faults"`            // injected, whatever came of it

	Lost   int `json:"connections_lost"`    // ended while idle, and not by a fault
	Stale  int `json:"credentials_refused"` // logins with an access token that the broker did not take
	Online int `json:"connected_at_end"`

	Unauthenticated int      `json:"unauthenticated"` // devices whose last call was not granted
	Unexplained     int      `json:"unexplained"`     // of these, without an injected reason
	LeftOut         []Device `json:"left_out,omitempty"`
	Breaches        int      `json:"breaches"`     // grants that came of a tampered exchange
	WithoutTime     int      `json:"without_time"` // grants after which a device did not know the time

	Latency map[string]Latency `json:"latency"`
	Steps   []StepReport       `json:"steps"`
}

// A Device is one that ended unauthenticated.
type Device struct {
	Name     ident.Device `json:"name"`
	Reason   string       `json:"reason"`
	Injected bool         `json:"injected"`
}

// A Latency sums up a histogram, in milliseconds.
type Latency struct {
	Count int64   `json:"count"`
	Mean  float64 `json:"mean"`
	P50   float64 `json:"p50"`
	P90   float64 `json:"p90"`
	P99   float64 `json:"p99"`
	Max   float64 `json:"max"`
}

// A StepReport is what came of one step.
type StepReport struct {
	Do       firmware.Op `json:"do"`
	Pattern  Pattern     `json:"pattern,omitempty"`
	Duration float64     `json:"duration_ms"`
	Granted  int         `json:"granted"`
	Rate     float64     `json:"per_second"`
}

// ParseReport reads a report's JSON and checks it. Errors wrap ErrReport.
func ParseReport(raw []byte) (*Report, error) {
	var r Report
	if err := readStrictly(raw, &r); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrReport, err)
	}
	if r.Version != reportVersion {
		return nil, fmt.Errorf("%w: version %d, this program reads %d", ErrReport, r.Version, reportVersion)
	}
	return &r, r.Check()
}

// Check tells whether the counters add up. Errors wrap ErrReport.
func (r *Report) Check() error {
	failed := 0
	for _, n := range r.Failures {
		failed += n
	}
	for k, n := range r.InjectedFailures {
		if n > r.Faults[k] {
			return fmt.Errorf("%w: %d failures by %s, which was injected %d times", ErrReport, n, k, r.Faults[k])
		}
		failed += n
	}
	if sum := r.Enrolled + r.Authentications + r.Refreshes + failed; sum != r.Attempts {
		return fmt.Errorf("%w: %d attempts, but %d outcomes", ErrReport, r.Attempts, sum)
	}
	if r.Unauthenticated > r.Devices || r.Unexplained > r.Unauthenticated {
		return fmt.Errorf("%w: %d of %d devices unauthenticated, %d of them unexplained", ErrReport, r.Unauthenticated, r.Devices, r.Unexplained)
	}
	return nil
}

// OK tells whether all is well: every device in, but for those that faults kept
// out, no tampered exchange granted, no device without the time.
func (r *Report) OK() bool {
	return r.Ended == "" && r.Unexplained == 0 && r.Breaches == 0 && r.WithoutTime == 0
}
