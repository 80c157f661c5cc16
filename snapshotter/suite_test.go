// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package snapshotter_test

import (
	"context"
	"net"
	"path/filepath"
	"testing"

	snapshotsapi "github.com/containerd/containerd/api/services/snapshots/v1"
	"github.com/containerd/containerd/v2/contrib/snapshotservice"
	"github.com/containerd/containerd/v2/core/metadata"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/core/snapshots/proxy"
	"github.com/containerd/containerd/v2/core/snapshots/testsuite"
	"github.com/containerd/containerd/v2/plugins/content/local"
	"go.etcd.io/bbolt"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/molt-snapshotter/molt-snapshotter/dag"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter"
)

// open returns a snapshotter below root, and what closes it after a look at the invariants of its graph.
func open(root string, opts ...snapshotter.Opt) (*snapshotter.Snapshotter, func() error, error) {
	s, err := snapshotter.New(root, append([]snapshotter.Opt{snapshotter.WithGrace(0)}, opts...)...)
	if err != nil {
		return nil, nil, err
	}
	return s, func() error {
		var violation error
		s.State().Graph(func(g *dag.Graph) { violation = g.Check() })
		if err := s.Close(); err != nil {
			return err
		}
		return violation
	}, nil
}

// The suite of containerd knows exemptions for snapshotters by name; molt's are those of "overlayfs".

func TestSuiteDirect(t *testing.T) {
	requireRoot(t)
	testsuite.SnapshotterSuite(t, "overlayfs", func(_ context.Context, root string) (snapshots.Snapshotter, func() error, error) {
		return open(root)
	})
}

func TestSuiteThroughProxy(t *testing.T) {
	requireRoot(t)
	testsuite.SnapshotterSuite(t, "overlayfs", func(_ context.Context, root string) (snapshots.Snapshotter, func() error, error) {
		s, done, err := open(root)
		if err != nil {
			return nil, nil, err
		}
		p, stop, err := overSocket(s, filepath.Join(root, "s"))
		return p, func() error { stop(); return done() }, err
	})
}

func TestSuiteThroughMetadata(t *testing.T) {
	requireRoot(t)
	testsuite.SnapshotterSuite(t, "overlayfs", func(ctx context.Context, root string) (snapshots.Snapshotter, func() error, error) {
		s, done, err := open(root)
		if err != nil {
			return nil, nil, err
		}
		db, err := bbolt.Open(filepath.Join(root, "meta.db"), 0o600, nil)
		if err != nil {
			return nil, nil, err
		}
		store, err := local.NewStore(filepath.Join(root, "content"))
		if err != nil {
			return nil, nil, err
		}
		meta := metadata.NewDB(db, store, map[string]snapshots.Snapshotter{"molt": s})
		if err := meta.Init(ctx); err != nil {
			return nil, nil, err
		}
		return meta.Snapshotter("molt"), func() error {
			if err := db.Close(); err != nil {
				return err
			}
			return done()
		}, nil
	})
}

// overSocket serves a snapshotter on a socket and returns containerd's client for it.
func overSocket(s snapshots.Snapshotter, socket string) (snapshots.Snapshotter, func(), error) {
	listener, err := net.Listen("unix", socket)
	if err != nil {
		return nil, nil, err
	}
	server := grpc.NewServer()
	snapshotsapi.RegisterSnapshotsServer(server, snapshotservice.FromSnapshotter(s))
	go server.Serve(listener) //nolint:errcheck // it ends when the server is stopped
	conn, err := grpc.NewClient("unix://"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return nil, nil, err
	}
	stop := func() {
		_ = conn.Close()
		server.Stop()
	}
	return proxy.NewSnapshotter(snapshotsapi.NewSnapshotsClient(conn), "molt"), stop, nil
}
