package test

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/signetd/signet/broker"
	"github.com/signetd/signet/broker/intake"
)

// figure is a measured quantity as the documents write it.
var figure = regexp.MustCompile(`([0-9][0-9.,]*) (KiB|MiB|GiB|kB|MB|GB|ms|bytes)\b`)

// prints says in which metrics of benchmarks a unit of the documents comes.
var prints = map[string]*regexp.Regexp{
	"KiB": regexp.MustCompile(`KiB`), "MiB": regexp.MustCompile(`MiB`), "ms": regexp.MustCompile(`^(cpu-us|ns)/`), "bytes": regexp.MustCompile(`^B/`),
}

// TestSizingIsMeasured: each figure of docs/sizing.md is printed by a benchmark that is there, in a unit
// that it has, or is reckoned from such figures; what it says of settings is what the code does.
func TestSizingIsMeasured(t *testing.T) {
	doc := read(t, "../docs/sizing.md")
	rows := tableRows(doc, "| what | of one device | 50,000 devices | printed by |")
	if len(rows) < 9 {
		t.Fatalf("%d rows of figures", len(rows))
	}
	of := map[string]float64{} // by benchmark and metric, in the document's unit
	check := func(text, bench, names string) {
		t.Helper()
		metrics := regexp.MustCompile("`([^` ]+)`").FindAllStringSubmatch(names, -1)
		figures := slices.DeleteFunc(figure.FindAllStringSubmatch(text, -1), func(f []string) bool { return prints[f[2]] == nil })
		if len(figures) == 0 || len(figures) != len(metrics) {
			t.Errorf("%d figures, and %d metrics that print them: %s", len(figures), len(metrics), text)
			return
		}
		there := metricsOf(t, bench)
		for i, f := range figures {
			metric := metrics[i][1]
			if !there[metric] || !prints[f[2]].MatchString(metric) {
				t.Errorf("%s prints no %s, or %s is none of it: %s", bench, metric, f[0], text)
			}
			of[bench+" "+metric] = number(t, f[1])
		}
	}
	var measured []string
	bench := ""
	for _, row := range rows {
		if m := regexp.MustCompile("^`sh test/bench/run.sh (Benchmark[A-Za-z]+)`: ").FindStringSubmatch(row[3]); m != nil {
			bench = m[1]
		} else if !strings.HasPrefix(row[3], "the same: ") {
			t.Errorf("%s: %q names no benchmark", row[0], row[3])
		}
		_, metrics, _ := strings.Cut(row[3], ": ")
		check(row[1], bench, metrics)
		measured = append(measured, row[1])
	}
	// Outside the table the benchmark stands in brackets behind what it prints.
	from := 0
	for _, m := range regexp.MustCompile("\\(`(?:FULL=1 )?sh test/bench/run.sh (Benchmark[A-Za-z]+)`: ((?:`[^`]+`(?:, )?)+)").FindAllStringSubmatchIndex(doc, -1) {
		said := doc[from:m[0]]
		said = said[strings.LastIndex(said, "\n\n")+1:]
		check(said, doc[m[2]:m[3]], doc[m[4]:m[5]])
		measured = append(measured, said)
		from = m[1]
	}
	const fleet = 50_000
	refresh, login := of["BenchmarkGrowth B/refresh"], of["BenchmarkGrowth B/login"]
	perDay := 24 * 2 / broker.DefaultAccessLife.Hours() // at half of a token's life
	days := broker.KeepTraffic.Hours() / 24
	kept := days * perDay * refresh
	reckoned := []string{
		fmt.Sprintf("%.2g GiB |", (of["BenchmarkDevice KiB/device"]*fleet/1024+of["BenchmarkDevice idle-MiB"])/1024),
		fmt.Sprintf("%.1g of a core |", of["BenchmarkDevice cpu-us/ping"]*fleet/60e3),
		fmt.Sprintf("%.2g s in all", of["BenchmarkDevice cpu-us/enrollment"]*fleet/1e3),
		fmt.Sprintf("%.2g s in all", of["BenchmarkDevice cpu-us/connect"]*fleet/1e3),
		fmt.Sprintf("%.2g s an hour, at two an hour each: %.2g of a core", of["BenchmarkAuthenticationMQTT cpu-us/auth"]*fleet*2/1e3, of["BenchmarkAuthenticationMQTT cpu-us/auth"]*fleet*2/3600e3),
		fmt.Sprintf("%.2g MB |", of["BenchmarkGrowth B/device"]*fleet/1e6),
		fmt.Sprintf("%.0f x %.0f x %.0f bytes = %.2g kB", days, perDay, refresh, kept/1e3),
		fmt.Sprintf("50,000 have %.2g GB", kept*fleet/1e9),
		fmt.Sprintf("tokens of eight hours make it %.0f0 MB", kept*fleet/8/1e7),
		fmt.Sprintf("the newest %d", broker.MaxKeptSessions),
		fmt.Sprintf("%.2g kB for a device that always logs in anew", broker.MaxKeptSessions*login/1e3),
		fmt.Sprintf("%.2g GB if all 50,000 do", broker.MaxKeptSessions*login*fleet/1e9),
		fmt.Sprintf("would take %.1f GiB", of["BenchmarkIdleSlope KiB-slope"]*100_000/1024/1024),
		fmt.Sprintf("(%.0f\ndays by default)", broker.DefaultRefreshLife.Hours()/24),
	}
	if days != 7 || broker.DefaultAccessLife != time.Hour || !strings.Contains(doc, "journal keeps such traffic for seven days, so at a token life of an hour") {
		t.Error("how long traffic is kept, or a token lives, is not what the code has")
	}
	rest := doc
	for _, want := range reckoned {
		if !strings.Contains(doc, want) {
			t.Errorf("docs/sizing.md does not say %q, which its own figures come to", want)
		}
		rest = strings.ReplaceAll(rest, want, "")
	}
	for _, text := range measured {
		for _, f := range figure.FindAllStringSubmatch(text, -1) {
			if prints[f[2]] != nil {
				rest = strings.Replace(rest, f[0], "", 1)
			}
		}
	}
	for _, left := range figure.FindAllString(rest, -1) {
		t.Errorf("%q is measured by nothing that is named, and reckoned from nothing", left)
	}
	// Two pages say one figure.
	readme := read(t, "../README.md")
	rate := regexp.MustCompile(`authentications per second over MQTT and TLS[^|]*\| ([0-9,]+) / ([0-9,]+) \|`).FindStringSubmatch(readme)
	if rate == nil || !metricsOf(t, "BenchmarkAuthenticationMQTT")["auths/s"] ||
		!strings.Contains(doc, fmt.Sprintf("%s authentications a second by Ed25519 and %s by P-256 (`auths/s` of `BenchmarkAuthenticationMQTT`)", rate[1], rate[2])) {
		t.Errorf("authentications a second are not README's %v", rate)
	}
	idle := regexp.MustCompile("memory per idle device of `signetd` over TLS[^|]*\\| ([0-9.]+) KiB").FindStringSubmatch(readme)
	if idle == nil || number(t, idle[1]) != of["BenchmarkDevice KiB/device"] {
		t.Errorf("README says %v of an idle device's memory, docs/sizing.md %v KiB", idle, of["BenchmarkDevice KiB/device"])
	}
}

