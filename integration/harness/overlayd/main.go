// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

// Command overlayd serves containerd's own overlay snapshotter in the place of molt's daemon: the same
// configuration file, the same sockets. With it the harness can be tested by itself, and a scenario can show what
// containerd does without molt.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net"
	"os"
	"os/signal"
	"syscall"

	snapshotsapi "github.com/containerd/containerd/api/services/snapshots/v1"
	"github.com/containerd/containerd/v2/contrib/snapshotservice"
	"github.com/containerd/containerd/v2/plugins/snapshots/overlay"
	"github.com/pelletier/go-toml/v2"
	"google.golang.org/grpc"
)

// config is what overlayd needs of the configuration of molt's daemon.
type config struct {
	Root string `toml:"root"`
	GRPC struct {
		Address string `toml:"address"`
	} `toml:"grpc"`
	Control struct {
		Address string `toml:"address"`
	} `toml:"control"`
}

func main() {
	path := flag.String("config", "", "configuration file")
	flag.Parse()
	if err := run(*path); err != nil {
		fmt.Fprintf(os.Stderr, "overlayd: %v\n", err)
		os.Exit(1)
	}
}

func run(path string) error {
	content, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("read configuration: %w", err)
	}
	var c config
	if err := toml.Unmarshal(content, &c); err != nil {
		return fmt.Errorf("parse %s: %w", path, err)
	}
	sn, err := overlay.NewSnapshotter(c.Root)
	if err != nil {
		return fmt.Errorf("open snapshotter: %w", err)
	}
	defer sn.Close()
	snapshotsServer, controlServer := grpc.NewServer(), grpc.NewServer()
	snapshotsapi.RegisterSnapshotsServer(snapshotsServer, snapshotservice.FromSnapshotter(sn))

	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
	defer stop()
	failed := make(chan error, 2)
	go func() { failed <- serve(snapshotsServer, c.GRPC.Address) }()
	go func() { failed <- serve(controlServer, c.Control.Address) }()
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
		snapshotsServer.Stop()
		controlServer.Stop()
		return nil
	}
}

// serve serves on a unix socket; a socket that a killed process left is replaced.
func serve(s *grpc.Server, address string) error {
	if err := os.Remove(address); err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("replace socket: %w", err)
	}
	l, err := net.Listen("unix", address)
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	return s.Serve(l)
}
