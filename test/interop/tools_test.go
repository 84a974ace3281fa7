package interop

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// python is Debian's: its packages are what a firmware engineer can install.
const python = "/usr/bin/python3"

// vectorFolder holds protocol/vectors' files.
const vectorFolder = "../../protocol/vectors"

// packages are what Python's tests need: Debian package and module.
func packages() map[string]string {
	return map[string]string{"python3-cryptography": "cryptography", "python3-paho-mqtt": "paho.mqtt.client", "python3-cbor2": "cbor2", "python3-jwt": "jwt"}
}

// needPython installs what is missing where it may, and says what to install where not.
func needPython(t *testing.T) {
	t.Helper()
	var missing []string
	if _, err := os.Stat(python); err != nil {
		missing = append(missing, "python3")
	}
	for pkg, module := range packages() {
		if exec.Command(python, "-c", "import "+module).Run() != nil {
			missing = append(missing, pkg)
		}
	}
	install(t, missing)
}

func needNode(t *testing.T) {
	t.Helper()
	var missing []string
	for tool, pkg := range map[string]string{"node": "nodejs", "npm": "npm"} {
		if _, err := exec.LookPath(tool); err != nil {
			missing = append(missing, pkg)
		}
	}
	install(t, missing)
}

func install(t *testing.T, missing []string) {
	t.Helper()
	if len(missing) == 0 {
		return
	}
	command := "apt-get install -y " + strings.Join(missing, " ")
	if os.Geteuid() != 0 {
		t.Fatalf("this test needs more; as root: %s", command)
	}
	for _, args := range [][]string{{"update", "-qq"}, append([]string{"install", "-y", "-qq", "--no-install-recommends"}, missing...)} {
		c := exec.CommandContext(t.Context(), "apt-get", args...)
		c.Env = append(os.Environ(), "DEBIAN_FRONTEND=noninteractive")
		if out, err := c.CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", command, err, out)
		}
	}
}

// npmFolder installs the JavaScript libraries, at fixed versions, next to verify.mjs.
func npmFolder(t *testing.T) string {
	t.Helper()
	needNode(t)
	dir := t.TempDir()
	script, err := os.ReadFile("verify.mjs")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "verify.mjs"), script, 0o600); err != nil {
		t.Fatal(err)
	}
	run(t, dir, "npm", "install", "--silent", "--no-audit", "--no-fund", "--ignore-scripts", "--prefix", dir, "jose@6.2.18", "@auth0/cose@1.0.2", "cbor-x@1.6.9")
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
