// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	snapshotsapi "github.com/containerd/containerd/api/services/snapshots/v1"
	"github.com/containerd/containerd/v2/contrib/snapshotservice"
	"github.com/containerd/log"
	"github.com/coreos/go-systemd/v22/daemon"
	"google.golang.org/grpc"

	"github.com/molt-snapshotter/molt-snapshotter/snapshotter"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/control"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/host"
)

const (
	// callTimeout bounds every call: containerd's garbage collector sets no limit of its own and would wait for ever.
	// Only calls that service a large storage come near it.
	callTimeout = 30 * time.Minute
	// stopTimeout is how long calls under way may take when the daemon is stopped.
	stopTimeout = 10 * time.Second
)

// serve runs the daemon until the context ends. It unmounts and deletes nothing when it stops.
func serve(ctx context.Context, cfg config) (err error) {
	if os.Geteuid() != 0 {
		return errors.New("root is needed to mount overlays and to read and write the files of all users")
	}
	if err := errors.Join(log.SetLevel(cfg.Log.Level), log.SetFormat(log.OutputFormat(cfg.Log.Format))); err != nil {
		return fmt.Errorf("log: %w", err)
	}
	s, h, err := open(ctx, cfg)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Close(), closed(h)) }()

	failed := make(chan error, 2)
	snapshots, err := answer(cfg.GRPC.Address, failed, func(server *grpc.Server) {
		snapshotsapi.RegisterSnapshotsServer(server, snapshotservice.FromSnapshotter(s))
	})
	if err != nil {
		return err
	}
	defer stop(snapshots)
	controls, err := answer(cfg.Control.Address, failed, func(server *grpc.Server) {
		control.Register(server, s, version, cfg.Root, controlOptions(h)...)
	})
	if err != nil {
		return err
	}
	defer stop(controls)
	log.G(ctx).WithFields(log.Fields{"version": version, "root": cfg.Root, "address": cfg.GRPC.Address,
		"control": cfg.Control.Address}).Info("molt is serving")
	if _, err := daemon.SdNotify(false, daemon.SdNotifyReady); err != nil {
		log.G(ctx).WithError(err).Warn("failed to notify systemd")
	}
	select {
	case err := <-failed:
		return fmt.Errorf("serve: %w", err)
	case <-s.State().Failed():
		return errors.New("serve: the database cannot be written to any more; what is the matter with it is mended " +
			"at the next start")
	case <-ctx.Done():
	}
	log.G(ctx).Info("stopping; containers go on running")
	if _, err := daemon.SdNotify(false, daemon.SdNotifyStopping); err != nil {
		log.G(ctx).WithError(err).Warn("failed to notify systemd")
	}
	return nil
}

// answer serves what register adds to a server at an address. Why it ends is sent to failed.
func answer(address string, failed chan<- error, register func(*grpc.Server)) (*grpc.Server, error) {
	listener, err := listen(address)
	if err != nil {
		return nil, err
	}
	// The database is closed when the servers have stopped: nobody may be at work with it then.
	server := grpc.NewServer(grpc.ChainUnaryInterceptor(bounded), grpc.WaitForHandlers(true))
	register(server)
	go func() { failed <- server.Serve(listener) }()
	return server, nil
}

// controlOptions lets the control API change what its containerd, if there is one, has on record.
func controlOptions(h *host.Host) []control.Option {
	if h == nil {
		return nil
	}
	return []control.Option{control.WithContainers(h)}
}

// closed ends the connection to containerd, if there is one.
func closed(h *host.Host) error {
	if h == nil {
		return nil
	}
	return h.Close()
}

// open opens the snapshotter, connected to its containerd if there is one, which it returns, too.
func open(ctx context.Context, cfg config) (*snapshotter.Snapshotter, *host.Host, error) {
	opts := cfg.options()
	if cfg.Containerd.Address == "" {
		s, err := snapshotter.New(cfg.Root, opts...)
		return s, nil, err
	}
	h, err := host.New(cfg.Containerd.Address, cfg.Containerd.Snapshotter,
		host.WithUnknownLabels(host.UnknownLabels(cfg.Containerd.Unknown)))
	if err != nil {
		return nil, nil, err
	}
	s, err := snapshotter.New(cfg.Root, append(opts, snapshotter.WithHost(h))...)
	if err != nil {
		return nil, nil, errors.Join(err, h.Close())
	}
	go h.WatchTasks(ctx, s.Uses().TaskSeen)
	return s, h, nil
}

// bounded gives every call an end.
func bounded(ctx context.Context, req any, _ *grpc.UnaryServerInfo, handler grpc.UnaryHandler) (any, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	return handler(ctx, req)
}

// stop lets calls under way end, for a while.
func stop(server *grpc.Server) {
	timer := time.AfterFunc(stopTimeout, server.Stop)
	defer timer.Stop()
	server.GracefulStop()
}
