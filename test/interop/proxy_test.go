package interop

import (
	"crypto/md5" //nolint:gosec // squid's helper wants it
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestAgentThroughProxy has the real agent go to a real signetd through a real HTTP proxy
// (squid), which alone knows where the broker is: over MQTT and over WebSocket. What the proxy
// refuses, the agent says in words that fit, without the password.
func TestAgentThroughProxy(t *testing.T) {
	setUp(t)
	const host = "broker.signet.test" // only the proxy knows it
	programs := build(t, "./broker/cmd/signetd", "./agent/cmd/signet-agent")
	s := serveWith(t, programs, "SIGNET_NAMES="+host+",localhost,127.0.0.1")
	_, mqtt, _ := net.SplitHostPort(s.mqtt)
	_, https, _ := net.SplitHostPort(s.https)
	proxy := squid(t, map[string]string{host: "127.0.0.1"}, mqtt, https)
	at := func(user string) string { return "HTTPS_PROXY=http://" + user + proxy }
	const secret = "open%20sesame"
	for _, broker := range []string{"mqtts://" + host + ":" + mqtt, "wss://" + host + ":" + https + "/mqtt"} {
		agentThrough(t, programs, s, broker, s.env["SIGNET_CA"], at("lamp:"+secret+"@"))
	}
	home := t.TempDir()
	_, closed, _ := net.SplitHostPort(freePort(t))
	for name, c := range map[string]struct {
		broker, environ, want string
	}{
		"no password":      {"wss://" + host + ":" + https, at(""), "it wants a user name and a password"},
		"another password": {"wss://" + host + ":" + https, at("lamp:" + secret + "x@"), "it does not take this user name and password"},
		"another port":     {"wss://" + host + ":" + closed, at("lamp:" + secret + "@"), "it lets nobody through to " + host + ":" + closed},
		"nobody there":     {"wss://nobody.signet.test:" + https, at("lamp:" + secret + "@"), "it does not reach nobody.signet.test"},
		"no proxy there":   {"wss://" + host + ":" + https, "HTTPS_PROXY=http://lamp:" + secret + "@127.0.0.1:" + closed, "connection refused"},
		"no such proxy":    {"wss://" + host + ":" + https, "HTTPS_PROXY=http://lamp:" + secret + "@proxy.invalid:3128", "no such host"},
		"SOCKS":            {"wss://" + host + ":" + https, "HTTPS_PROXY=socks5://lamp:" + secret + "@" + proxy, "its address is no http://host:port"},
		"a free way":       {"wss://" + host + ":" + https, at("lamp:"+secret+"@") + "\nNO_PROXY=" + host, "no such host"},
		"another path":     {"wss://" + host + ":" + https + "/other", at("lamp:" + secret + "@"), "there is none at wss://" + host + ":" + https + "/other"},
	} {
		command := exec.CommandContext(t.Context(), filepath.Join(programs, "signet-agent"), "enroll", "--state", filepath.Join(home, strings.ReplaceAll(name, " ", "-")),
			"--broker", c.broker, "--ca", s.env["SIGNET_CA"], "--pool", "demo", "--name", "lamp", "--token", s.env["SIGNET_ENROLLMENT"])
		command.Env = append([]string{"HOME=" + home}, strings.Split(c.environ, "\n")...)
		out, err := command.CombinedOutput()
		told := string(out)
		if err == nil || !strings.Contains(told, c.want) || !strings.Contains(told, "hint: ") {
			t.Errorf("%s: %v, want %q\n%s", name, err, c.want, told)
		}
		if strings.Contains(told, "sesame") {
			t.Errorf("%s: it tells the password: %s", name, told)
		}
	}
}

// squid runs the proxy: it knows these hosts, and lets the user lamp through to those ports.
func squid(t *testing.T, hosts map[string]string, ports ...string) (addr string) {
	t.Helper()
	dir, addr := t.TempDir(), freePort(t)
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil { //nolint:gosec // squid reads it as another user
			t.Fatal(err)
		}
		return path
	}
	for d := dir; d != "/"; d = filepath.Dir(d) {
		if info, err := os.Stat(d); err == nil && info.Mode().Perm()&0o005 != 0o005 && strings.Contains(d, "TestAgentThroughProxy") {
			if err := os.Chmod(d, 0o755); err != nil { //nolint:gosec // the same
				t.Fatal(err)
			}
		}
	}
	known := ""
	for name, ip := range hosts {
		known += ip + " " + name + "\n"
	}
	users := write("users", fmt.Sprintf("lamp:%x\n", md5.Sum([]byte("open sesame")))) //nolint:gosec // the same
	config := write("squid.conf", fmt.Sprintf(`http_port %s
pid_filename none
pinger_enable off
cache deny all
cache_log /dev/null
access_log none
coredump_dir %s
hosts_file %s
dns_timeout 2 seconds
auth_param basic program /usr/lib/squid/basic_ncsa_auth %s
acl known proxy_auth REQUIRED
acl ports port %s
http_access deny !ports
http_access allow known
http_access deny all
shutdown_lifetime 0 seconds
`, addr, dir, write("hosts", known), users, strings.Join(ports, " ")))
	start(t, nil, "squid", "-N", "-f", config)
	listens(t, addr)
	return addr
}
