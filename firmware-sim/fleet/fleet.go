// Package fleet runs many simulated devices through a scenario, counts what comes
// of it and reports.
//
// It opens no connection itself: devices dial as they are told. At most Concurrency of
// them are at work at a time; the others stay connected, idle. Durations are measured on
// the monotonic clock.
package fleet

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/signetd/signet/agent"
	"github.com/signetd/signet/firmware-sim/fault"
	"github.com/signetd/signet/firmware-sim/firmware"
	"github.com/signetd/signet/protocol"
	"github.com/signetd/signet/protocol/ident"
)

// Limits and timing of a fleet.
const (
	MaxDevices  = 1_000_000
	tries       = 6 // attempts before a device gives a call up
	tryTimeout  = 30 * time.Second
	backoffBase = 200 * time.Millisecond
	backoffCap  = 5 * time.Second
	maxWait     = time.Minute // longest wait that a refusal may ask for
)

// Reasons for an early end, in Report.Ended.
const (
	endedTime = "time is up"
	endedCall = "interrupted"
)

// A Config describes a run.
type Config struct {
	Pool        ident.Pool
	Prefix      string // devices are {prefix}-00001 and so on
	Devices     int
	Keys        []firmware.Kind // in turn
	Scenario    Scenario
	Faults      fault.Source // unless the scenario brings its own; the seed is also the arrivals'
	Concurrency int          // devices at work at a time
	Voucher     agent.Admission
	Dial        firmware.Dial
	Progress    Progress // nil for none
}

// Progress is told how far a run is. Calls come from one goroutine at a time.
type Progress interface {
	Begin(step string, total int)
	Add(n int)
	End()
}

// A run is a Config at work.
type run struct {
	Config
	devices []*member
	slots   chan struct{}
	tally   *tally

	bar sync.Mutex // held during calls of Progress
}

// A member is a device and where it stands. Between steps it belongs to the run,
// within one to its goroutine.
type member struct {
	*firmware.Device
	enrolled bool
	reason   string // of the failure that counts, "" if the last call was granted
	injected bool   // all failures of the last call were
}

// Run makes the devices, takes them through the scenario and hangs up. The report
// is complete also when ctx ends early; then Ended says why. Errors are about the
// configuration only.
func Run(ctx context.Context, c Config) (*Report, error) {
	if err := c.Scenario.check(); err != nil {
		return nil, err
	}
	if c.Devices < 1 || c.Devices > MaxDevices || c.Concurrency < 1 || len(c.Keys) == 0 {
		return nil, fmt.Errorf("fleet: %d devices, %d at a time, %d kinds of key: want 1 to %d devices, and at least one of the others",
			c.Devices, c.Concurrency, len(c.Keys), MaxDevices)
	}
	if f := c.Scenario.Faults; f != nil {
		c.Faults.Rate, c.Faults.Kinds = f.Rate, f.Kinds
	}
	r := &run{Config: c, slots: make(chan struct{}, c.Concurrency), tally: newTally()}
	if err := r.build(); err != nil {
		return nil, err
	}
	started := time.Now()
	var steps []StepReport
	for i, step := range c.Scenario.Steps {
		if ctx.Err() != nil {
			break
		}
		steps = append(steps, r.step(ctx, i, step))
	}
	rep := r.report(ctx, steps)
	rep.Started, rep.Duration = started.UTC().Round(time.Millisecond), millis(time.Since(started))
	r.hangup()
	return rep, nil
}

// build makes the devices.
func (r *run) build() error {
	for i := range r.Devices {
		name, err := ident.ParseName(fmt.Sprintf("%s-%05d", r.Prefix, i+1))
		if err != nil {
			return fmt.Errorf("name the devices: %w", err)
		}
		d, err := firmware.New(firmware.Config{
			Name: ident.Device{Pool: r.Pool, Name: name}, Number: i, Key: r.Keys[i%len(r.Keys)], Dial: r.Dial, Voucher: r.Voucher, Faults: r.Faults,
		})
		if err != nil {
			return err
		}
		r.devices = append(r.devices, &member{Device: d, reason: "never tried"})
	}
	return nil
}

// step runs all devices through one step.
func (r *run) step(ctx context.Context, number int, s Step) StepReport {
	start, before := time.Now(), r.tally.granted()
	if s.Do == Pause {
		sleep(ctx, s.pause)
		return StepReport{Do: s.Do, Duration: millis(time.Since(start))}
	}
	if s.Reconnect {
		r.hangup()
	}
	r.progress(func(p Progress) { p.Begin(string(s.Do), s.total(r.Devices)) })
	arrivals := r.arrivals(number, s)
	start = time.Now()
	var all sync.WaitGroup
	for i, m := range r.devices {
		all.Go(func() {
			for _, at := range arrivals[i] {
				sleep(ctx, at-time.Since(start))
				r.do(ctx, i, m, s.Do)
				r.progress(func(p Progress) { p.Add(1) })
			}
		})
	}
	all.Wait()
	r.progress(Progress.End)
	took, granted := time.Since(start), r.tally.granted()-before
	return StepReport{Do: s.Do, Pattern: s.Pattern, Duration: millis(took), Granted: granted, Rate: float64(granted) / max(took.Seconds(), 1e-9)}
}

