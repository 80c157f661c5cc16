// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

// Command containerd-molt-grpc is molt's daemon: a containerd proxy snapshotter with a control socket.
package main

import (
	"context"
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
		os.Exit(1)
	}
}

func app() *cli.Command {
	return &cli.Command{
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
				{Name: "default", Usage: "print the defaults, as a config file", Action: func(_ context.Context, c *cli.Command) error {
					return defaultConfig().write(c.Root().Writer)
				}},
				{Name: "dump", Usage: "print what is in force, as a config file", Action: func(ctx context.Context, c *cli.Command) error {
					return run(ctx, c, func(_ context.Context, cfg config) error { return cfg.write(c.Root().Writer) })
				}},
			},
		}},
	}
}

// run calls fn with the configuration in force.
func run(ctx context.Context, c *cli.Command, fn func(context.Context, config) error) error {
	if c.Args().Present() {
		return fmt.Errorf("unexpected argument %q; see --help", c.Args().First())
	}
	cfg, err := load(c)
	if err != nil {
		return err
	}
	return fn(ctx, cfg)
}
