// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"strings"
	"sync"
	"syscall"

	"github.com/containerd/errdefs"
	"github.com/urfave/cli/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"

	api "github.com/molt-snapshotter/molt-snapshotter/snapshotter/api/control/v1"
)

var (
	// errNoDaemon is returned when nobody answers.
	errNoDaemon = errors.New("the daemon does not answer")
	// errDenied is returned when the daemon may not be called.
	errDenied = errors.New("permission denied")
	// errOtherVersion is returned when the daemon does not have what it is asked for.
	errOtherVersion = errors.New("the daemon is older or newer than moltctl; restart it with the same version")
)

// action calls fn with a connection to the daemon.
func action(fn func(ctx context.Context, c *cli.Command, client api.ControlClient) error) cli.ActionFunc {
	return func(ctx context.Context, c *cli.Command) error {
		if err := checkFormat(c); err != nil {
			return err
		}
		d := &dialer{socket: c.String("address")}
		conn, err := d.connect()
		if err != nil {
			return err
		}
		err = native(fn(ctx, c, api.NewControlClient(conn)))
		// The daemon itself says, too, that something is unavailable: containerd, for instance.
		switch {
		case errdefs.IsNotImplemented(err):
			err = d.misunderstood(ctx, conn, err)
		case errdefs.IsUnavailable(err) && conn.GetState() != connectivity.Ready:
			err = d.unreached(err)
		}
		return errors.Join(err, conn.Close())
	}
}

// checkFormat refuses a format that a command does not have.
func checkFormat(c *cli.Command) error {
	if f := c.String("format"); f != formatTable && f != formatJSON && (!graphFormats[f] || c.Name != graphName) {
		return usagef("format %q: must be table or json; dot and mermaid are for the graph only", f)
	}
	return nil
}

// dialer connects to the socket of the daemon and remembers why that failed.
type dialer struct {
	socket string
	mu     sync.Mutex
	failed error
}

// connect returns a connection, yet to be made, to the daemon. A path is no URL: it can have any characters.
func (d *dialer) connect() (*grpc.ClientConn, error) {
	dial := func(ctx context.Context, _ string) (net.Conn, error) {
		conn, err := new(net.Dialer).DialContext(ctx, "unix", d.socket)
		d.mu.Lock()
		defer d.mu.Unlock()
		d.failed = err
		return conn, err
	}
	return grpc.NewClient("passthrough:///molt", grpc.WithContextDialer(dial),
		grpc.WithTransportCredentials(insecure.NewCredentials()))
}

// unreached says why there is no connection.
func (d *dialer) unreached(err error) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	switch {
	case errors.Is(d.failed, fs.ErrPermission):
		return fmt.Errorf("%w: %s may be used by root only; run moltctl as root", errDenied, d.socket)
	case errors.Is(d.failed, fs.ErrNotExist):
		return fmt.Errorf("%w: there is no socket %s; start containerd-molt-grpc, or give its control.address by "+
			"--address", errNoDaemon, d.socket)
	case errors.Is(d.failed, syscall.ECONNREFUSED):
		return fmt.Errorf("%w: nobody listens at %s any longer; start containerd-molt-grpc", errNoDaemon, d.socket)
	}
	return fmt.Errorf("%w at %s: %w", errNoDaemon, d.socket, err)
}

// forClients is a call that containerd and molt serve to containerd's clients, and that no control socket has.
const forClients = "/containerd.services.snapshots.v1.Snapshots/Stat"

// misunderstood says why a call is not known at the other end: it is not molt's control socket, or of another version.
func (d *dialer) misunderstood(ctx context.Context, conn *grpc.ClientConn, err error) error {
	other := conn.Invoke(ctx, forClients, &emptypb.Empty{}, &emptypb.Empty{})
	switch code := status.Code(other); {
	case code != codes.Unimplemented && code != codes.Unavailable:
		return fmt.Errorf("%s is not molt's control socket: it is one for clients of containerd; "+
			"give the daemon's control.address by --address", d.socket)
	case strings.Contains(err.Error(), "unknown service"):
		return fmt.Errorf("%s is not molt's control socket, or %w (moltctl is %s)", d.socket, errOtherVersion, version)
	}
	return fmt.Errorf("%w (moltctl is %s): %w", errOtherVersion, version, err)
}
