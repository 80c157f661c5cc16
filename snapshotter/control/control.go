// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

// Package control serves the control API over a snapshotter. It translates; it decides nothing.
package control

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/containerd/errdefs/pkg/errgrpc"
	"github.com/containerd/log"
	"google.golang.org/grpc"

	"github.com/molt-snapshotter/molt-snapshotter/dag"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/tree"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter"
	api "github.com/molt-snapshotter/molt-snapshotter/snapshotter/api/control/v1"
)

// Service implements the control API.
type Service struct {
	api.UnimplementedControlServer
	snapshotter *snapshotter.Snapshotter
	version     string
	root        string
	containers  Containers // nil if there is no containerd to ask
}

// Register adds the control API over a snapshotter to a server.
func Register(server grpc.ServiceRegistrar, s *snapshotter.Snapshotter, version, root string, opts ...Option) {
	service := &Service{snapshotter: s, version: version, root: root}
	for _, opt := range opts {
		opt(service)
	}
	api.RegisterControlServer(server, service)
}

// Version tells which version of molt serves which root.
func (s *Service) Version(context.Context, *api.VersionRequest) (*api.VersionResponse, error) {
	return &api.VersionResponse{Version: s.version, Root: s.root}, nil
}

// Graph returns everything.
func (s *Service) Graph(ctx context.Context, _ *api.GraphRequest) (*api.GraphResponse, error) {
	images, err := s.snapshotter.Images(ctx)
	if err != nil {
		log.G(ctx).WithError(err).Warn("the graph is shown without the names of images")
	}
	r := &api.GraphResponse{}
	s.snapshotter.Graph(func(g *dag.Graph) {
		r.Nodes = each(g.Nodes(), func(n dag.Node) *api.Node {
			shown := node(n)
			shown.Images = images[n.Origin]
			return shown
		})
		r.Names = each(g.Names(), name)
		r.Storages = each(g.Storages(), func(st dag.Storage) *api.Storage { return storage(g, st) })
		r.Updates = each(g.Updates(), update)
	})
	return r, nil
}

// ListStorages returns the storages by name.
func (s *Service) ListStorages(_ context.Context, req *api.ListStoragesRequest) (*api.ListStoragesResponse, error) {
	r := &api.ListStoragesResponse{}
	s.snapshotter.Graph(func(g *dag.Graph) {
		for _, st := range g.Storages() {
			if !st.Anonymous || req.GetAnonymous() {
				r.Storages = append(r.Storages, storage(g, st))
			}
		}
	})
	return r, nil
}

// GetStorage returns a storage with its nodes measured.
func (s *Service) GetStorage(ctx context.Context, req *api.GetStorageRequest) (*api.GetStorageResponse, error) {
	full, err := s.resolve(req.GetName())
	if err != nil {
		return nil, errgrpc.ToGRPC(err)
	}
	r := &api.GetStorageResponse{}
	s.snapshotter.Graph(func(g *dag.Graph) {
		st, _ := g.Storage(full)
		r.Storage = storage(g, st)
		for _, id := range append(g.Stack(st.Head), g.Chain(g.Base(st))...) {
			n, _ := g.Node(id)
			r.Nodes = append(r.Nodes, node(n))
		}
		for _, u := range g.Updates() {
			if _, ok := u.Outcomes[full]; ok {
				r.Updates = append(r.Updates, update(u))
			}
		}
	})
	for _, n := range r.GetNodes() {
		if n.GetSize() > 0 {
			continue
		}
		// One that is lost, was merged in the meantime, or holds something odd must not keep anybody from seeing the
		// others.
		n.Size, n.Inodes, err = s.snapshotter.NodeUsage(ctx, dag.NodeID(n.GetId()))
		switch {
		case ctx.Err() != nil:
			return nil, errgrpc.ToGRPC(ctx.Err())
		case err != nil && !errdefs.IsNotFound(err):
			entry := log.G(ctx).WithError(err).WithField("storage", full)
			entry.Warn("failed to measure a node of a storage; its size is not shown")
		}
	}
	return r, nil
}

// kindNames are what people call the kinds of files.
var kindNames = map[tree.Kind]string{
	tree.Regular: "file", tree.Directory: "directory", tree.Symlink: "link",
	tree.CharDevice: "device", tree.BlockDevice: "device", tree.FIFO: "fifo", tree.Socket: "socket",
}

