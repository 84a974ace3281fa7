package main

import (
	"bytes"
	"context"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// collected is a collection of our own, with one sequence for each thing that the judge does.
const collected = `[
	{"group": "as expected", "ver": 5, "tests": [
		{"name": "the end with a code", "msgs": [
			{"type": "send", "payload": "82 r7 m1234 00 s1 'p' 03"}, {"type": "recv", "payload": "E0 r1 82"}]},
		{"name": "an empty connection", "expect_disconnect": false, "msgs": []},
		{"name": "a CONNECT of one's own", "connect": false, "expect_disconnect": false, "msgs": [
			{"type": "send", "payload": "10 r14 s4 'MQTT' 05 02 k10 00 s1 'p'"}, {"type": "recv", "payload": "20 r3 00 00 00"}]},
		{"name": "from another", "expect_disconnect": false, "msgs": [
			{"type": "send", "payload": "82 r7 m1234 00 s1 'p' 02"}, {"type": "recv", "payload": "90 r4 m1234 v0 02"},
			{"type": "external_publish", "topic": "p", "qos": 2, "payload": "m"},
			{"type": "recv", "payload": "34 r7 s1 'p' m1 00 'm'"}, {"type": "send", "payload": "50 r2 m1"}, {"type": "recv", "payload": "62 r2 m1"}]}
	]},
	{"group": "another code", "tests": [
		{"name": "of a DISCONNECT", "ver": 5, "msgs": [
			{"type": "send", "payload": "82 r7 m1234 00 s1 'p' 03"}, {"type": "recv", "payload": "E0 r1 81"}]},
		{"name": "where none is due", "ver": 5, "msgs": [{"type": "send", "payload": "82 r7 m1234 00 s1 'p' 03"}]},
		{"name": "none where one is due", "msgs": [
			{"type": "send", "payload": "82 r6 m1234 s1 'p' 03"}, {"type": "recv", "payload": "E0 r1 81"}]},
		{"name": "of an acknowledgement", "ver": 5, "expect_disconnect": false, "msgs": [
			{"type": "send", "payload": "62 r2 m1"}, {"type": "recv", "payload": "70 r2 m1"}]}
	]},
	{"group": "differs", "tests": [
		{"name": "closed", "expect_disconnect": false, "msgs": [{"type": "send", "payload": "00 00"}]},
		{"name": "open", "msgs": []},
		{"name": "another answer", "expect_disconnect": false, "msgs": [
			{"type": "send", "payload": "C0 00"}, {"type": "recv", "payload": "90 00"}]},
		{"name": "an answer too many", "expect_disconnect": false, "msgs": [{"type": "send", "payload": "C0 00"}, {"type": "send", "payload": "C0 00"}]}
	]},
	{"group": "not counted", "disable": true, "tests": [{"name": "", "msgs": []}]}
]`

func TestJudge(t *testing.T) {
	folder := t.TempDir()
	if err := os.WriteFile(filepath.Join(folder, "own.json"), []byte(collected), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, more := range [][]string{nil, {"-crumbs"}} {
		var out bytes.Buffer
		if err := run(t.Context(), append(more, "-collection", folder, "-patience", "300ms"), &out); err != nil {
			t.Fatal(err)
		}
		reported(t, out.String())
	}
}

func reported(t *testing.T, out string) {
	t.Helper()
	for _, want := range []string{
		"4 of    4 as expected,   0 with another code,   0 differ  as expected",
		"0 of    4 as expected,   4 with another code,   0 differ  another code",
		"1 of    4 as expected,   0 with another code,   3 differ  differs",
		"5 of   12 as expected,   4 with another code,   3 differ  all",
		"other code: another code | where none is due: got DISCONNECT",
		"differs: differs | open: the connection stays open",
	} {
		if !strings.Contains(out, want) {
			t.Errorf("not said: %q", want)
		}
	}
	if t.Failed() {
		t.Log(out)
	}
}

// The collection of others lies where the one who runs this has it.
func TestCollection(t *testing.T) {
	folder := os.Getenv("SIGNET_MQTT_COLLECTION")
	if folder == "" {
		t.Skip("no collection of sequences was given: SIGNET_MQTT_COLLECTION names its folder")
	}
	var out bytes.Buffer
	if err := run(t.Context(), []string{"-collection", folder}, &out); err != nil {
		t.Fatal(err)
	}
	t.Log(out.String())
}

func TestNotation(t *testing.T) {
	for in, want := range map[string]string{
		"10 r13 s4 'MQTT' 04 02 k10 s1 'p'": "100d00044d5154540402000a000170", "A2": "a2", "0B01  i7": "0b0107", "L2000000": "001e8480",
		"v127 v128 r268435456": "7f80018080808001", "H65535 m1": "ffff0001", "'two words' 00": "74776f20776f72647300", "": "",
	} {
		if got, err := bytesOf(in); err != nil || hex.EncodeToString(got) != want {
			t.Errorf("%q: got %x, %v, want %s", in, got, err, want)
		}
	}
	for _, in := range []string{"1", "zz", "'open", "H65536", "i256", "m-1", "s"} {
		if got, err := bytesOf(in); err == nil {
			t.Errorf("%q: taken as %x", in, got)
		}
	}
}

// A server that lets everybody do everything is nobody's but this machine's.
func TestLoopbackOnly(t *testing.T) {
	for _, addr := range []string{":0", "0.0.0.0:0", "[::]:0", "192.0.2.1:0"} {
		if err := run(t.Context(), []string{"-listen", addr}, new(bytes.Buffer)); err == nil || !strings.Contains(err.Error(), "loopback") {
			t.Errorf("%s: %v", addr, err)
		}
	}
	ctx, stop := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer stop()
	if err := run(ctx, []string{"-listen", "127.0.0.1:0"}, new(bytes.Buffer)); err != nil {
		t.Error(err)
	}
}

func TestNoCollection(t *testing.T) {
	var out bytes.Buffer
	if err := run(t.Context(), nil, &out); err != nil || !strings.HasPrefix(out.String(), "skipped: no collection") {
		t.Errorf("%q, %v", out.String(), err)
	}
	if err := run(t.Context(), []string{"-collection", t.TempDir()}, &out); err == nil {
		t.Error("an empty folder is a collection")
	}
}
