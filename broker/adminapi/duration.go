package adminapi

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/signetd/signet/broker"
)

// ErrDuration is wrapped by ParseDuration's errors.
var ErrDuration = errors.New("invalid duration")

// A Duration is a length of time that is written with days too: "30d", "1d12h",
// "90m", "10y". A day has 24 hours, a year 365 days. It is never negative and never above 100 years.
type Duration time.Duration

const (
	day         = 24 * time.Hour
	maxDuration = 100 * 365 * day
)

// ParseDuration reads years of 365 days, weeks and days, if any, in this order, and
// then what time.ParseDuration reads.
func ParseDuration(s string) (Duration, error) {
	bad := func() (Duration, error) {
		return 0, fmt.Errorf("%w %.40q: want such as 30d, 1d12h, 24h or 90m, at most 100y", ErrDuration, s)
	}
	var total time.Duration
	rest := s
	for _, u := range []struct {
		name string
		days uint64
	}{{"y", 365}, {"w", 7}, {"d", 1}} {
		count, after, ok := strings.Cut(rest, u.name)
		if !ok {
			continue
		}
		n, err := strconv.ParseUint(count, 10, 16)
		if err != nil || n*u.days > uint64((maxDuration-total)/day) {
			return bad()
		}
		total, rest = total+time.Duration(n*u.days)*day, after
	}
	if rest == "" && s != "" {
		return Duration(total), nil
	}
	if rest == "" || rest[0] == '-' || rest[0] == '+' {
		return bad()
	}
	tail, err := time.ParseDuration(rest)
	if err != nil || tail < 0 || tail > maxDuration-total {
		return bad()
	}
	return Duration(total + tail), nil
}

// String gives the form that ParseDuration reads, without parts that are zero.
func (d Duration) String() string { return broker.Span(time.Duration(d)) }

// MarshalText makes durations strings in JSON.
func (d Duration) MarshalText() ([]byte, error) { return []byte(d.String()), nil }

// UnmarshalText is ParseDuration.
func (d *Duration) UnmarshalText(b []byte) (err error) {
	*d, err = ParseDuration(string(b))
	return err
}

// Set and Type make a Duration a flag of pflag.
func (d *Duration) Set(s string) error { return d.UnmarshalText([]byte(s)) }

// Type names the flag's value in help.
func (d *Duration) Type() string { return "duration" }

// Schema describes a Duration in the OpenAPI document.
func (d Duration) Schema(huma.Registry) *huma.Schema {
	max := 40
	return &huma.Schema{
		Type: huma.TypeString, MaxLength: &max, Examples: []any{"30d"},
		Description: "A length of time: years, weeks, days, hours, minutes, seconds, such as 30d, 1d12h or 90m.",
	}
}
