package interop

import (
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/signetd/signet/protocol/detcbor"
)

// TestVectorsInC gives the vectors to a C program that has nothing but the C
// library, as firmware has.
func TestVectorsInC(t *testing.T) {
	setUp(t)
	program := filepath.Join(t.TempDir(), "vectors")
	run(t, "", "cc", "-std=c99", "-O1", "-Wall", "-Wextra", "-Werror", "-o", program, "c/vectors.c")
	c := exec.CommandContext(t.Context(), program)
	lines := vectorLines(t)
	c.Stdin = strings.NewReader(strings.Join(lines, "\n") + "\n")
	out, err := c.CombinedOutput()
	t.Logf("%s", out)
	if err != nil || len(lines) < 450 {
		t.Fatalf("%d lines: %v", len(lines), err)
	}
	// The program itself must be able to say no.
	c = exec.CommandContext(t.Context(), program)
	c.Stdin = strings.NewReader("cbor ok 1801\ncbor bad 01\ntranscript aa = " + strings.Repeat("00", 32) + "\nsha256 aa bb\nproof key 00 00\nconnect " + strings.Repeat("00", 32) + " a aa bb cc dd\nnonsense\n")
	if out, err := c.CombinedOutput(); err == nil || !strings.Contains(string(out), "7 lines, 7 wrong") {
		t.Errorf("says %s to wrong vectors", out)
	}
}

// TestVectorsREADME types the lines that the vectors' README has for C.
func TestVectorsREADME(t *testing.T) {
	setUp(t)
	const folder = "../../protocol/vectors"
	lines := codeBlock(t, folder+"/README.md", "sh")
	tmp := t.TempDir()
	lines = strings.ReplaceAll(strings.ReplaceAll(lines, "-o vectors", "-o "+tmp+"/vectors"), "./vectors", tmp+"/vectors")
	out := string(run(t, folder, "sh", "-e", "-c", lines))
	if strings.Count(out, "lines, 0 wrong") != 2 || strings.Contains(out, "\n0 lines") || strings.HasPrefix(out, "0 lines") {
		t.Errorf("says %s", out)
	}
}

// vectorLines turns the JSON into the program's lines.
func vectorLines(t *testing.T) []string {
	t.Helper()
	type vector struct{ What, Hex, Call string }
	var messages struct{ Valid, Invalid []vector }
	var exchanges struct {
		Transcript []struct{ Parts, After []string }
		Proofs     []struct{ Purpose, Transcript, Input string } `json:"proof_inputs"`
		Exchanges  []struct {
			Call  string
			Steps []struct {
				Hex        string
				Adds       string `json:"transcript_adds"`
				Transcript string
			}
		}
	}
	var keys struct {
		Valid []struct {
			COSE       string `json:"cose_key"`
			Thumbprint string
		}
	}
	var connect struct {
		Connects []struct {
			Channel, Access, Proof, Input, Password string
			ClientID                                string `json:"client_id"`
		}
	}
	for name, to := range map[string]any{"connect.json": &connect, "messages.json": &messages, "exchanges.json": &exchanges, "keys.json": &keys} {
		raw, err := os.ReadFile(filepath.Join(vectorFolder, name))
		if err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal(raw, to); err != nil {
			t.Fatal(err)
		}
	}
	none := func(s string) string {
		if s == "" {
			return "-"
		}
		return s
	}
	var out []string
	say := func(format string, args ...any) { out = append(out, fmt.Sprintf(format, args...)) }
	for _, v := range messages.Valid {
		say("cbor ok %s", v.Hex)
	}
	for _, v := range messages.Invalid {
		say("cbor %s %s", map[bool]string{true: "ok", false: "bad"}[isDeterministic(t, v.Hex)], none(v.Hex))
		if v.Call != "" && strings.HasPrefix(v.Hex[2:], "0001") && v.Hex[10:14] == "0250" { // where the head is as it must be
			say("call %s %s", v.Call, v.Hex)
		} else if v.Call == "" && v.What == "message" && !isDeterministic(t, v.Hex) {
			say("call - %s", none(v.Hex))
		}
	}
	for _, x := range exchanges.Transcript {
		parts := make([]string, len(x.Parts))
		for i := range x.Parts {
			parts[i] = none(x.Parts[i])
		}
		say("transcript %s = %s", strings.Join(parts, " "), strings.Join(x.After, " "))
	}
	for _, p := range exchanges.Proofs {
		say("proof %s %s %s", p.Purpose, p.Transcript, p.Input)
	}
	for _, x := range exchanges.Exchanges {
		var parts, after []string
		for _, s := range x.Steps {
			say("call %s %s", x.Call, s.Hex)
			if s.Adds != "" {
				parts, after = append(parts, s.Adds), append(after, s.Transcript)
			}
		}
		say("transcript %s = %s", strings.Join(parts, " "), strings.Join(after, " "))
	}
	for _, v := range connect.Connects {
		say("connect %s %s %s %s %s %s", v.Channel, v.ClientID, v.Access, v.Proof, v.Input, v.Password)
	}
	for _, k := range keys.Valid {
		say("sha256 %s %s", k.COSE, k.Thumbprint)
	}
	return out
}

func isDeterministic(t *testing.T, s string) bool {
	t.Helper()
	raw, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return detcbor.Check(raw) == nil
}