// DiffStorage streams what a storage says about each path.
func (s *Service) DiffStorage(req *api.DiffStorageRequest, stream grpc.ServerStreamingServer[api.DiffStorageResponse]) error {
	full, err := s.resolve(req.GetName())
	if err != nil {
		return errgrpc.ToGRPC(err)
	}
	err = s.snapshotter.Diff(stream.Context(), full, func(c tree.Change, node dag.NodeID) error {
		d := &api.DiffStorageResponse{Path: []byte(c.Path), Kind: "deleted", Opaque: c.Opaque, Node: uint64(node)}
		if !c.Deleted {
			d.Kind, d.Size = kindNames[c.Kind], c.Size
		}
		return stream.Send(d)
	})
	return errgrpc.ToGRPC(err)
}

// RemoveStorage ends a storage, which must be named in full: when it is gone already, the same parts of a name may well be
// those of another one.
func (s *Service) RemoveStorage(ctx context.Context, req *api.RemoveStorageRequest) (*api.RemoveStorageResponse, error) {
	err := s.snapshotter.RemoveStorage(ctx, req.GetName(), assumeFree(req)...)
	return &api.RemoveStorageResponse{}, errgrpc.ToGRPC(err)
}

// ForkStorage begins a storage that has what another one has now.
func (s *Service) ForkStorage(ctx context.Context, req *api.ForkStorageRequest) (*api.ForkStorageResponse, error) {
	source, err := s.resolve(req.GetSource())
	if err != nil {
		return nil, errgrpc.ToGRPC(err)
	}
	if s.anonymous(source) {
		return nil, errgrpc.ToGRPC(fmt.Errorf("storage %q has no name of its own and cannot be forked: %w", source, errdefs.ErrFailedPrecondition))
	}
	namespace, _, _ := strings.Cut(source, "/")
	target, err := snapshotter.StorageName(namespace, strings.Split(req.GetTarget(), "/")...)
	if err == nil {
		err = s.snapshotter.Fork(ctx, source, target, assumeFree(req)...)
	}
	return &api.ForkStorageResponse{Name: target}, errgrpc.ToGRPC(err)
}

// assumeFree returns what the operator says of a storage being in use.
func assumeFree(req interface{ GetAssumeFree() bool }) []snapshotter.UseOpt {
	if req.GetAssumeFree() {
		return []snapshotter.UseOpt{snapshotter.AssumeFree()}
	}
	return nil
}

// MergeLayers merges the delta layers that no storage stands on.
func (s *Service) MergeLayers(ctx context.Context, req *api.MergeLayersRequest) (*api.MergeLayersResponse, error) {
	pairs, err := s.snapshotter.MergeableLayers(), error(nil)
	if !req.GetDryRun() {
		pairs, err = s.snapshotter.MergeLayers(ctx)
	}
	r := &api.MergeLayersResponse{Merged: each(pairs, func(p dag.Pair) *api.MergeLayersResponse_Pair {
		return &api.MergeLayersResponse_Pair{Lower: uint64(p.Lower), Upper: uint64(p.Upper)}
	})}
	return r, errgrpc.ToGRPC(err)
}

// resolve finds a storage by its full name, or by parts of it that are unique. A storage without a name of its
// own is found by its container.
func (s *Service) resolve(given string) (string, error) {
	if given == "" {
		return "", fmt.Errorf("a storage must be named: %w", errdefs.ErrInvalidArgument)
	}
	var matches, named []string
	exact := false
	s.snapshotter.Graph(func(g *dag.Graph) {
		_, exact = g.Storage(given)
		for _, st := range g.Storages() {
			if strings.Contains(st.Name+"/", "/"+given+"/") {
				matches = append(matches, st.Name)
				if !st.Anonymous {
					named = append(named, st.Name)
				}
			}
		}
	})
	switch {
	case exact:
		return given, nil
	case len(named) == 1:
		return named[0], nil
	case len(matches) == 1:
		return matches[0], nil
	case len(matches) == 0:
		return "", fmt.Errorf("storage %q: %w", given, errdefs.ErrNotFound)
	}
	return "", fmt.Errorf("storage %q could be any of %s: %w", given, strings.Join(matches, ", "), errdefs.ErrInvalidArgument)
}

// anonymous reports whether a storage has no name of its own.
func (s *Service) anonymous(name string) (anonymous bool) {
	s.snapshotter.Graph(func(g *dag.Graph) {
		st, _ := g.Storage(name)
		anonymous = st.Anonymous
	})
	return anonymous
}

// resolveAll resolves several names, and tells of every one that cannot be.
func (s *Service) resolveAll(given []string) ([]string, error) {
	var (
		names []string
		errs  []error
	)
	for _, g := range given {
		full, err := s.resolve(g)
		names, errs = append(names, full), append(errs, err)
	}
	return names, errors.Join(errs...)
}
