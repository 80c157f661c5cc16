// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package harness

import (
	"context"
	"fmt"
	"net"
	"slices"
	"syscall"
	"time"

	snapshotsapi "github.com/containerd/containerd/api/services/snapshots/v1"
	containerd "github.com/containerd/containerd/v2/client"
	"github.com/containerd/containerd/v2/core/leases"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/core/snapshots/proxy"
	"github.com/containerd/containerd/v2/pkg/namespaces"
	"github.com/containerd/errdefs"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials/insecure"
)

// KillDaemon ends the daemon with SIGKILL.
func (h *Harness) KillDaemon() {
	h.t.Helper()
	h.must(h.Daemon.Kill())
}

// StopDaemon asks the daemon to end (SIGTERM) and waits for it.
func (h *Harness) StopDaemon() {
	h.t.Helper()
	h.must(h.Daemon.Stop())
}

// StartDaemon starts the daemon after KillDaemon or StopDaemon, and returns when it can be reached through
// containerd, whose connection backs off for some seconds after a failure.
func (h *Harness) StartDaemon() {
	h.t.Helper()
	h.must(h.Daemon.Start(h.t.Context()))
	if h.Containerd.Running() {
		h.must(poll(h.Context(), starter{h}.throughContainerd))
	}
}

// DieAt starts the daemon again so that it dies when it comes to a failpoint for the first time. [Harness.Revive]
// follows.
func (h *Harness) DieAt(point string) {
	h.t.Helper()
	h.StopDaemon()
	h.Daemon.env = h.tools.environment(append(slices.Clone(h.opts.daemonEnv), "MOLT_FAILPOINT="+point+":1")...)
	h.StartDaemon()
}

// Revive waits until the daemon has died at a failpoint, and starts it as it was before.
func (h *Harness) Revive() {
	h.t.Helper()
	_ = h.Daemon.Wait(h.t.Context()) // it ends by a signal
	h.Daemon.env = h.tools.environment(h.opts.daemonEnv...)
	h.StartDaemon()
}

// RestartDaemon kills the daemon with SIGKILL and starts it again.
func (h *Harness) RestartDaemon() {
	h.t.Helper()
	h.KillDaemon()
	h.StartDaemon()
}

// KillContainerd ends containerd with SIGKILL; containers go on running.
func (h *Harness) KillContainerd() {
	h.t.Helper()
	h.must(h.Containerd.Kill())
}

// StartContainerd starts containerd after KillContainerd, and returns when it answers.
func (h *Harness) StartContainerd() {
	h.t.Helper()
	h.must(h.Containerd.Start(h.t.Context()))
	if h.cri != nil {
		h.must(poll(h.t.Context(), h.cri.ready))
	}
}

// RestartContainerd kills containerd with SIGKILL and starts it again; containers go on running.
func (h *Harness) RestartContainerd() {
	h.t.Helper()
	h.KillContainerd()
	h.StartContainerd()
}

// Snapshots is containerd's own view of the snapshotter: names, not nodes.
func (h *Harness) Snapshots() snapshots.Snapshotter {
	return h.client.SnapshotService(h.Snapshotter)
}

// CollectGarbage makes containerd remove what nothing refers to any longer, and returns when it has.
func (h *Harness) CollectGarbage() {
	h.t.Helper()
	lease, err := h.client.LeasesService().Create(h.Context(), leases.WithID(h.unique("collect")))
	h.must(err)
	h.must(h.client.LeasesService().Delete(h.Context(), lease, leases.SynchronousDelete))
}

// dialOptions make a client come back soon after a server does, by default it can take many seconds.
func dialOptions() []grpc.DialOption {
	return []grpc.DialOption{
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: 50 * time.Millisecond, Multiplier: 1.5, MaxDelay: time.Second},
			MinConnectTimeout: time.Second,
		}),
	}
}

// daemonReady asks the daemon for its snapshots, and connects to the control socket.
func (s starter) daemonReady(ctx context.Context) error {
	conn, err := grpc.NewClient("unix://"+s.h.SnapshotsSocket(), dialOptions()...)
	if err != nil {
		return fmt.Errorf("connect to the daemon: %w", err)
	}
	defer conn.Close()
	sn := proxy.NewSnapshotter(snapshotsapi.NewSnapshotsClient(conn), s.h.Snapshotter)
	// Any answer will do: containerd's own snapshotters have an error for a store that was never written to.
	err = sn.Walk(namespaces.WithNamespace(ctx, s.h.Namespace),
		func(context.Context, snapshots.Info) error { return nil })
	if errdefs.IsUnavailable(err) || errdefs.IsDeadlineExceeded(err) {
		return fmt.Errorf("ask the daemon: %w", err)
	}
	var d net.Dialer
	control, err := d.DialContext(ctx, "unix", s.h.ControlSocket())
	if err != nil {
		return fmt.Errorf("connect to the control socket: %w", err)
	}
	return control.Close()
}

// containerdReady asks containerd for its version, and connects the client of the harness the first time.
func (s starter) containerdReady(ctx context.Context) error {
	// Without this the client waits for its whole timeout when the socket is not there yet.
	if err := syscall.Access(s.h.ContainerdSocket(), 0); err != nil {
		return fmt.Errorf("look for containerd's socket: %w", err)
	}
	if s.h.client == nil {
		c, err := containerd.New(s.h.ContainerdSocket(), containerd.WithExtraDialOpts(dialOptions()))
		if err != nil {
			return fmt.Errorf("connect to containerd: %w", err)
		}
		s.h.client = c
	}
	if _, err := s.h.client.Version(ctx); err != nil {
		return fmt.Errorf("ask containerd: %w", err)
	}
	return nil
}

// throughContainerd succeeds when containerd reaches the daemon: Walk asks the daemon about each name that
// containerd knows. Without any name, only a new one gets to the daemon.
func (s starter) throughContainerd(ctx context.Context) error {
	names := 0
	for _, namespace := range []string{s.h.Namespace, criNamespace} {
		err := s.h.Snapshots().Walk(namespaces.WithNamespace(ctx, namespace),
			func(context.Context, snapshots.Info) error {
				names++
				return nil
			})
		if err != nil {
			return fmt.Errorf("reach the daemon through containerd: %w", err)
		}
	}
	if names > 0 {
		return nil
	}
	key := s.h.unique("reach")
	if _, err := s.h.Snapshots().Prepare(ctx, key, ""); err != nil {
		return fmt.Errorf("reach the daemon through containerd: %w", err)
	}
	return s.h.Snapshots().Remove(ctx, key)
}
