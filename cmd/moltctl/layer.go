// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"slices"
	"strings"

	"github.com/urfave/cli/v3"

	api "github.com/molt-snapshotter/molt-snapshotter/snapshotter/api/control/v1"
)

func layerCommand() *cli.Command {
	return &cli.Command{
		Name:  "layer",
		Usage: "the read-only trees that storages stand on",
		Commands: []*cli.Command{
			{Name: "ls", Usage: "list layers", Action: action(listLayers)},
			{
				Name: "merge", Usage: "merge delta layers that no storage stands on with the layer above them",
				Description: "What any container sees stays the same. Layers that containerd knows by name, and layers that a rollback may need, are left as they are.",
				Flags:       []cli.Flag{&cli.BoolFlag{Name: "dry-run", Usage: "tell which layers would be merged first, and change nothing"}},
				Action:      action(mergeLayers),
			},
		},
	}
}

func listLayers(ctx context.Context, c *cli.Command, client api.ControlClient) error {
	if _, err := arguments(c); err != nil {
		return err
	}
	r, err := api.Whole(client.Graph(ctx, &api.GraphRequest{}))
	if err != nil {
		return err
	}
	r.Nodes = slices.DeleteFunc(r.GetNodes(), func(n *api.Node) bool { return n.GetKind() != "layer" })
	layers := &api.GraphResponse{Nodes: r.GetNodes()}
	names, storages := map[uint64][]string{}, map[uint64]int{}
	for _, n := range r.GetNames() {
		if n.GetKind() == "committed" {
			names[n.GetNode()] = append(names[n.GetNode()], short(ownKey(n.GetKey())))
		}
	}
	for _, s := range r.GetStorages() {
		storages[s.GetBase()]++
	}
	return printed(c, layers, func(t *table) {
		t.row("LAYER", "PARENT", "KIND", "SIZE", "STORAGES", "NAME IN CONTAINERD")
		for _, n := range layers.GetNodes() {
			t.row(nodeID(n.GetId()), nodeID(n.GetParent()), kindOf(n), size(n.GetSize()), storages[n.GetId()], orDash(strings.Join(names[n.GetId()], ", ")))
		}
	})
}

// shortDigest is how much of a digest is enough for people.
const shortDigest = 12

// short shortens a digest and leaves other names alone.
func short(name string) string {
	algorithm, digest, ok := strings.Cut(name, ":")
	if !ok || len(digest) <= shortDigest {
		return name
	}
	return algorithm + ":" + digest[:shortDigest]
}

func mergeLayers(ctx context.Context, c *cli.Command, client api.ControlClient) error {
	if _, err := arguments(c); err != nil {
		return err
	}
	r, err := api.Whole(client.MergeLayers(ctx, &api.MergeLayersRequest{DryRun: c.Bool("dry-run")}))
	if err != nil {
		return err
	}
	return printed(c, r, func(t *table) {
		if len(r.GetMerged()) == 0 {
			t.row("nothing to merge")
		}
		for _, p := range r.GetMerged() {
			t.row(nodeID(p.GetLower()), "+", nodeID(p.GetUpper()))
		}
	})
}
