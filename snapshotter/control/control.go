// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

// Package control serves the control API over a snapshotter. It translates; it decides nothing.
package control

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/containerd/errdefs/pkg/errgrpc"
	"github.com/containerd/log"
	"google.golang.org/grpc"

	"github.com/molt-snapshotter/molt-snapshotter/dag"
	"github.com/molt-snapshotter/molt-snapshotter/servicing"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/tree"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter"
	api "github.com/molt-snapshotter/molt-snapshotter/snapshotter/api/control/v1"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/keys"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/state"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/use"
)

// Service implements the control API.
type Service struct {
	api.UnimplementedControlServer
	snapshotter *snapshotter.Snapshotter
	version     string
	root        string
	containers  Containers // nil if there is no containerd to ask
	lookup      lookup
}

// Register adds the control API over a snapshotter to a server.
func Register(server grpc.ServiceRegistrar, s *snapshotter.Snapshotter, version, root string, opts ...Option) {
	service := &Service{snapshotter: s, version: version, root: root}
	for _, opt := range opts {
		opt(service)
	}
	service.lookup = lookup{snapshotter: s, containers: service.containers}
	api.RegisterControlServer(server, service)
}

// Version tells which version of molt serves which root.
func (s *Service) Version(context.Context, *api.VersionRequest) (*api.VersionResponse, error) {
	return &api.VersionResponse{Version: s.version, Root: s.root}, nil
}

// Graph returns everything.
func (s *Service) Graph(_ *api.GraphRequest, stream streamOf[api.GraphResponse]) error {
	ctx := stream.Context()
	images, err := s.snapshotter.Images(ctx)
	if err != nil {
		log.G(ctx).WithError(err).Warn("the graph is shown without the names of images")
	}
	all := &api.GraphResponse{}
	s.snapshotter.State().Graph(func(g *dag.Graph) {
		all.Nodes = each(g.Nodes(), func(n dag.Node) *api.Node {
			shown := node(n)
			shown.Images = boundedList(images[n.Origin])
			return shown
		})
		all.Names = each(g.Names(), name)
		all.Storages = each(g.Storages(), storages(g))
		all.Updates = each(g.Updates(), updateIn(g))
	})
	return errors.Join(
		sendList(stream, all.GetNodes(),
			func(l []*api.Node) *api.GraphResponse { return &api.GraphResponse{Nodes: l} }),
		sendList(stream, all.GetNames(),
			func(l []*api.Name) *api.GraphResponse { return &api.GraphResponse{Names: l} }),
		sendList(stream, all.GetStorages(), func(l []*api.Storage) *api.GraphResponse {
			return &api.GraphResponse{Storages: l}
		}),
		sendList(stream, updateParts(all.GetUpdates()...), func(l []*api.Update) *api.GraphResponse {
			return &api.GraphResponse{Updates: l}
		}),
	)
}

// ListStorages returns the storages by name.
func (s *Service) ListStorages(req *api.ListStoragesRequest, stream streamOf[api.ListStoragesResponse]) error {
	var (
		list  []*api.Storage
		named []dag.Storage
	)
	s.snapshotter.State().Graph(func(g *dag.Graph) {
		translate := storages(g)
		for _, st := range g.Storages() {
			if (!st.Anonymous || req.GetAnonymous()) && inNamespace(st, req.GetNamespace()) {
				list, named = append(list, translate(st)), append(named, st)
			}
		}
	})
	if req.GetDetails() {
		s.addSeen(stream.Context(), list, named, req.GetMeasure())
	}
	return sendList(stream, list, func(l []*api.Storage) *api.ListStoragesResponse {
		return &api.ListStoragesResponse{Storages: l}
	})
}

