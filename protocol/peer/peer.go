// Package peer tells who is at the other end of a Unix socket, on the kernel's word
// (SO_PEERCRED, SO_PEERGROUPS), and whether that one may come in. It reads and
// writes nothing. It runs on Linux.
package peer

import (
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"syscall"
	"unsafe"
)

// ErrForbidden is wrapped when the one at the other end may not come in.
var ErrForbidden = errors.New("this user may not ask")

// A peer is who is at the other end of a connection.
type peer struct {
	uid    uint32
	groups []uint32 // the primary one first
}

// Permit lets in root, this process's own user, and members of groups, primary or
// not. Anyone else, and who is not at a Unix socket, is ErrForbidden.
func Permit(conn net.Conn, groups []uint32) error {
	u, ok := conn.(*net.UnixConn)
	if !ok {
		return fmt.Errorf("%w: not a Unix socket", ErrForbidden)
	}
	p, err := peerOf(u)
	if err != nil {
		return fmt.Errorf("%w: %w", ErrForbidden, err)
	}
	if !p.allowed(uint32(os.Getuid()), groups) { //nolint:gosec // uids are 32 bits
		return fmt.Errorf("%w: uid %d is neither root nor this process's user, and in none of the groups", ErrForbidden, p.uid)
	}
	return nil
}

func (p *peer) allowed(own uint32, groups []uint32) bool {
	return p.uid == 0 || p.uid == own || slices.ContainsFunc(p.groups, func(g uint32) bool { return slices.Contains(groups, g) })
}

func peerOf(u *net.UnixConn) (*peer, error) {
	raw, err := u.SyscallConn()
	if err != nil {
		return nil, err
	}
	var p peer
	var sysErr error
	err = raw.Control(func(fd uintptr) {
		var cred *syscall.Ucred
		if cred, sysErr = syscall.GetsockoptUcred(int(fd), syscall.SOL_SOCKET, syscall.SO_PEERCRED); sysErr != nil {
			return
		}
		p.uid, p.groups = cred.Uid, append([]uint32{cred.Gid}, otherGroups(fd)...)
	})
	if err == nil {
		err = sysErr
	}
	return &p, err
}

// soPeerGroups is SO_PEERGROUPS of Linux 4.13 and later, which package syscall
// does not have. It has this number on all of Linux but SPARC and PA-RISC.
const soPeerGroups = 59

// otherGroups gives the peer's supplementary groups as they were when it
// connected; none if the kernel cannot tell, which lets fewer peers in, not more.
func otherGroups(fd uintptr) []uint32 {
	groups := make([]uint32, 64)
	for range 2 {
		size := uint32(len(groups) * 4) //nolint:gosec // at most 64 Ki groups
		_, _, errno := syscall.Syscall6(syscall.SYS_GETSOCKOPT, fd, syscall.SOL_SOCKET, soPeerGroups,
			uintptr(unsafe.Pointer(&groups[0])), uintptr(unsafe.Pointer(&size)), 0)
		switch {
		case errno == 0:
			return groups[:size/4]
		case errno != syscall.ERANGE || size > 4<<16:
			return nil
		}
		groups = make([]uint32, size/4) // the kernel has said how many
	}
	return nil
}
