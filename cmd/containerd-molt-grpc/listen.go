// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"syscall"

	"github.com/containerd/log"
	"golang.org/x/sys/unix"
)

// listen makes a socket that only root can use. What another process left at the address is replaced; what is no
// socket, or one on which somebody answers, is not touched. The database keeps a second daemon out, so that would be
// somebody else.
func listen(address string) (net.Listener, error) {
	if err := os.MkdirAll(filepath.Dir(address), 0o711); err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	info, err := os.Lstat(address)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		return nil, fmt.Errorf("listen: %w", err)
	case info.Mode().Type() != fs.ModeSocket:
		return nil, fmt.Errorf("listen: %s exists and is no socket; remove it, or choose another address", address)
	default:
		if err := removeDead(address); err != nil {
			return nil, fmt.Errorf("listen: %w", err)
		}
	}
	config := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		return withDescriptor(c, func(fd int) error { return unix.Fchmod(fd, 0o600) }) // before it can be seen
	}}
	listener, err := config.Listen(context.Background(), "unix", address)
	if err != nil {
		return nil, fmt.Errorf("listen: %w", err)
	}
	return onlyOwner{listener}, nil
}

// removeDead removes a socket on which it is certain that nobody answers.
func removeDead(address string) error {
	conn, err := net.Dial("unix", address)
	switch {
	case err == nil:
		return errors.Join(fmt.Errorf("another process serves %s; choose another address", address), conn.Close())
	case errors.Is(err, unix.ECONNREFUSED):
		return os.Remove(address)
	default: // no descriptor, or a queue that is full
		return fmt.Errorf("find out whether another process serves %s: %w", address, err)
	}
}

// onlyOwner accepts connections of processes of the daemon's own user, whatever becomes of the permissions of the
// socket.
type onlyOwner struct{ net.Listener }

// Accept returns the next connection of such a process. Those of others are closed.
func (l onlyOwner) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		uid, err := peer(conn)
		if err == nil && uid == os.Geteuid() {
			return conn, nil
		}
		log.L.WithError(err).WithField("uid", uid).Warn("refused a connection of another user")
		if err := conn.Close(); err != nil {
			log.L.WithError(err).Debug("failed to close a connection that was refused")
		}
	}
}

// peer returns the user of the process at the other end of a connection.
func peer(conn net.Conn) (uid int, err error) {
	socket, ok := conn.(*net.UnixConn)
	if !ok {
		return -1, fmt.Errorf("a connection of %s has no peer", conn.RemoteAddr().Network())
	}
	raw, err := socket.SyscallConn()
	if err != nil {
		return -1, err
	}
	uid = -1
	err = withDescriptor(raw, func(fd int) error {
		cred, err := unix.GetsockoptUcred(fd, unix.SOL_SOCKET, unix.SO_PEERCRED)
		if err == nil {
			uid = int(cred.Uid)
		}
		return err
	})
	return uid, err
}

// withDescriptor calls fn with the descriptor of a connection.
func withDescriptor(c syscall.RawConn, fn func(fd int) error) error {
	var called error
	err := c.Control(func(fd uintptr) { called = fn(int(fd)) })
	return errors.Join(err, called)
}
