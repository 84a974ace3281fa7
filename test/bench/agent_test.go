package bench

import (
	"bytes"
	"os"
	"os/exec"
	"testing"
)

// BenchmarkAgent is what signet-agent takes on a device: resident memory, with
// and without the pages of its file, after it enrolled and runs, and its file's size.
func BenchmarkAgent(b *testing.B) {
	s := newBroker(b)
	state := b.TempDir() + "/lamp"
	path := program(b, "signet-agent")
	enroll := exec.CommandContext(b.Context(), path, "enroll", "--state", state, "--broker", s.url, "--ca", s.ca,
		"--pool", "demo", "--name", "lamp", "--token", s.dev["SIGNET_ENROLLMENT"])
	if out, err := enroll.CombinedOutput(); err != nil {
		b.Fatalf("enroll: %v\n%s", err, out)
	}
	a := spawn(b, nil, path, "run", "--state", state)
	eventually(b, "the agent does not come online", func() bool {
		out, err := exec.CommandContext(b.Context(), path, "status", "--state", state, "-o", "json").Output()
		return err == nil && bytes.Contains(out, []byte(`"phase": "online"`))
	})
	settle(b)
	info, err := os.Stat(path)
	if err != nil {
		b.Fatal(err)
	}
	b.ReportMetric(a.status(b, "VmRSS")/1024, "MiB-RSS")
	b.ReportMetric(a.status(b, "RssAnon")/1024, "MiB-anon")
	b.ReportMetric(float64(info.Size())/1e6, "MB-stripped")
	b.ReportMetric(0, "ns/op")
}