// GetStorage returns a storage with its nodes measured.
func (s *Service) GetStorage(req *api.GetStorageRequest, stream streamOf[api.GetStorageResponse]) error {
	full, err := s.lookup.resolve(stream.Context(), req.GetName())
	if err != nil {
		return errgrpc.ToGRPC(err)
	}
	r := &api.GetStorageResponse{}
	var st dag.Storage
	s.snapshotter.State().Graph(func(g *dag.Graph) {
		st, _ = g.Storage(full)
		r.Storage = storages(g)(st)
		for _, id := range append(g.Stack(st.Head), g.Chain(g.Base(st))...) {
			n, _ := g.Node(id)
			r.Nodes = append(r.Nodes, node(n))
		}
		for _, u := range g.Updates() {
			if _, ok := u.Outcomes[full]; ok {
				r.Updates = append(r.Updates, update(g, only(u, full)))
			}
		}
	})
	s.addSeen(stream.Context(), []*api.Storage{r.GetStorage()}, []dag.Storage{st}, true)
	for _, n := range r.GetNodes() {
		if n.GetSize() > 0 {
			continue
		}
		// One that is lost, was merged in the meantime, or holds something odd must not keep anybody from seeing the
		// others.
		size, inodes, err := s.snapshotter.Sizes().Node(stream.Context(), dag.NodeID(n.GetId()))
		switch {
		case stream.Context().Err() != nil:
			return errgrpc.ToGRPC(stream.Context().Err())
		case err != nil && !errdefs.IsNotFound(err):
			entry := log.G(stream.Context()).WithError(err).WithField("storage", full)
			entry.Warn("failed to measure a node of a storage; its size is not shown")
		}
		n.Size, n.Inodes = size, inodes
	}
	if err := stream.Send(&api.GetStorageResponse{Storage: r.GetStorage()}); err != nil {
		return err
	}
	return errors.Join(
		sendList(stream, r.GetNodes(), func(l []*api.Node) *api.GetStorageResponse {
			return &api.GetStorageResponse{Nodes: l}
		}),
		sendList(stream, r.GetUpdates(), func(l []*api.Update) *api.GetStorageResponse {
			return &api.GetStorageResponse{Updates: l}
		}),
	)
}

// only returns an update with the outcomes for some storages alone; all of them if none is named.
func only(u dag.Update, storages ...string) dag.Update {
	if len(storages) == 0 {
		return u
	}
	u.Outcomes = maps.Clone(u.Outcomes)
	maps.DeleteFunc(u.Outcomes, func(name string, _ dag.Outcome) bool { return !slices.Contains(storages, name) })
	return u
}

// kindNames are what people call the kinds of files.
var kindNames = map[tree.Kind]string{
	tree.Regular: "file", tree.Directory: "directory", tree.Symlink: "link",
	tree.CharDevice: "device", tree.BlockDevice: "device", tree.FIFO: "fifo", tree.Socket: "socket",
}

// DiffStorage streams what a storage says about each path.
func (s *Service) DiffStorage(req *api.DiffStorageRequest, stream streamOf[api.DiffStorageResponse]) error {
	full, err := s.lookup.resolve(stream.Context(), req.GetName())
	if err != nil {
		return errgrpc.ToGRPC(err)
	}
	err = s.snapshotter.State().Diff(stream.Context(), full, s.lookup.mountPoints(stream.Context(), full),
		func(c state.Difference) error {
			d := &api.DiffStorageResponse{
				Path: []byte(c.Path), Kind: "deleted", Opaque: c.Opaque, Node: uint64(c.Node), Change: string(c.How),
				MountPoint: c.MountPoint, Own: servicing.MoltsOwn(c.Path),
			}
			if !c.Deleted {
				d.Kind, d.Size = kindNames[c.Kind], c.Size
			}
			return stream.Send(d)
		})
	return errgrpc.ToGRPC(err)
}

// RemoveStorage ends a storage, which must be named in full: when it is gone already, the same parts of a name may well
// be those of another one.
func (s *Service) RemoveStorage(ctx context.Context, req *api.RemoveStorageRequest) (*api.RemoveStorageResponse,
	error) {
	err := s.snapshotter.Storages().Remove(ctx, req.GetName(), assumeFree(req)...)
	return &api.RemoveStorageResponse{}, errgrpc.ToGRPC(err)
}

// ForkStorage begins a storage that has what another one has now.
func (s *Service) ForkStorage(ctx context.Context, req *api.ForkStorageRequest) (*api.ForkStorageResponse, error) {
	source, err := s.lookup.resolve(ctx, req.GetSource())
	if err != nil {
		return nil, errgrpc.ToGRPC(err)
	}
	if s.lookup.anonymous(source) {
		return nil, errgrpc.ToGRPC(fmt.Errorf("storage %q has no name of its own and cannot be forked: %w", source,
			errdefs.ErrFailedPrecondition))
	}
	namespace, name, ok := strings.Cut(req.GetTarget(), "/")
	if !ok {
		err := fmt.Errorf("new storage %q must be named as NAMESPACE/NAME: %w", req.GetTarget(),
			errdefs.ErrInvalidArgument)
		return nil, errgrpc.ToGRPC(err)
	}
	target, err := keys.StorageName(namespace, strings.Split(name, "/")...)
	if err == nil {
		err = s.snapshotter.Storages().Fork(ctx, source, target, assumeFree(req)...)
	}
	return &api.ForkStorageResponse{Name: target}, errgrpc.ToGRPC(err)
}

// assumeFree returns what the operator says of a storage being in use.
func assumeFree(req interface{ GetAssumeFree() bool }) []use.Option {
	if req.GetAssumeFree() {
		return []use.Option{use.AssumeFree()}
	}
	return nil
}
