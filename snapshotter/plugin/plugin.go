// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

// Package plugin registers molt as a snapshotter built into containerd. Import it for its effect in a containerd of
// your own:
//
//	import _ "github.com/molt-snapshotter/molt-snapshotter/snapshotter/plugin"
package plugin

import (
	"errors"
	"fmt"

	"github.com/containerd/containerd/v2/plugins"
	"github.com/containerd/platforms"
	"github.com/containerd/plugin"
	"github.com/containerd/plugin/registry"
	"google.golang.org/grpc"

	"github.com/molt-snapshotter/molt-snapshotter/snapshotter"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/binding"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/control"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/host"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/state"
)

// ID is the name of the snapshotter in containerd, and of the plugin that serves its control API.
const ID = "molt"

// Config is the section plugins."io.containerd.snapshotter.v1.molt" of containerd's configuration.
type Config struct {
	// RootPath replaces the directory that containerd gives the plugin.
	RootPath string `toml:"root_path"`
	// OnReturn is the rollback policy: carry, exact or refuse; empty for the default.
	OnReturn string `toml:"on_return"`
	// Points is how many states of each storage are kept; 0 for the default.
	Points int `toml:"points"`
}

func init() {
	registry.Register(&plugin.Registration{
		Type:   plugins.SnapshotPlugin,
		ID:     ID,
		Config: &Config{},
		InitFn: initSnapshotter,
	})
	registry.Register(&plugin.Registration{
		Type:     plugins.GRPCPlugin,
		ID:       ID,
		Requires: []plugin.Type{plugins.SnapshotPlugin},
		InitFn:   initControl,
	})
}

func initSnapshotter(ic *plugin.InitContext) (any, error) {
	config, ok := ic.Config.(*Config)
	if !ok {
		return nil, errors.New("invalid molt configuration")
	}
	root := ic.Properties[plugins.PropertyRootDir]
	if config.RootPath != "" {
		root = config.RootPath
	}
	ic.Meta.Platforms = append(ic.Meta.Platforms, platforms.DefaultSpec())
	ic.Meta.Exports = map[string]string{plugins.SnapshotterRootDir: root}
	opts := options(config)
	if config.RootPath == "" {
		opts = append(opts, snapshotter.WithSharedRoot())
	}
	// containerd's services depend on snapshotters, so that they are asked over the socket even from within.
	address := ic.Properties[plugins.PropertyGRPCAddress]
	if address == "" {
		return snapshotter.New(root, opts...)
	}
	h, err := host.New(address, ID)
	if err != nil {
		return nil, err
	}
	s, err := snapshotter.New(root, append(opts, snapshotter.WithHost(h))...)
	if err != nil {
		return nil, errors.Join(err, h.Close())
	}
	go h.WatchTasks(ic.Context, s.Uses().TaskSeen)
	return s, nil
}

func options(config *Config) []snapshotter.Opt {
	retention := state.Retention{Points: snapshotter.DefaultPoints, Age: snapshotter.DefaultAge}
	if config.Points != 0 {
		retention.Points = config.Points
	}
	opts := []snapshotter.Opt{snapshotter.WithRetention(retention)}
	if config.OnReturn != "" {
		opts = append(opts, snapshotter.WithRollbackPolicy(binding.RollbackPolicy(config.OnReturn)))
	}
	return opts
}

// service adds the control API to containerd's own socket.
type service struct{ register func(*grpc.Server) }

// Register implements the interface by which containerd finds gRPC services.
func (s service) Register(server *grpc.Server) error {
	s.register(server)
	return nil
}

func initControl(ic *plugin.InitContext) (any, error) {
	instance, err := ic.GetByID(plugins.SnapshotPlugin, ID)
	if err != nil {
		return nil, fmt.Errorf("find the molt snapshotter: %w", err)
	}
	s, ok := instance.(*snapshotter.Snapshotter)
	if !ok {
		return nil, fmt.Errorf("the snapshotter %q is not molt but %T", ID, instance)
	}
	return service{func(server *grpc.Server) {
		control.Register(server, s, "builtin", ic.Properties[plugins.PropertyRootDir])
	}}, nil
}
