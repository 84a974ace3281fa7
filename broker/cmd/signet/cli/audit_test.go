package cli_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/signetd/signet/broker/adminapi"
	"github.com/signetd/signet/broker/cmd/signet/cli"
)

func TestAuditAndHistory(t *testing.T) {
	s := login(t)
	s.ok(t, "pool create demo")
	s.ok(t, "device create lamp-1 --pool demo --reason delivered")
	if r := s.run(t, "", "device", "disable", "lamp-1", "--pool", "demo", "--reason", "stolen, ticket 12"); r.code != 0 {
		t.Fatal(r.err)
	}
	out := s.ok(t, "device history lamp-1 --pool demo")
	lines := strings.Split(strings.TrimSpace(out), "\n")
	if len(lines) != 3 || !strings.Contains(lines[1], "operator:ada") || !strings.Contains(lines[1], "stolen, ticket 12") || !strings.Contains(lines[2], "delivered") {
		t.Errorf("history:\n%s", out)
	}
	var all, some, newest []adminapi.Record
	for line, to := range map[string]*[]adminapi.Record{
		"audit list --after 0 -o json": &all, "audit list --after 0 --limit 2 -o json": &some, "audit list --limit 1 --pool demo -o json": &newest,
	} {
		if err := json.Unmarshal([]byte(s.ok(t, line)), to); err != nil {
			t.Fatal(line, err)
		}
	}
	if len(all) < 5 || len(some) != 2 || len(newest) != 1 || newest[0].Reason != "stolen, ticket 12" || some[1].Seq != all[1].Seq {
		t.Errorf("got %d records, %+v, %+v", len(all), some, newest)
	}
	for line, what := range map[string]string{
		"audit list --limit 0": "--limit", "audit list --since yesterday": "--since", "audit list --kind lamp": "device, session", "audit tail -o xml": "want table, json, yaml or csv",
		"device history nobody --pool demo": "not found", "device history lamp-1 --pool demo --limit 0": "--limit",
	} {
		if r := s.run(t, "", strings.Fields(line)...); r.code == 0 || !strings.Contains(r.err, what) {
			t.Errorf("%s: exit %d, %s", line, r.code, r.err)
		}
	}
	for line, want := range map[string]int{
		"--kind device": 2, "--kind device --actor operator:ada": 2, "--kind device --actor local": 0, "--device demo:lamp-1 --no-traffic": 2,
		"--since 1h --kind device": 2, "--until 1h --kind device": 0, "--kind device --limit 1": 1, "--kind device --limit 501": 2,
		"--kind device --after 0": 2,
	} {
		var got []adminapi.Record
		if err := json.Unmarshal([]byte(s.ok(t, "audit list -o json "+line)), &got); err != nil || len(got) != want {
			t.Errorf("%s: %d records, want %d, %v", line, len(got), want, err)
		}
	}
	if out := s.ok(t, "__complete audit list --kind c"); !strings.Contains(out, "client") {
		t.Errorf("kinds: %s", out)
	}
	if r := s.run(t, "", "pool", "delete", "demo", "--reason", "two\nlines"); r.code != 2 {
		t.Errorf("a reason of two lines: %+v", r)
	}
}

// tail prints what is there, then what comes, and ends when it is told to.
func TestAuditTail(t *testing.T) {
	s := login(t)
	s.ok(t, "pool create demo")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	r, w := io.Pipe()
	ended := make(chan int, 1)
	go func() {
		code := cli.Run(ctx, cli.Surroundings{In: strings.NewReader(""), Out: w, Err: io.Discard, Getenv: func(k string) string { return s.env[k] }, Now: s.Clock.Now},
			[]string{"audit", "tail", "--after", "1", "-o", "json"})
		_ = w.Close()
		ended <- code
	}()
	dec := json.NewDecoder(r)
	seen := func(name string) {
		t.Helper()
		for {
			var rec adminapi.Record
			if err := dec.Decode(&rec); err != nil {
				t.Fatal(err)
			}
			if rec.Name == name {
				return
			}
		}
	}
	seen("default") // the client that the pool begins with
	s.ok(t, "device create lamp-1 --pool demo")
	seen("lamp-1")
	cancel()
	if _, err := io.Copy(new(bytes.Buffer), r); err != nil {
		t.Fatal(err)
	}
	if code := <-ended; code != 130 {
		t.Errorf("exit %d", code)
	}
}

// TestAuditTailOfAPool: who is bound to a pool follows it from now on, too, and asks about
// nothing else on the way.
func TestAuditTailOfAPool(t *testing.T) {
	s := login(t)
	s.ok(t, "pool create demo")
	s.env["SIGNET_TOKEN"], s.env["SIGNET_SERVER"], s.env["SIGNET_CA"] = strings.TrimSpace(s.ok(t, "operator create bob --scope enroll --pool demo")), s.url, s.ca
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	r, w := io.Pipe()
	var errs bytes.Buffer
	ended := make(chan int, 1)
	go func() {
		code := cli.Run(ctx, cli.Surroundings{In: strings.NewReader(""), Out: w, Err: &errs, Getenv: func(k string) string { return s.env[k] }, Now: s.Clock.Now},
			[]string{"audit", "tail", "--pool", "demo", "-o", "json"})
		_ = w.Close()
		ended <- code
	}()
	first := make(chan error, 1)
	go func() {
		var rec adminapi.Record
		first <- json.NewDecoder(r).Decode(&rec)
	}()
	for i := 0; ; i++ { // until it has begun, and sees one
		select {
		case err := <-first:
			if err != nil {
				t.Fatalf("%v: %s", err, errs.String())
			}
			cancel()
			_, _ = io.Copy(io.Discard, r)
			if code := <-ended; code != 130 {
				t.Errorf("exit %d", code)
			}
			return
		case <-time.After(50 * time.Millisecond):
			s.ok(t, "device create lamp-"+strconv.Itoa(i))
		}
	}
}
