package interop

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// python is Debian's: its packages are what a firmware engineer can install.
const python = "/usr/bin/python3"

// vectorFolder holds protocol/vectors' files.
const vectorFolder = "../../protocol/vectors"

// setUp installs what the tests of this folder lack where it may, and says what to
// install where not.
func setUp(t *testing.T) {
	t.Helper()
	run(t, "", "sh", "../setup.sh", "test")
}

// npmFolder installs the JavaScript libraries for tokens next to verify.mjs.
func npmFolder(t *testing.T) string {
	t.Helper()
	return npmInstall(t, "verify.mjs", "jose@6.2.18", "@auth0/cose@1.0.2", "cbor-x@1.6.9")
}

// npmInstall installs JavaScript libraries, at fixed versions, next to a script of this folder, and gives where.
func npmInstall(t *testing.T, script string, packages ...string) string {
	t.Helper()
	setUp(t)
	dir := t.TempDir()
	text, err := os.ReadFile(script)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, script), text, 0o600); err != nil {
		t.Fatal(err)
	}
	run(t, dir, "npm", append([]string{"install", "--silent", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix", dir}, packages...)...)
	return dir
}

// run gives what the program prints; it fails the test when the program does.
func run(t *testing.T, dir, name string, args ...string) []byte {
	t.Helper()
	c := exec.CommandContext(t.Context(), name, args...)
	c.Dir = dir
	c.Env = append(os.Environ(), "PYTHONDONTWRITEBYTECODE=1")
	var out, errs bytes.Buffer
	c.Stdout, c.Stderr = &out, &errs
	if err := c.Run(); err != nil {
		t.Fatalf("%s %s: %v\n%s%s", name, args[0], err, out.String(), errs.String())
	}
	return out.Bytes()
}
