// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package crash_test

import (
	"cmp"

	"errors"
	"fmt"

	"os"
	"os/exec"
	"path/filepath"
	"runtime"

	"unsafe"

	"golang.org/x/sys/unix"
)

// A victim's system calls are supervised with seccomp's user notification: the kernel asks before each one that changes
// something on disk. The victim itself is not changed by that, and what happens at which call can be repeated.

// calls are the system calls that change what is on disk.
func calls() []uint32 {
	return []uint32{
		unix.SYS_WRITE, unix.SYS_PWRITE64, unix.SYS_FTRUNCATE, unix.SYS_FALLOCATE, unix.SYS_COPY_FILE_RANGE,
		unix.SYS_FSYNC, unix.SYS_FDATASYNC, unix.SYS_SYNCFS, unix.SYS_RENAMEAT, unix.SYS_RENAMEAT2, unix.SYS_MKDIRAT,
		unix.SYS_UNLINKAT, unix.SYS_LINKAT, unix.SYS_SYMLINKAT, unix.SYS_MKNODAT, unix.SYS_FSETXATTR, unix.SYS_SETXATTR,
		unix.SYS_LSETXATTR, unix.SYS_FREMOVEXATTR, unix.SYS_REMOVEXATTR, unix.SYS_LREMOVEXATTR, unix.SYS_FCHOWNAT, unix.SYS_FCHOWN,
		unix.SYS_FCHMODAT, unix.SYS_FCHMOD, unix.SYS_UTIMENSAT,
	}
}

// The instructions of the filter. Opening files is asked about only when that may make one.
const (
	loadNumber  = unix.BPF_LD | unix.BPF_W | unix.BPF_ABS
	equal       = unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K
	anySet      = unix.BPF_JMP | unix.BPF_JSET | unix.BPF_K
	answer      = unix.BPF_RET | unix.BPF_K
	flagsOfOpen = 16 + 2*8 // where the third argument of a system call is; its low half comes first
)

func filter() []unix.SockFilter {
	all := calls()
	program := []unix.SockFilter{{Code: loadNumber, K: 0}}
	for i, call := range all {
		program = append(program, unix.SockFilter{Code: equal, Jt: uint8(len(all) - i + 3), K: call})
	}
	return append(program,
		unix.SockFilter{Code: equal, Jf: 2, K: unix.SYS_OPENAT},
		unix.SockFilter{Code: loadNumber, K: flagsOfOpen},
		unix.SockFilter{Code: anySet, Jt: 1, K: unix.O_CREAT | unix.O_TRUNC},
		unix.SockFilter{Code: answer, K: unix.SECCOMP_RET_ALLOW},
		unix.SockFilter{Code: answer, K: unix.SECCOMP_RET_USER_NOTIF},
	)
}

// listenerFD is where a victim that is to be supervised hands over the right to do so.
const listenerFD = 4

// beFiltered makes this process one that is supervised, and begins it again as a victim.
func beFiltered() error {
	runtime.LockOSThread()
	program := filter()
	filter := unix.SockFprog{Len: uint16(len(program)), Filter: &program[0]}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	listener, _, errno := unix.RawSyscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, unix.SECCOMP_FILTER_FLAG_NEW_LISTENER,
		uintptr(unsafe.Pointer(&filter)))
	if errno != 0 {
		return fmt.Errorf("filter system calls: %w", errno)
	}
	if err := unix.Sendmsg(listenerFD, []byte{0}, unix.UnixRights(int(listener)), nil, 0); err != nil {
		return fmt.Errorf("hand over the filter: %w", err)
	}
	unix.CloseOnExec(int(listener))
	unix.CloseOnExec(listenerFD)
	if err := os.Unsetenv(filterVariable); err != nil {
		return err
	}
	return unix.Exec("/proc/self/exe", os.Args, os.Environ())
}

// supervised is a way to treat the victim at its system calls.
type supervised struct {
	from int        // the first call at which something happens; they are counted from 1
	what unix.Errno // which error it gets; 0 for none: it is killed
	on   bool       // not at that call only, but at all further ones, until a step fails
	// stop has the victim give up when a step fails, as a daemon that is stopped because something is wrong. Otherwise it tries
	// again.
	stop bool
	// flush has only those calls count that put something on disk: what they fail to put there may be there all the same.
	flush bool
	// step is the one from which on calls count.
	step int
	// counted is how many calls there were, when all is over.
	counted *int
	socket  *int
}

// newSupervised returns a supervision without a socket yet.
func newSupervised(s supervised) supervised {
	s.counted, s.socket = new(int), new(int)
	return s
}

func (s supervised) String() string {
	where, what, then := "at", "call", ""
	if s.on {
		where = "from"
	}
	if s.flush {
		what = "flush"
	}
	if s.step > 0 {
		then = fmt.Sprintf(" step %d", s.step)
	}
	if s.stop {
		then += " stop"
	}
	return fmt.Sprintf("%s %s %d %s%s", where, what, s.from, cmp.Or(unix.ErrnoName(s.what), "SIGKILL"), then)
}

