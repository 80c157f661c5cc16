// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package control

import (
	"errors"

	"github.com/containerd/errdefs/pkg/errgrpc"
	"github.com/containerd/log"

	"github.com/molt-snapshotter/molt-snapshotter/dag"
	api "github.com/molt-snapshotter/molt-snapshotter/snapshotter/api/control/v1"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/keys"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/state"
)

// maxReasons is how many reasons are given for one pair of layers.
const maxReasons = 20

// MergeLayers merges the delta layers that no storage stands on.
func (s *Service) MergeLayers(req *api.MergeLayersRequest, stream streamOf[api.MergeLayersResponse]) error {
	ctx := stream.Context()
	all, err := s.snapshotter.Merger().PlanLayers(), error(nil)
	if !req.GetDryRun() {
		all, err = s.snapshotter.Merger().Layers(ctx)
	}
	if err != nil {
		return errgrpc.ToGRPC(err)
	}
	images, err := s.snapshotter.Images(ctx)
	if err != nil {
		log.G(ctx).WithError(err).Warn("the reasons why layers are not merged are shown without the names of images")
	}
	merged := each(all.Merged, func(p dag.Pair) *api.MergeLayersResponse_Pair {
		return &api.MergeLayersResponse_Pair{Lower: uint64(p.Lower), Upper: uint64(p.Upper)}
	})
	var kept []*api.MergeLayersResponse_Kept
	s.snapshotter.State().Graph(func(g *dag.Graph) {
		for _, p := range all.Kept {
			kept = append(kept, keptPair(g, p, images))
		}
	})
	return errors.Join(
		sendList(stream, merged, func(l []*api.MergeLayersResponse_Pair) *api.MergeLayersResponse {
			return &api.MergeLayersResponse{Merged: l}
		}),
		sendList(stream, kept, func(l []*api.MergeLayersResponse_Kept) *api.MergeLayersResponse {
			return &api.MergeLayersResponse{Kept: l}
		}),
	)
}

func keptPair(g *dag.Graph, p state.KeptPair, images map[string][]string) *api.MergeLayersResponse_Kept {
	kept := &api.MergeLayersResponse_Kept{Lower: uint64(p.Lower), Upper: uint64(p.Upper)}
	if p.Err != nil {
		kept.Reasons = append(kept.Reasons, &api.MergeLayersResponse_Reason{Code: "put-off", Detail: text(p.Err)})
	}
	shown := p.Obstacles[:min(maxReasons, len(p.Obstacles))]
	kept.More = uint32(len(p.Obstacles) - len(shown))
	for _, o := range shown {
		kept.Reasons = append(kept.Reasons, reason(g, o, images))
	}
	return kept
}

func reason(g *dag.Graph, o dag.Obstacle, images map[string][]string) *api.MergeLayersResponse_Reason {
	r := &api.MergeLayersResponse_Reason{
		Code: string(o.Kind), Node: uint64(o.Node), Storage: o.Storage, Update: uint64(o.Update),
	}
	key := o.Key
	if st, ok := g.Storage(o.Storage); ok && st.Anonymous {
		r.Storage, key = "", st.Key
	}
	if key == "" {
		return r
	}
	own := keys.Parse(key)
	r.Namespace, r.Key = own.Namespace, own.Key
	if o.Kind == dag.Named {
		r.Images = boundedList(images[keys.Origin(r.Namespace, r.Key)])
	} else if n, _ := g.Name(key); n.Kind != dag.View {
		r.Container = keys.Container(key)
	}
	return r
}
