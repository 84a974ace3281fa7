package command

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/signetd/signet/firmware-sim/fleet"
)

// maxListed is how many devices that were left out a summary names.
const maxListed = 5

// summarize prints a report for people. What is zero and should be is left out.
func summarize(w io.Writer, r *fleet.Report) {
	line := func(name, format string, args ...any) {
		fmt.Fprintf(w, "%s %s\n", pad(name, 18), fmt.Sprintf(format, args...))
	}
	line("devices", "%s in pool %s, scenario %s, seed %d, %s", group(r.Devices), r.Pool, r.Scenario, r.Seed, seconds(r.Duration))
	line("enrolled", "%s%s", group(r.Enrolled), latency(r, "enroll"))
	if r.Authentications > 0 {
		line("authentications", "%s%s", group(r.Authentications), latency(r, "authenticate"))
	}
	if r.Refreshes > 0 {
		line("refreshes", "%s%s", group(r.Refreshes), latency(r, "refresh"))
	}
	if l, ok := r.Latency["connect"]; ok {
		line("connections", "%s%s", group(int(l.Count)), quantiles(l))
	}
	for _, s := range r.Steps {
		if s.Pattern != "" {
			line("  "+string(s.Do), "%s, %s per second for %s", s.Pattern, strconv.FormatFloat(s.Rate, 'f', 1, 64), seconds(s.Duration))
		}
	}
	line("faults injected", "%s", counts(r.Faults))
	line("failures", "%s", counts(r.Failures))
	if len(r.InjectedFailures) > 0 {
		line("  on purpose", "%s", counts(r.InjectedFailures))
	}
	for _, row := range []struct {
		name string
		n    int
	}{{"connections lost", r.Lost}, {"tokens not taken", r.Stale}, {"BREACHES", r.Breaches}, {"WITHOUT TIME", r.WithoutTime}} {
		if row.n > 0 {
			line(row.name, "%s", group(row.n))
		}
	}
	if r.Ended != "" {
		line("ended early", "%s", r.Ended)
	}
	if r.Unauthenticated == 0 {
		line("result", "all %s devices authenticated", group(r.Devices))
		return
	}
	line("result", "%s of %s devices not authenticated, %s for no injected reason", group(r.Unauthenticated), group(r.Devices), group(r.Unexplained))
	for _, d := range r.LeftOut[:min(len(r.LeftOut), maxListed)] {
		line("", "%s: %s", d.Name, d.Reason)
	}
	if n := r.Unauthenticated - maxListed; n > 0 {
		line("", "and %s more", group(n))
	}
}

func latency(r *fleet.Report, what string) string {
	if l, ok := r.Latency[what]; ok {
		return quantiles(l)
	}
	return ""
}

func quantiles(l fleet.Latency) string {
	return fmt.Sprintf("   p50 %s   p99 %s   max %s", short(l.P50), short(l.P99), short(l.Max))
}

// counts lists what was counted, most first: "12 (7 drop, 5 reboot)".
func counts[K ~string](m map[K]int) string {
	total := 0
	for _, n := range m {
		total += n
	}
	if total == 0 {
		return "none"
	}
	keys := slices.SortedFunc(maps.Keys(m), func(a, b K) int {
		if m[a] != m[b] {
			return m[b] - m[a]
		}
		return strings.Compare(string(a), string(b))
	})
	parts := make([]string, len(keys))
	for i, k := range keys {
		parts[i] = group(m[k]) + " " + string(k)
	}
	return group(total) + " (" + strings.Join(parts, ", ") + ")"
}

// group puts commas between thousands.
func group(n int) string {
	s := strconv.Itoa(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

func short(ms float64) string {
	d := time.Duration(ms * float64(time.Millisecond))
	if d < 10*time.Millisecond {
		return d.Round(10 * time.Microsecond).String()
	}
	return d.Round(time.Millisecond).String()
}

func seconds(ms float64) string {
	return time.Duration(ms * float64(time.Millisecond)).Round(100 * time.Millisecond).String()
}

// pad fills s up to n characters.
func pad(s string, n int) string { return s + strings.Repeat(" ", max(n-len(s), 0)) }
