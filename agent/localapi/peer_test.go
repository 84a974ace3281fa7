package localapi

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// TestMain is also the child: a program of another user that asks the agent.
func TestMain(m *testing.M) {
	path := os.Getenv("LOCALAPI_TEST_ASK")
	if path == "" {
		os.Exit(m.Run())
	}
	reply, err := Call(context.Background(), path, Request{Op: "token"})
	if errors.Is(err, ErrForbidden) {
		fmt.Print("forbidden: ")
	}
	fmt.Print(reply.Token, err)
}

const stranger = 65534 // nobody

// askAs runs this test program as another user.
func askAs(t *testing.T, program, path string, gid uint32, groups ...uint32) string {
	t.Helper()
	cmd := exec.Command(program)
	cmd.Dir = "/"
	cmd.Env = []string{"LOCALAPI_TEST_ASK=" + path}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: stranger, Gid: gid, Groups: groups}}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return string(out)
}

// A program of another user gets nothing, unless it is in one of the groups: as
// its primary one or not.
func TestOtherUsers(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root can become another user")
	}
	dir := openFolder(t)
	program := copySelf(t, dir)
	const group = 4711
	for name, tt := range map[string]struct {
		shared bool
		gid    uint32
		groups []uint32
		want   string
	}{
		"socket of the owner's":   {false, stranger, nil, "forbidden: "},
		"even if in the group":    {false, group, nil, "forbidden: "},
		"no member":               {true, stranger, nil, "forbidden: "},
		"member of other groups":  {true, stranger, []uint32{1, 2, 3}, "forbidden: "},
		"primary group":           {true, group, nil, "secret<nil>"},
		"supplementary group":     {true, stranger, []uint32{7, group}, "secret<nil>"},
		"one of a hundred groups": {true, stranger, append(hundred(), group), "secret<nil>"},
	} {
		t.Run(name, func(t *testing.T) {
			asked := false
			path := filepath.Join(dir, strings.ReplaceAll(name, " ", "-"))
			serveAt(t, path, tt.shared, []uint32{group}, func(context.Context, Request) Reply {
				asked = true
				return Reply{Token: "secret"}
			})
			got := askAs(t, program, path, tt.gid, tt.groups...)
			if !strings.HasPrefix(got, tt.want) || asked != strings.HasPrefix(tt.want, "secret") {
				t.Errorf("%q (handler asked: %t), want %q", got, asked, tt.want)
			}
		})
	}
}

func hundred() (groups []uint32) {
	for i := range uint32(100) {
		groups = append(groups, 5000+i)
	}
	return groups
}

// openFolder makes a folder that any user can enter.
func openFolder(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "la")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// copySelf copies this test program to where any user can run it.
func copySelf(t *testing.T, dir string) string {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	from, err := os.Open(self)
	if err != nil {
		t.Fatal(err)
	}
	defer from.Close()
	path := filepath.Join(dir, "ask")
	to, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY, 0o755)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(to, from); err != nil {
		t.Fatal(err)
	}
	if err := to.Close(); err != nil {
		t.Fatal(err)
	}
	return path
}
