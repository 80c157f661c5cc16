// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"net"

	"github.com/containerd/errdefs"
	"github.com/containerd/errdefs/pkg/errgrpc"
	"github.com/urfave/cli/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"

	api "github.com/molt-snapshotter/molt-snapshotter/snapshotter/api/control/v1"
)

// The exit codes, which docs/operations.md lists.
const (
	exitOK       = 0
	exitFailed   = 1
	exitUsage    = 2
	exitHeld     = 3 // storages are held, or would be; nothing else went wrong
	exitNotFound = 4
	exitRefused  = 5 // the state of things does not allow it
	exitNoDaemon = 6
)

var (
	// errNoDaemon is returned when there is nobody who answers.
	errNoDaemon = errors.New("the daemon does not answer")
	// errOtherVersion is returned when the daemon does not have what it is asked for.
	errOtherVersion = errors.New("the daemon is older or newer than moltctl; restart it with the same version")
)

// usageError is bad input on the command line.
type usageError struct{ error }

func usagef(format string, args ...any) error { return usageError{fmt.Errorf(format, args...)} }

func exitCode(err error) int {
	var (
		usage usageError
		short shortfall
	)
	switch {
	case err == nil:
		return exitOK
	case errors.As(err, &short):
		return short.code()
	case errors.Is(err, errNoDaemon):
		return exitNoDaemon
	case errors.As(err, &usage), errdefs.IsInvalidArgument(err):
		return exitUsage
	case errdefs.IsNotFound(err):
		return exitNotFound
	case errdefs.IsFailedPrecondition(err):
		return exitRefused
	}
	return exitFailed
}

// native turns an error of the daemon into one that reads as if it had happened here.
func native(err error) error {
	if _, ok := status.FromError(err); ok {
		return errgrpc.ToNative(err)
	}
	return err
}

func app() *cli.Command {
	return strict(&cli.Command{
		Name:    "moltctl",
		Usage:   "look after the storages of containers, their updates and the layers they stand on",
		Version: version,
		Description: `Exit codes: 0 done, 1 failed or aborted, 2 bad usage, 3 done but storages are held (or would be),
4 not found, 5 refused as things stand, 6 the daemon cannot be reached. Of several, the worst: 1 before 5, 4 and 3.`,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "address", Aliases: []string{"a"}, Usage: "control `SOCKET` of the daemon", Value: "/run/containerd-molt-grpc/control.sock", Sources: cli.EnvVars("MOLT_CONTROL_ADDRESS")},
			&cli.StringFlag{Name: "namespace", Aliases: []string{"n"}, Usage: "containerd `NAMESPACE` in which images are looked up", Value: "default", Sources: cli.EnvVars("CONTAINERD_NAMESPACE")},
			&cli.StringFlag{Name: "format", Usage: "table or json", Value: formatTable, Local: false},
		},
		Commands: []*cli.Command{storageCommand(), updateCommand(), layerCommand(), containerCommand(), graphCommand(), checkCommand(), repairCommand(), backupCommand(), versionCommand()},
		// Errors are told, and turned into exit codes, in one place.
		ExitErrHandler: func(context.Context, *cli.Command, error) {},
	})
}

// strict makes bad usage of a command, and of those below it, a usageError.
func strict(c *cli.Command) *cli.Command {
	c.OnUsageError = func(_ context.Context, _ *cli.Command, err error, _ bool) error { return usageError{err} }
	if c.Action == nil {
		c.Action = func(_ context.Context, c *cli.Command) error {
			if c.Args().Present() {
				return usagef("unknown command %q; see %s --help", c.Args().First(), c.FullName())
			}
			if c.Root() == c {
				return cli.ShowRootCommandHelp(c)
			}
			return cli.ShowSubcommandHelp(c)
		}
	}
	for _, sub := range c.Commands {
		strict(sub)
	}
	return c
}

// action calls fn with a connection to the daemon.
func action(fn func(ctx context.Context, c *cli.Command, client api.ControlClient) error) cli.ActionFunc {
	return func(ctx context.Context, c *cli.Command) error {
		if f := c.String("format"); f != formatTable && f != formatJSON && (!graphFormats[f] || c.Name != graphName) {
			return usagef("format %q: must be table or json; dot and mermaid are for the graph only", f)
		}
		conn, err := connect(c.String("address"))
		if err != nil {
			return err
		}
		err = native(fn(ctx, c, api.NewControlClient(conn)))
		// The daemon itself says, too, that something is unavailable: containerd, for instance.
		if errdefs.IsNotImplemented(err) {
			err = fmt.Errorf("%w (moltctl is %s): %w", errOtherVersion, version, err)
		}
		if errdefs.IsUnavailable(err) && conn.GetState() != connectivity.Ready {
			err = fmt.Errorf("%w at %s; is containerd-molt-grpc running, and are you root? %w", errNoDaemon, c.String("address"), err)
		}
		return errors.Join(err, conn.Close())
	}
}

// connect returns a connection, yet to be made, to the daemon at a socket. A path is no URL: it can have any characters.
func connect(socket string) (*grpc.ClientConn, error) {
	dial := func(ctx context.Context, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}
	return grpc.NewClient("passthrough:///molt", grpc.WithContextDialer(dial), grpc.WithTransportCredentials(insecure.NewCredentials()))
}

// arguments returns the arguments of a command, which must be as many as are named.
func arguments(c *cli.Command, names ...string) ([]string, error) {
	args := c.Args().Slice()
	if len(args) < len(names) {
		return nil, usagef("%s is missing; see %s --help", names[len(args)], c.FullName())
	}
	if len(args) > len(names) {
		return nil, usagef("unexpected argument %q; see %s --help", args[len(names)], c.FullName())
	}
	return args, nil
}

func versionCommand() *cli.Command {
	return &cli.Command{
		Name: "version", Usage: "show the versions of moltctl and of the daemon",
		Action: action(func(ctx context.Context, c *cli.Command, client api.ControlClient) error {
			r, err := client.Version(ctx, &api.VersionRequest{})
			if err != nil {
				return err
			}
			return printed(c, r, func(t *table) {
				t.row("moltctl", version)
				t.row("daemon", r.GetVersion())
				t.row("root", r.GetRoot())
			})
		}),
	}
}
