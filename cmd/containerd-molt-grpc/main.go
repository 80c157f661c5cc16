// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

// Command containerd-molt-grpc is molt's daemon: a containerd proxy snapshotter with a control socket.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/urfave/cli/v3"
)

// version is set by the linker.
var version = "dev"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	err := app().Run(ctx, os.Args)
	stop()
	if err != nil {
		fmt.Fprintf(os.Stderr, "containerd-molt-grpc: %v\n", err)
		os.Exit(exitCode(err))
	}
}

// usageError is bad input on the command line, for which moltctl has the same exit code.
type usageError struct{ error }

func exitCode(err error) int {
	if _, bad := errors.AsType[usageError](err); bad {
		return 2
	}
	return 1
}

func app() *cli.Command {
	return strict(&cli.Command{
		Name:    "containerd-molt-grpc",
		Usage:   "containerd proxy snapshotter that updates the base under a container and keeps its state",
		Version: version,
		Description: `The daemon needs root: it prepares overlay mounts and services the files of containers.

A flag goes before its environment variable, that before the config file, that before the default.`,
		Flags:  flags(),
		Action: func(ctx context.Context, c *cli.Command) error { return run(ctx, c, serve) },
		Commands: []*cli.Command{{
			Name:  "config",
			Usage: "show the configuration",
			Commands: []*cli.Command{
				{Name: "default", Usage: "print the defaults, as a config file",
					Action: func(_ context.Context, c *cli.Command) error {
						return defaultConfig().write(c.Root().Writer)
					}},
				{Name: "dump", Usage: "print what is in force, as a config file",
					Action: func(ctx context.Context, c *cli.Command) error {
						return run(ctx, c, func(_ context.Context,
							cfg config) error {
							return cfg.write(c.Root().Writer)
						})
					}},
			},
		}},
	})
}

// strict makes bad usage of a command, and of those below it, a usageError: one line, as all errors are.
func strict(c *cli.Command) *cli.Command {
	c.OnUsageError = func(_ context.Context, _ *cli.Command, err error, _ bool) error { return usageError{err} }
	if c.Action == nil {
		c.Action = func(_ context.Context, c *cli.Command) error {
			if c.Args().Present() {
				return usageError{fmt.Errorf("unknown command %q; see %s --help", c.Args().First(), c.FullName())}
			}
			return cli.ShowSubcommandHelp(c)
		}
	}
	for _, sub := range c.Commands {
		strict(sub)
	}
	return c
}

// run calls fn with the configuration in force.
func run(ctx context.Context, c *cli.Command, fn func(context.Context, config) error) error {
	if c.Args().Present() {
		return usageError{fmt.Errorf("unexpected argument %q; see %s --help", c.Args().First(), c.FullName())}
	}
	cfg, err := load(c)
	if err != nil {
		return err
	}
	return fn(ctx, cfg)
}
