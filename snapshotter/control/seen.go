// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package control

import (
	"context"
	"strings"
	"time"

	"github.com/containerd/errdefs/pkg/errgrpc"
	"github.com/containerd/log"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/molt-snapshotter/molt-snapshotter/dag"
	api "github.com/molt-snapshotter/molt-snapshotter/snapshotter/api/control/v1"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/keys"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/state"
)

// Names is implemented by [Containers] that know what clients call their containers.
type Names interface {
	// Called returns what clients call the containers of this snapshotter, by namespace and snapshot key.
	Called(ctx context.Context) (map[keys.Key]string, error)
}

// Mounting is implemented by [Containers] that know what their containers have mounted.
type Mounting interface {
	// MountPoints returns where the container of a snapshot of this snapshotter has something mounted by its
	// specification; nothing when there is no such container.
	MountPoints(ctx context.Context, key keys.Key) (state.MountPoints, error)
}

// inNamespace reports whether a storage is of a containerd namespace; the empty one stands for all.
func inNamespace(st dag.Storage, namespace string) bool {
	own, _, _ := strings.Cut(strings.TrimPrefix(st.Name, "~"), "/")
	return namespace == "" || own == namespace
}

// addSeen adds to storages what is seen outside of the graph: images, names of containers, mounts and sizes. What
// cannot be seen is left out.
func (s *Service) addSeen(ctx context.Context, list []*api.Storage, storages []dag.Storage, measure bool) {
	images, err := s.snapshotter.Images(ctx)
	if err != nil {
		log.G(ctx).WithError(err).Warn("storages are listed without the names of images")
	}
	called := s.lookup.called(ctx)
	seen := s.snapshotter.Sizes().Occupancies(ctx, storages, measure)
	refs := s.lookup.refs()
	s.snapshotter.State().Graph(func(g *dag.Graph) {
		for i, st := range storages {
			shown, base := list[i], dag.NodeID(list[i].GetBase())
			layer, _ := g.Node(base)
			if names := images[layer.Origin]; layer.Origin != "" && len(names) > 0 {
				shown.Image = names[0]
			} else {
				shown.Image = refs[base]
			}
			shown.Called = called[keys.Parse(st.Key)]
			if shown.Called == "" {
				shown.Called = shown.GetContainer()
			}
			for _, id := range append(g.Stack(st.Head), g.Chain(base)...) {
				n, known := g.Node(id)
				shown.Damaged = shown.GetDamaged() || !known || n.Damage != ""
			}
			o := seen[st.Name]
			shown.Size, shown.Mounted = o.Size, o.Mounted
			if !o.LastUsed.IsZero() {
				shown.LastUsed = timestamppb.New(o.LastUsed)
			}
		}
	})
}

// nameTimeout is how long containerd may take to name its containers.
const nameTimeout = 10 * time.Second

// DiskUsage returns what the state directory holds, by kind.
func (s *Service) DiskUsage(ctx context.Context, _ *api.DiskUsageRequest) (*api.DiskUsageResponse, error) {
	all, unmeasured, err := s.snapshotter.Sizes().DiskUsage(ctx)
	if err != nil {
		return nil, errgrpc.ToGRPC(err)
	}
	return &api.DiskUsageResponse{
		Unmeasured: int64(unmeasured),
		Rows: each(all, func(one state.Space) *api.DiskUsageResponse_Row {
			return &api.DiskUsageResponse_Row{Kind: one.Kind, Count: int64(one.Count), Size: one.Size,
				Reclaimable: one.Reclaimable}
		}),
	}, nil
}
