// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

// nobody is a user that is not the daemon's.
const nobody = 65534

// TestPeer: whatever the permissions of a socket have become, only processes of the daemon's own user are answered.
func TestPeer(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root to become another user")
	}
	dir, err := os.MkdirTemp("", "molt") //nolint:usetesting // another user must be able to get there
	must(t, err)
	t.Cleanup(func() { must(t, os.RemoveAll(dir)) })
	must(t, os.Chmod(dir, 0o755))
	address := filepath.Join(dir, "molt.sock")
	listener, err := listen(address)
	must(t, err)
	defer func() { must(t, listener.Close()) }()
	must(t, os.Chmod(address, 0o666))

	refused := make(chan error)
	go func() { refused <- dialAs(nobody, address) }()
	accepted := make(chan net.Conn)
	go func() {
		conn, err := listener.Accept()
		if err != nil {
			t.Error(err)
		}
		accepted <- conn
	}()
	if err := <-refused; !errors.Is(err, io.EOF) {
		t.Errorf("another user was let in: %v", err)
	}
	conn, err := net.Dial("unix", address)
	must(t, err)
	must(t, errors.Join(conn.Close(), (<-accepted).Close()))
}

// dialAs connects as another user, and waits for the other end to say something, or to hang up.
func dialAs(uid int, address string) error {
	runtime.LockOSThread() // and never unlocked: the thread ends with what it has become
	if _, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, uintptr(uid), uintptr(uid), uintptr(uid)); errno != 0 {
		return errno
	}
	fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err != nil {
		return err
	}
	err = unix.Connect(fd, &unix.SockaddrUnix{Name: address})
	if err == nil {
		var n int
		if n, err = unix.Read(fd, make([]byte, 1)); err == nil && n == 0 || errors.Is(err, unix.ECONNRESET) {
			err = io.EOF
		}
	}
	return errors.Join(err, unix.Close(fd))
}