func (s supervised) prepare(cmd *exec.Cmd) error {
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	*s.socket = pair[0]
	cmd.Env = append(cmd.Env, filterVariable+"=1")
	cmd.ExtraFiles = append(cmd.ExtraFiles, os.NewFile(uintptr(pair[1]), "filter"))
	return nil
}

func (s supervised) strike(l *life) (err error) {
	defer func() { err = errors.Join(err, unix.Close(*s.socket)) }()
	if err := l.cmd.ExtraFiles[len(l.cmd.ExtraFiles)-1].Close(); err != nil {
		return err
	}
	listener, err := receive(*s.socket)
	if err != nil {
		return err
	}
	defer unix.Close(listener) //nolint:errcheck // it was read
	for {
		ready := []unix.PollFd{{Fd: int32(listener), Events: unix.POLLIN}}
		if _, err := unix.Poll(ready, -1); err != nil && !errors.Is(err, unix.EINTR) {
			return err
		}
		if ready[0].Revents&unix.POLLIN == 0 {
			if ready[0].Revents != 0 {
				return nil // all its threads are gone
			}
			continue
		}
		if dead, err := s.decide(l, listener); dead || err != nil {
			return err
		}
	}
}

func receive(socket int) (int, error) {
	oob := make([]byte, unix.CmsgSpace(4))
	_, n, _, _, err := unix.Recvmsg(socket, make([]byte, 1), oob, unix.MSG_CMSG_CLOEXEC)
	if err != nil {
		return 0, err
	}
	messages, err := unix.ParseSocketControlMessage(oob[:n])
	if err != nil || len(messages) == 0 {
		return 0, errors.Join(errors.New("the victim handed over no filter"), err)
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil {
		return 0, err
	}
	return fds[0], nil
}

// notice and verdict are what the kernel asks and is told: struct seccomp_notif and struct seccomp_notif_resp.
type notice struct {
	id         uint64
	pid, flags uint32
	number     int32
	arch       uint32
	ip         uint64
	args       [6]uint64
}

type verdict struct {
	id    uint64
	value int64
	errno int32
	flags uint32
}

const (
	receiveNotice = 0xc0502100 // SECCOMP_IOCTL_NOTIF_RECV
	sendVerdict   = 0xc0182101 // SECCOMP_IOCTL_NOTIF_SEND
	goOnFlag      = 1          // SECCOMP_USER_NOTIF_FLAG_CONTINUE
)

// decide answers one question of the kernel. It reports true once the victim is killed.
func (s supervised) decide(l *life, listener int) (dead bool, err error) {
	var n notice
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(listener), receiveNotice, uintptr(unsafe.Pointer(&n))); errno != 0 {
		if errno == unix.EINTR || errno == unix.ENOENT {
			return false, nil // the one who asked is gone
		}
		return false, errno
	}
	answer := verdict{id: n.id, flags: goOnFlag}
	if s.counts(l, n) {
		*s.counted++
		switch {
		case *s.counted < s.from || *s.counted > s.from && !s.on:
		case s.what == 0:
			return true, l.cmd.Process.Kill()
		case s.on && l.has(failed):
		case fails(n.number, s.what):
			answer = verdict{id: n.id, errno: -int32(s.what)}
			if err := l.note("system call %d of file %q fails", n.number, target(n)); err != nil {
				return false, err
			}
		}
	}
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(listener), sendVerdict, uintptr(unsafe.Pointer(&answer)))
	if errno != 0 && errno != unix.ENOENT {
		return false, errno
	}
	return false, nil
}

// counts reports whether a call changes something on disk: not if it writes into a pipe, a log or an event.
func (s supervised) counts(l *life, n notice) bool {
	if s.step > 0 && !l.came(s.step) {
		return false
	}
	switch n.number {
	case unix.SYS_FSYNC, unix.SYS_FDATASYNC, unix.SYS_SYNCFS:
		return true
	case unix.SYS_WRITE:
	default:
		return !s.flush
	}
	file := target(n)
	return !s.flush && filepath.IsAbs(file) && file != l.log
}

// target returns the file behind the first argument of a call, if it is one.
func target(n notice) string {
	file, err := os.Readlink(fmt.Sprintf("/proc/%d/fd/%d", n.pid, n.args[0]))
	if err != nil {
		return ""
	}
	return file
}

// fails reports whether a call may fail with an error.
func fails(call int32, what unix.Errno) bool {
	if what == unix.EIO {
		return true
	}
	switch call {
	case unix.SYS_FSYNC, unix.SYS_FDATASYNC, unix.SYS_UNLINKAT, unix.SYS_FCHMOD, unix.SYS_FCHMODAT, unix.SYS_FCHOWN, unix.SYS_FCHOWNAT,
		unix.SYS_UTIMENSAT, unix.SYS_FREMOVEXATTR, unix.SYS_REMOVEXATTR, unix.SYS_LREMOVEXATTR:
		return false
	}
	return true
}
