package broker

import (
	"testing"
	"time"
)

// TestPatientClock: what has come is what the clock shows and what has elapsed allows; a
// clock that jumps is followed a day later, if it stays there.
func TestPatientClock(t *testing.T) {
	const year = 365 * 24 * time.Hour
	start := time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC)
	type reading struct{ elapsed, clock, want, doubt time.Duration } // clock and want since start
	for name, all := range map[string][]reading{
		"right":          {{0, 0, 0, 0}, {time.Hour, time.Hour, time.Hour, 0}},
		"corrected":      {{0, 0, 0, 0}, {time.Hour, time.Hour + 5*time.Minute, time.Hour + 5*time.Minute, 0}, {2 * time.Hour, 2 * time.Hour, 2 * time.Hour, 0}},
		"ahead an hour":  {{0, 0, 0, 0}, {time.Minute, 10 * year, time.Minute, 10*year - time.Minute}, {time.Hour, 10*year + 59*time.Minute, time.Hour, 10*year - time.Minute}, {2 * time.Hour, 2 * time.Hour, 2 * time.Hour, 0}},
		"behind an hour": {{0, 0, 0, 0}, {time.Minute, -10 * year, -10 * year, -10*year - time.Minute}, {2 * time.Hour, 2 * time.Hour, 2 * time.Hour, 0}},
		"ahead for good": {{0, 0, 0, 0}, {time.Minute, year, time.Minute, year - time.Minute}, {24 * time.Hour, year + 24*time.Hour, 24 * time.Hour, year - time.Minute}, {25 * time.Hour, year + 25*time.Hour, year + 25*time.Hour, 0}},
		"behind for good": {{0, 0, 0, 0}, {time.Minute, -year, -year, -year - time.Minute}, {25 * time.Hour, 25*time.Hour - year, 25*time.Hour - year, 0},
			{26 * time.Hour, 26 * time.Hour, 26*time.Hour - year, year}},
		"to and fro": {{0, 0, 0, 0}, {time.Hour, year, time.Hour, year - time.Hour}, {23 * time.Hour, 2 * year, 23 * time.Hour, 2*year - 23*time.Hour}, {46 * time.Hour, 2*year + 23*time.Hour, 46 * time.Hour, 2*year - 23*time.Hour}},
	} {
		p := ResumeClock(start, 0, 0)
		for i, r := range all {
			if got := p.Read(start.Add(r.clock), r.elapsed); !got.Equal(start.Add(r.want)) || p.Doubt() != r.doubt {
				t.Errorf("%s, reading %d: %v, doubt %v; want %v, %v", name, i, got.Sub(start), p.Doubt(), r.want, r.doubt)
			}
		}
	}
}

// TestPatientClockResumes: a process that starts knows where the one before it was, and
// believes a clock that is a little later, once.
func TestPatientClockResumes(t *testing.T) {
	start := time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC)
	for clock, want := range map[time.Duration]time.Duration{
		time.Hour: time.Hour, 2 * time.Hour: 2 * time.Hour, 3 * time.Hour: 0, -time.Hour: -time.Hour, -time.Minute: -time.Minute,
	} {
		p := ResumeClock(start, 7*time.Hour, 2*time.Hour)
		if got := p.Read(start.Add(clock), 7*time.Hour); !got.Equal(start.Add(want)) {
			t.Errorf("clock at %v: %v, want %v", clock, got.Sub(start), want)
		}
		if got := p.Read(start.Add(clock+90*time.Minute), 7*time.Hour+time.Minute); clock > 0 && got.After(start.Add(want+time.Minute)) {
			t.Errorf("clock at %v, then ahead: %v", clock, got.Sub(start))
		}
	}
}
