// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package host

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"

	"golang.org/x/sys/unix"
)

// Visible reports whether this process sees the one that listens at containerd's socket. The kernel gives the process
// id of the other side as this side's pid namespace has it, which is 0 where that has none.
func (h *Host) Visible(ctx context.Context) (visible bool, err error) {
	var dialer net.Dialer
	conn, err := dialer.DialContext(ctx, "unix", strings.TrimPrefix(h.address, "unix://"))
	if err != nil {
		return false, fmt.Errorf("connect to containerd: %w", err)
	}
	defer func() { err = errors.Join(err, conn.Close()) }()
	socket, ok := conn.(*net.UnixConn)
	if !ok {
		return false, fmt.Errorf("%s is no unix socket", h.address)
	}
	raw, err := socket.SyscallConn()
	if err != nil {
		return false, err
	}
	var (
		peer  *unix.Ucred
		fault error
	)
	err = raw.Control(func(fd uintptr) {
		peer, fault = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	})
	if err != nil {
		return false, err
	}
	if fault != nil {
		return false, fmt.Errorf("ask who listens at %s: %w", h.address, fault)
	}
	return peer.Pid != 0, nil
}
