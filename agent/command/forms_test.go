package command

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/signetd/signet/protocol/exit"
	"github.com/signetd/signet/protocol/ident"
	"github.com/signetd/signet/protocol/ident/identtest"
)

// fill gives every field of a struct another value that is not its zero.
func fill(t *testing.T, v reflect.Value) {
	t.Helper()
	for i := range v.NumField() {
		switch f := v.Field(i); f.Interface().(type) {
		case string:
			f.SetString("<" + strings.Repeat("é\n", i+1) + ">")
		case bool:
			f.SetBool(true)
		case int64:
			f.SetInt(int64(i + 1))
		case *int64:
			n := int64(-i - 1)
			f.Set(reflect.ValueOf(&n))
		case ident.Device:
			d := identtest.Device(t, "demo:lamp")
			f.Set(reflect.ValueOf(d))
		default:
			t.Fatalf("field %s: nothing to fill it with", v.Type().Field(i).Name)
		}
	}
}

// No member that is written is forgotten when it is read.
func TestFormsComeBack(t *testing.T) {
	var c settings
	fill(t, reflect.ValueOf(&c).Elem())
	raw, err := json.MarshalIndent(c, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	if got, err := parseSettings(raw); err != nil || got != c {
		t.Errorf("%s\ncame back as %+v, %v", raw, got, err)
	}
	var st Status
	fill(t, reflect.ValueOf(&st).Elem())
	if raw, err = json.Marshal(st); err != nil {
		t.Fatal(err)
	}
	got, err := parseStatus(raw)
	if diff := cmp.Diff(st, got); err != nil || diff != "" {
		t.Error(err, diff)
	}
}

func TestParseSettingsRefuses(t *testing.T) {
	for _, in := range []string{`{}`, `{"device":"demo"}`, `{"device":"demo:a","borker":"x"}`, `{"device":"demo:a","broker":null}`, `null`, ``, `{"device":"demo:a"} {}`} {
		if _, err := parseSettings([]byte(in)); err == nil {
			t.Errorf("%s was accepted", in)
		}
	}
	if _, err := parseStatus([]byte(`{"clock_offset":1.5}`)); err == nil {
		t.Error("half a second was accepted")
	}
}

func FuzzSettings(f *testing.F) {
	f.Add([]byte(`{"broker":"mqtts://b","device":"demo:a","ca":"-----BEGIN CERTIFICATE-----","anchor":"00"}`))
	f.Add([]byte(`{"device":"demo:a","device":"demo:b"}`))
	f.Fuzz(func(t *testing.T, raw []byte) {
		c, err := parseSettings(raw)
		if err != nil {
			return
		}
		again, err := json.Marshal(c)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := parseSettings(again); err != nil || got != c {
			t.Errorf("%s came back as %+v, %v", again, got, err)
		}
		_, _ = c.trust(nil)
	})
}

func script(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "answer")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+text+"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestRunProgram(t *testing.T) {
	large := strings.Repeat("x", 100_000) // more than a pipe holds
	for _, tt := range []struct{ name, script, want, err string }{
		{"reads all", "wc -c", "100000\n", ""},
		{"reads nothing", "echo $1", "kind\n", ""},
		{"says nothing", "cat >/dev/null", "", ""},
		{"fails", "echo yes; exit 3", "", "exit status 3"},
		{"is killed", "kill -9 $$", "", "killed"},
		{"babbles", "exec yes", "", "more than 16384 bytes"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := runProgram(t.Context(), script(t, tt.script), "kind", []byte(large))
			if string(got) != tt.want || (err == nil) != (tt.err == "") || err != nil && !strings.Contains(err.Error(), tt.err) {
				t.Errorf("%q, %v; want %q, %q", got, err, tt.want, tt.err)
			}
		})
	}
	if _, err := runProgram(t.Context(), "/no/such/program", "kind", nil); !errors.Is(err, errAnswerMissing) {
		t.Error(err)
	}
}

// A program, and what it started, cannot hold up the agent for longer than ctx.
func TestRunProgramEndsWithContext(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := runProgram(ctx, script(t, "sleep 5 2>/dev/null & wait"), "kind", nil); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
}

// TestAnswerCommands: what is to answer is looked at when the device is enrolled, and each
// way not to answer has its own words and hint.
func TestAnswerCommands(t *testing.T) {
	good := script(t, "echo yes")
	dir := filepath.Dir(good)
	t.Setenv("PATH", ".:"+filepath.Join(dir, "none")+":"+dir+":"+os.Getenv("PATH"))
	if got, err := answerCommand("answer"); err != nil || got != good {
		t.Errorf("%q, %v", got, err)
	}
	flat := filepath.Join(dir, "flat")
	if err := os.WriteFile(flat, []byte("echo yes\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	foreign := filepath.Join(dir, "foreign")
	if err := os.WriteFile(foreign, []byte("\x00 no program"), 0o700); err != nil {
		t.Fatal(err)
	}
	b, m := newBroker(t), &machine{t: t}
	for named, want := range map[string]struct {
		code       exit.Code
		text, hint string
	}{
		filepath.Join(dir, "none"): {exit.NotFound, "no such program", "name one program"},
		"sh -c 'echo yes'":         {exit.NotFound, "no such program", "name one program, by its path, with --answer-command; arguments it can have in a script"},
		dir:                        {exit.NotFound, "is a folder", "name one program"},
		flat:                       {exit.Failed, "cannot be run: " + flat + " has mode 0600", "chmod +x"},
	} {
		m.fails(int(want.code), want.text, want.hint, enrollArgs(b, folder(t), "--ca", b.ca(t), "--answer-command", named)...)
	}
	for path, want := range map[string]error{foreign: errAnswerMode, script(t, "exit 1"): errAnswerFailed, script(t, "exec sleep 60"): errAnswerSlow} {
		within := answerTime
		if want == errAnswerSlow {
			within = 20 * time.Millisecond
		}
		_, err := answerWith(path, within)(t.Context(), "door", nil)
		if code, hint := (&program{}).advice(err); !errors.Is(err, want) || hint == "" || code == exit.Done {
			t.Errorf("%s: %v, exit %d, hint %q", path, err, code, hint)
		}
	}
}
