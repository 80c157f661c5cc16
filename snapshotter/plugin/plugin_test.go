// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package plugin

import (
	"context"
	"io"
	"net"
	"os"
	"path/filepath"
	"testing"

	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/containerd/v2/plugins"
	"github.com/containerd/plugin"
	"github.com/containerd/plugin/registry"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	api "github.com/molt-snapshotter/molt-snapshotter/snapshotter/api/control/v1"
)

// initialize starts a plugin as containerd does, by what was registered.
func initialize(t *testing.T, set *plugin.Set, kind plugin.Type, root string, config any) *plugin.Plugin {
	t.Helper()
	for _, r := range registry.Graph(func(*plugin.Registration) bool { return false }) {
		if r.Type != kind || r.ID != ID {
			continue
		}
		ic := plugin.NewContext(t.Context(), set, map[string]string{plugins.PropertyRootDir: root})
		ic.Config = config
		p := r.Init(ic)
		if err := set.Add(p); err != nil {
			t.Fatal(err)
		}
		return p
	}
	t.Fatalf("no plugin %s of type %s is registered", ID, kind)
	return nil
}

// TestBuiltin: as a builtin, the same snapshotter and the same control API are there, on containerd's own server.
func TestBuiltin(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("mounting overlays needs root")
	}
	root := filepath.Join(t.TempDir(), "molt")
	set := plugin.NewPluginSet()
	p := initialize(t, set, plugins.SnapshotPlugin, root, &Config{OnReturn: "exact", Points: 5})
	instance, err := p.Instance()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if closer, ok := instance.(io.Closer); !ok || closer.Close() != nil {
			t.Error("the snapshotter could not be closed")
		}
	})
	if p.Meta.Exports[plugins.SnapshotterRootDir] != root {
		t.Errorf("the root is not exported: %v", p.Meta.Exports)
	}
	s, ok := instance.(snapshots.Snapshotter)
	if !ok {
		t.Fatalf("%T is no snapshotter", instance)
	}
	if _, err := s.Prepare(t.Context(), "test/1/k", ""); err != nil {
		t.Fatal(err)
	}

	service, err := initialize(t, set, plugins.GRPCPlugin, root, nil).Instance()
	if err != nil {
		t.Fatal(err)
	}
	registered, ok := service.(grpcService)
	if !ok {
		t.Fatalf("%T is no gRPC service", service)
	}
	client := serve(t, registered)
	g, err := api.Whole(client.Graph(context.Background(), &api.GraphRequest{}))
	if err != nil || len(g.GetNodes()) != 1 {
		t.Errorf("the control API shows %v, %v", g, err)
	}
}

func TestBuiltinRefusesBadConfig(t *testing.T) {
	p := initialize(t, plugin.NewPluginSet(), plugins.SnapshotPlugin, t.TempDir(), &Config{OnReturn: "sometimes"})
	if _, err := p.Instance(); err == nil {
		t.Error("an unknown rollback policy was accepted")
	}
}

// grpcService is what containerd takes for a gRPC service.
type grpcService interface{ Register(*grpc.Server) error }

func serve(t *testing.T, service grpcService) api.ControlClient {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "s")
	listener, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	if err := service.Register(server); err != nil {
		t.Fatal(err)
	}
	go server.Serve(listener) //nolint:errcheck // it ends when the server is stopped
	t.Cleanup(server.Stop)
	conn, err := grpc.NewClient("unix://"+socket, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return api.NewControlClient(conn)
}
