package broker

import (
	"fmt"
	"strings"
	"time"
)

// Span writes a length of time as operators write it, with days and without parts
// that are zero: "30d", "1d12h", "90m".
func Span(d time.Duration) string {
	const day = 24 * time.Hour
	days, rest := d/day, d%day
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
