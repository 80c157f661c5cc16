// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package tree

import (
	"errors"
	"runtime"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"
)

// without runs a function on a thread of its own where the given system call and the three after it do not exist.
func without(t *testing.T, call uint32, fn func()) {
	t.Helper()
	done := make(chan struct{})
	go func() {
		defer close(done)
		runtime.LockOSThread() // for good: the thread ends with the goroutine
		filter := []unix.SockFilter{
			{Code: unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, K: 0}, // the number of the system call
			{Code: unix.BPF_JMP | unix.BPF_JGE | unix.BPF_K, K: call, Jf: 2},
			{Code: unix.BPF_JMP | unix.BPF_JGE | unix.BPF_K, K: call + 4, Jt: 1},
			{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ERRNO | uint32(unix.ENOSYS)},
			{Code: unix.BPF_RET | unix.BPF_K, K: unix.SECCOMP_RET_ALLOW},
		}
		prog := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
		if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
			t.Errorf("no new privileges: %v", err)
			return
		}
		_, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, 0, uintptr(unsafe.Pointer(&prog)))
		if errno != 0 {
			t.Errorf("seccomp: %v", errno)
			return
		}
		fn()
	}()
	<-done
}

// On kernels without the newest system calls all is the same.
func TestXattrsOfOlderKernels(t *testing.T) {
	stack := buildStack(t, layer{
		"d":   {What: "d", Xattrs: map[string]string{"trusted.overlay.opaque": "y", "trusted.overlay.origin": "o"}},
		"d/f": {What: "fcontent", Xattrs: map[string]string{"user.k": "v", "security.capability": capability()}},
		"l":   {What: "l/none", Xattrs: map[string]string{"trusted.k": "v", "trusted.overlay.overlay.x": ""}},
	}, files("d/hidden", "f"))
	want := readView(t, openView(t, stack...))
	dir := t.TempDir()
	without(t, sysSetxattrat, func() {
		root, err := unix.Open(stack[0], openDirFlags|unix.O_CLOEXEC, 0)
		if err != nil {
			t.Errorf("open: %v", err)
			return
		}
		defer release(root)
		if _, err := attrCall(sysGetxattrat, root, "l", "trusted.k", nil); !errors.Is(err, unix.ENOSYS) {
			t.Errorf("the system call is there: %v", err)
		}
		v := openView(t, stack...)
		sameFacts(t, "read", readView(t, v), want)
		copyAll(t, v, dir)
		if err := Seal(t.Context(), stack[0]); err != nil {
			t.Errorf("Seal: %v", err)
		}
	})
	sameFacts(t, "copied", readView(t, openView(t, dir)), want)
	if got := realXattrs(t, stack[0]+"/d"); got != `trusted.overlay.opaque="y"` {
		t.Errorf("sealed: %s", got)
	}
}
