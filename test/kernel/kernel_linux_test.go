package kernel

import (
	"fmt"
	"syscall"
	"testing"
)

func TestMayLack(t *testing.T) {
	for _, c := range []struct {
		err            error
		root, ci, want bool
	}{
		{syscall.EPERM, true, true, false},
		{fmt.Errorf("mount: %w", syscall.EACCES), true, true, false},
		{syscall.ENOMEM, true, true, false},
		{syscall.EPERM, true, false, true},
		{syscall.EPERM, false, true, true},
		{syscall.ENOSYS, true, true, true},
		{fmt.Errorf("mount: %w", syscall.ENODEV), true, true, true},
	} {
		if got := mayLack(c.err, c.root, c.ci); got != c.want {
			t.Errorf("%v, root %v, CI %v: %v", c.err, c.root, c.ci, got)
		}
	}
}
