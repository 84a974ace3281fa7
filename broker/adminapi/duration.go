package adminapi

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
)

// ErrDuration is wrapped by ParseDuration's errors.
var ErrDuration = errors.New("invalid duration")

// A Duration is a length of time that is written with days too: "30d", "1d12h",
// "90m". A day has 24 hours. It is never negative and never above 100 years.
type Duration time.Duration

const (
	day         = 24 * time.Hour
	maxDuration = 100 * 365 * day
)

// ParseDuration reads days, if any, and then what time.ParseDuration reads.
func ParseDuration(s string) (Duration, error) {
	bad := func() (Duration, error) {
		return 0, fmt.Errorf("%w %.40q: want such as 30d, 1d12h, 24h or 90m, at most 100 years", ErrDuration, s)
	}
	var total time.Duration
	rest := s
	if days, after, ok := strings.Cut(s, "d"); ok {
		n, err := strconv.ParseUint(days, 10, 16)
		if err != nil || time.Duration(n)*day > maxDuration {
			return bad()
		}
		total, rest = time.Duration(n)*day, after
		if rest == "" {
			return Duration(total), nil
		}
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
func (d Duration) String() string {
	days, rest := time.Duration(d)/day, time.Duration(d)%day
	if days > 0 && rest == 0 {
		return fmt.Sprintf("%dd", days)
	}
	s := rest.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	if days > 0 {
		return fmt.Sprintf("%dd%s", days, s)
	}
	return s
}

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
		Description: "A length of time: days, hours, minutes, seconds, such as 30d, 1d12h or 90m.",
	}
}
