// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package harness

import (
	"context"
	"fmt"
	"os"
)

// starter starts what belongs to a harness, and knows when it answers.
type starter struct{ h *Harness }

// start writes the configurations, starts the servers and connects to them.
func (s starter) start(ctx context.Context) error {
	// Containers in a user namespace get to their files through these: they may be traversed, but not read.
	for _, dir := range []string{"tmp", "logs", "out", "opt/cni", "opt/cni.d"} {
		if err := os.MkdirAll(s.h.Path(dir), 0o711); err != nil {
			return fmt.Errorf("make directory: %w", err)
		}
	}
	s.h.Snapshotter = s.h.opts.snapshotter
	if s.h.opts.daemonPackage != "" {
		if err := s.startDaemon(ctx); err != nil {
			return err
		}
	}
	if err := s.startContainerd(ctx); err != nil {
		return err
	}
	if s.h.opts.cri {
		return s.startCRI(ctx)
	}
	return nil
}

func (s starter) startDaemon(ctx context.Context) error {
	daemon, err := s.h.tools.build(s.h.opts.daemonPackage, s.h.opts.daemonTags...)
	if err != nil {
		return err
	}
	if s.h.moltctl, err = s.h.tools.build("./cmd/moltctl"); err != nil {
		return err
	}
	s.h.Daemon = &Process{
		name:    "the daemon",
		program: daemon,
		args:    []string{"--config", s.h.Path("daemon.toml")},
		env:     s.h.tools.environment(s.h.opts.daemonEnv...),
		logPath: s.h.Path("logs", "daemon.log"),
		ready:   s.daemonReady,
	}
	if s.h.opts.daemonApart {
		s.h.Daemon.program, s.h.Daemon.args = apart(daemon, s.h.Daemon.args)
	}
	if err := os.WriteFile(s.h.Path("daemon.toml"), []byte(s.daemonConfig()), 0o600); err != nil {
		return fmt.Errorf("configure the daemon: %w", err)
	}
	return s.h.Daemon.Start(ctx)
}

func (s starter) startContainerd(ctx context.Context) error {
	s.h.Containerd = &Process{
		name:    "containerd",
		program: s.h.tools.tool("containerd"),
		args:    []string{"--config", s.h.Path("containerd.toml")},
		env:     s.h.tools.environment(),
		logPath: s.h.Path("logs", "containerd.log"),
		ready:   s.containerdReady,
	}
	if err := os.WriteFile(s.h.Path("containerd.toml"), []byte(s.containerdConfig()), 0o600); err != nil {
		return fmt.Errorf("configure containerd: %w", err)
	}
	return s.h.Containerd.Start(ctx)
}