func (r *run) progress(f func(Progress)) {
	if r.Progress == nil {
		return
	}
	r.bar.Lock()
	defer r.bar.Unlock()
	f(r.Progress)
}

// arrivals says when, from the start of the step, each device is due each time. A
// steady fleet arrives in another order each time, with gaps as a Poisson process has.
func (r *run) arrivals(number int, s Step) [][]time.Duration {
	due := make([][]time.Duration, r.Devices)
	var now float64 // seconds
	for round := range s.Times {
		random := r.Faults.Rand("arrivals", number, round)
		for _, i := range random.Perm(r.Devices) {
			if s.Pattern == Steady {
				now += random.ExpFloat64() / s.Rate
			}
			due[i] = append(due[i], time.Duration(now*float64(time.Second)))
		}
	}
	return due
}

// do makes a device do op, and again after a failure, up to tries times.
func (r *run) do(ctx context.Context, number int, m *member, op firmware.Op) {
	if op != firmware.Enroll && !m.enrolled {
		return // why is on record
	}
	reason, injected := "", true // of this call's failures, if all fail
	for try := range tries {
		o, ok := r.try(ctx, m, op)
		if !ok {
			m.reason, m.injected = "run ended", false
			return
		}
		if by := r.tally.count(op, o); o.Err != nil && !by {
			reason, injected = o.Err.Error(), false
		} else if o.Err != nil && injected {
			reason = o.Err.Error()
		}
		if o.Err == nil {
			m.reason, m.injected = "", false
			m.enrolled = true
			return
		}
		m.reason, m.injected = reason, injected
		if hopeless(o.Err) && !o.Fault.Excuses() || try == tries-1 {
			return
		}
		sleep(ctx, r.pause(number, try, o.Err))
	}
}

// try waits for a slot and makes one attempt; false if the run ended first.
func (r *run) try(ctx context.Context, m *member, op firmware.Op) (firmware.Outcome, bool) {
	select {
	case r.slots <- struct{}{}:
	case <-ctx.Done():
		return firmware.Outcome{}, false
	}
	defer func() { <-r.slots }()
	if ctx.Err() != nil {
		return firmware.Outcome{}, false
	}
	limited, cancel := context.WithTimeout(ctx, tryTimeout)
	defer cancel()
	return m.Try(limited, op), true
}

// pause is capped exponential backoff with full jitter, or what the broker asks for.
func (r *run) pause(number, try int, err error) time.Duration {
	ceiling := min(backoffBase<<try, backoffCap)
	wait := time.Duration(r.Faults.Rand("backoff", number, try).Int64N(int64(ceiling)))
	var refusal *protocol.Refusal
	if errors.As(err, &refusal) {
		wait += min(time.Duration(refusal.Problem.Signet.RetryAfter)*time.Second, maxWait)
	}
	return wait
}

// hopeless tells the failures that trying again does not change.
func hopeless(err error) bool {
	for _, c := range []protocol.Code{protocol.CodeExists, protocol.CodeDisabled, protocol.CodePending, protocol.CodeVersion} {
		if errors.Is(err, c) {
			return true
		}
	}
	return distrusted(err)
}

// report closes the books. No device is at work any more.
func (r *run) report(ctx context.Context, steps []StepReport) *Report {
	rep := r.tally.report
	rep.Scenario, rep.Pool, rep.Devices, rep.Seed, rep.Steps = r.Scenario.Name, r.Pool, len(r.devices), r.Faults.Seed, steps
	switch {
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		rep.Ended = endedTime
	case ctx.Err() != nil:
		rep.Ended = endedCall
	}
	for _, m := range r.devices {
		rep.Online += one(m.Connected())
		if m.reason == "" {
			continue
		}
		rep.Unauthenticated++
		rep.Unexplained += one(!m.injected)
		rep.LeftOut = append(rep.LeftOut, Device{m.Name(), m.reason, m.injected})
	}
	slices.SortStableFunc(rep.LeftOut, func(a, b Device) int { return one(a.Injected) - one(b.Injected) })
	rep.LeftOut = rep.LeftOut[:min(len(rep.LeftOut), maxNamed)]
	for _, what := range slices.Sorted(maps.Keys(r.tally.latency)) {
		rep.Latency[what] = r.tally.latency[what].latency()
	}
	return &rep
}

// hangup ends all connections, many at a time: each goodbye may take a moment.
func (r *run) hangup() {
	var all sync.WaitGroup
	gate := make(chan struct{}, 256)
	for _, m := range r.devices {
		gate <- struct{}{}
		all.Go(func() {
			m.Hangup()
			<-gate
		})
	}
	all.Wait()
}

func sleep(ctx context.Context, d time.Duration) {
	if d <= 0 {
		return
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}
