// Package kernel gives tests what only a kernel has, and decides what becomes of a
// test where it doesn't give it.
//
// It belongs in no program.
package kernel

import (
	"errors"
	"os"
	"syscall"
	"testing"
)

// Lacks ends a test to which the kernel said err when asked for what. A kernel that
// has no such thing, or a user who may not have it, is a reason to skip. But root in
// CI (CI=true) has every right, and a test that skips there proves nothing for ever
// without anyone's noticing: it fails.
func Lacks(t testing.TB, what string, err error) {
	t.Helper()
	if mayLack(err, os.Geteuid() == 0, os.Getenv("CI") == "true") {
		t.Skipf("%s: %v", what, err)
	}
	t.Fatalf("%s: %v: in CI, root must be allowed this (in a container: CAP_SYS_ADMIN, no seccomp filter for it)", what, err)
}

func mayLack(err error, root, ci bool) bool {
	for _, missing := range []error{syscall.ENOSYS, syscall.EOPNOTSUPP, syscall.ENODEV} {
		if errors.Is(err, missing) {
			return true
		}
	}
	return !root || !ci
}

// SmallDisk mounts a disk of size, such as 2m, at the folder dir until the test ends.
func SmallDisk(t testing.TB, dir, size string) {
	t.Helper()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size="+size+",mode=700"); err != nil {
		Lacks(t, "mounting a disk", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			t.Errorf("unmount %s: %v", dir, err)
		}
	})
}
