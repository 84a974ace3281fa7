package daemon

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	dto "github.com/prometheus/client_model/go"

	"github.com/signetd/signet/broker/intake"
)

// described gives the names and labels of all of Signet's metrics of a registry, those
// without a value so far included.
func described(r *prometheus.Registry) map[string][]string {
	descs := make(chan *prometheus.Desc)
	go func() {
		defer close(descs)
		r.Describe(descs)
	}()
	form := regexp.MustCompile(`fqName: "(signet_[a-z_]+)".*variableLabels: \{([a-z_,]*)\}`)
	all := map[string][]string{}
	for d := range descs {
		if m := form.FindStringSubmatch(d.String()); m != nil {
			all[m[1]] = slices.DeleteFunc(strings.Split(m[2], ","), func(s string) bool { return s == "" })
		}
	}
	return all
}

// Metrics gives what a Daemon registered, for tests outside.
func (d *Daemon) Metrics() *prometheus.Registry { return d.metrics }

// CheckMetrics holds a registry to the table in docs/signetd.md, both ways, names and labels,
// and to Prometheus' rules for names, units and help.
func CheckMetrics(t *testing.T, r *prometheus.Registry) {
	t.Helper()
	page, err := os.ReadFile("../../docs/signetd.md")
	if err != nil {
		t.Fatal(err)
	}
	told := map[string]string{}
	for _, m := range regexp.MustCompile("(?m)^\\| `(signet_[a-z_]+)` \\|([^|]*)\\|").FindAllStringSubmatch(string(page), -1) {
		if _, twice := told[m[1]]; twice {
			t.Errorf("%s is documented twice", m[1])
		}
		told[m[1]] = m[2]
	}
	there := described(r)
	if len(there) < 15 {
		t.Errorf("only %d metrics: %v", len(there), there)
	}
	for name, labels := range there {
		text, ok := told[name]
		if !ok {
			t.Errorf("docs/signetd.md does not tell of %s", name)
		}
		for _, l := range labels {
			if !strings.Contains(text, "`"+l+"`") {
				t.Errorf("docs/signetd.md: %s: label %s is not told of: %s", name, l, text)
			}
		}
		delete(told, name)
	}
	for name := range told {
		t.Errorf("docs/signetd.md tells of %s, which there is not", name)
	}
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	families = slices.DeleteFunc(families, func(f *dto.MetricFamily) bool { return !strings.HasPrefix(f.GetName(), "signet_") })
	problems, err := promlint.NewWithMetricFamilies(families).Lint()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
}

// CheckLimits holds the table of limits in docs/signetd.md to a registry: each row says in which
// metrics who meets the limit is counted, and as what, and each cause of a connection's refusal
// stands in it.
func CheckLimits(t *testing.T, r *prometheus.Registry) {
	t.Helper()
	page, err := os.ReadFile("../../docs/signetd.md")
	if err != nil {
		t.Fatal(err)
	}
	_, table, ok := strings.Cut(string(page), "| limit | setting | counted | what the client sees |\n|---|---|---|---|\n")
	if !ok {
		t.Fatal("docs/signetd.md has no table of limits")
	}
	table, _, _ = strings.Cut(table, "\n\n")
	there, values := described(r), map[string][]string{}
	families, err := r.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			for _, l := range m.GetLabel() {
				values[f.GetName()] = append(values[f.GetName()], l.GetValue())
			}
		}
	}
	causes := map[string]bool{}
	for row := range strings.Lines(table) {
		counted := strings.Split(row, "|")[3]
		named := 0
		for part := range strings.SplitSeq(counted, ";") {
			in := "signet_connections_refused_total"
			for _, m := range regexp.MustCompile("`([a-z_-]+)`").FindAllStringSubmatch(part, -1) {
				named++
				if strings.HasPrefix(m[1], "signet_") {
					if in = m[1]; there[in] == nil {
						t.Errorf("there is no %s: %s", in, row)
					}
					continue
				}
				if all := values[in]; all != nil && !slices.Contains(all, m[1]) {
					t.Errorf("%s counts nothing as %s: %s", in, m[1], row)
				}
				causes[m[1]] = true
			}
		}
		if named == 0 {
			t.Errorf("not counted: %s", row)
		}
	}
	for _, c := range intake.Causes {
		if !causes[string(c)] && c != intake.CauseWebSocket && c != intake.CauseOrigin {
			t.Errorf("the table of limits does not have the cause %s", c)
		}
	}
}