// TestSizingKnowsTheDefaults: the settings that docs/sizing.md advises on have the defaults that it says.
func TestSizingKnowsTheDefaults(t *testing.T) {
	in, err := intake.New(intake.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	_, have := in.Open()
	if in, err = intake.New(intake.Limits{Conns: 60_000}); err != nil {
		t.Fatal(err)
	}
	_, large := in.Open()
	want := map[string]string{
		"`limits.connections`":          commas(have.Conns) + " | " + commas(large.Conns) + ": strangers and reconnecting devices need room beside them",
		"`limits.per_pool`":             "nine tenths of `limits.connections` | fits: " + commas(large.PerPool),
		"`limits.per_source`":           "three fifths of `limits.connections` | " + commas(large.PerSource) + " of one source; behind a balancer without the PROXY protocol all devices have one: " + commas(large.Conns),
		"`limits.rate`, `limits.burst`": commas(int(have.Rate)) + " a second, " + commas(have.Burst) + " at once, of one source | raise them where many devices share one address",
		"open files of the process":     "65,536 in our unit file | 131,072",
	}
	if have.PerPool != have.Conns*9/10 || have.PerSource != have.Conns*3/5 || large.PerPool < 50_000 {
		t.Errorf("%+v, and %+v for 50,000", have, large)
	}
	if unit := read(t, "../docs/systemd/signetd.service"); !strings.Contains(unit, "\nLimitNOFILE=65536\n") {
		t.Error("the unit file has another LimitNOFILE")
	}
	rows := tableRows(read(t, "../docs/sizing.md"), "| setting | default | for 50,000 devices |")
	for _, row := range rows {
		if got := row[1] + " | " + row[2]; got != want[row[0]] {
			t.Errorf("%s: %q, the code has %q", row[0], got, want[row[0]])
		}
	}
	if len(rows) != len(want) {
		t.Errorf("%d settings, want %d", len(rows), len(want))
	}
	settings := read(t, "../docs/signetd.md")
	for key, def := range map[string]int{"connections": have.Conns, "rate": int(have.Rate), "burst": have.Burst, "per_device": have.PerDevice} {
		if !strings.Contains(settings, fmt.Sprintf("| `limits.%s` | `SIGNET_LIMITS_%s` | %d |", key, strings.ToUpper(key), def)) {
			t.Errorf("docs/signetd.md has another default of limits.%s than %d", key, def)
		}
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(raw)
}

// tableRows gives the cells of a Markdown table by its head.
func tableRows(doc, head string) (rows [][]string) {
	_, table, _ := strings.Cut(doc, head+"\n")
	table, _, _ = strings.Cut(table, "\n\n")
	for i, line := range strings.Split(table, "\n") {
		if cells := strings.Split(strings.Trim(line, "|"), "|"); i > 0 && line != "" {
			for j := range cells {
				cells[j] = strings.TrimSpace(cells[j])
			}
			rows = append(rows, cells)
		}
	}
	return rows
}

func number(t *testing.T, s string) float64 {
	t.Helper()
	n, err := strconv.ParseFloat(strings.ReplaceAll(s, ",", ""), 64)
	if err != nil {
		t.Error(err)
	}
	return n
}

func commas(n int) string {
	if n < 1000 {
		return strconv.Itoa(n)
	}
	return fmt.Sprintf("%d,%03d", n/1000, n%1000)
}

// metricsOf gives what a benchmark reports that test/bench/run.sh measures: the metrics of the file that has it.
func metricsOf(t *testing.T, bench string) map[string]bool {
	t.Helper()
	m := regexp.MustCompile(`measure ` + bench + ` \S+ \S+ *(\S*)`).FindStringSubmatch(read(t, "bench/run.sh"))
	if m == nil {
		t.Errorf("test/bench/run.sh does not measure %s", bench)
		return nil
	}
	folder := "bench"
	if m[1] != "" {
		folder = filepath.Join("..", m[1])
	}
	files, err := filepath.Glob(filepath.Join(folder, "*_test.go"))
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range files {
		file, err := parser.ParseFile(token.NewFileSet(), path, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		if !slices.ContainsFunc(file.Decls, func(d ast.Decl) bool { f, ok := d.(*ast.FuncDecl); return ok && f.Name.Name == bench }) {
			continue
		}
		metrics := map[string]bool{}
		ast.Inspect(file, func(n ast.Node) bool {
			call, ok := n.(*ast.CallExpr)
			if !ok || len(call.Args) != 2 || called(call.Fun) != ".ReportMetric" {
				return true
			}
			if lit, ok := call.Args[1].(*ast.BasicLit); ok {
				metrics[strings.Trim(lit.Value, `"`)] = true
			}
			return true
		})
		return metrics
	}
	t.Errorf("no %s in %s", bench, folder)
	return nil
}
