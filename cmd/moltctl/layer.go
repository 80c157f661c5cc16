// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
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
				Description: `What any container sees stays the same. Layers that containerd knows by name, and layers
that a rollback may need, are left as they are; the reasons are shown. The daemon merges delta layers by itself
some time after nothing needs them.`,
				Flags: []cli.Flag{&cli.BoolFlag{
					Name: "dry-run", Usage: "show which layers would be merged first, and change nothing",
				}},
				Action: action(mergeLayers),
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
	r.Nodes = slices.DeleteFunc(r.GetNodes(),
		func(n *api.Node) bool { return n.GetKind() != api.NodeKind_NODE_KIND_LAYER })
	layers := &api.GraphResponse{Nodes: r.GetNodes()}
	names, storages := map[uint64][]string{}, map[uint64]int{}
	for _, n := range r.GetNames() {
		if n.GetKind() == api.NameKind_NAME_KIND_COMMITTED {
			names[n.GetNode()] = append(names[n.GetNode()], short(ownKey(n.GetKey())))
		}
	}
	for _, s := range r.GetStorages() {
		storages[s.GetBase()]++
	}
	return printed(c, layers, func(t *table) {
		t.row("LAYER", "PARENT", "KIND", "SIZE", "STORAGES", "NAME IN CONTAINERD")
		for _, n := range layers.GetNodes() {
			t.row(nodeID(n.GetId()), nodeID(n.GetParent()), kindOf(n), size(n.GetSize()), storages[n.GetId()],
				orDash(strings.Join(names[n.GetId()], ", ")))
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
			t.row(pair(p))
		}
		printKept(t, r.GetKept())
	})
}

func pair(p interface {
	GetLower() uint64
	GetUpper() uint64
}) string {
	return nodeID(p.GetLower()) + " + " + nodeID(p.GetUpper())
}

// printKept says why layers are not merged: a row for each reason. Base layers, which never are, are only counted.
func printKept(t *table, kept []*api.MergeLayersResponse_Kept) {
	base, rows := 0, 0
	for _, k := range kept {
		reasons := k.GetReasons()
		if len(reasons) == 1 && reasons[0].GetCode() == baseLayer {
			base++
			continue
		}
		if rows == 0 {
			t.row()
			t.row("LAYERS", "NOT MERGED BECAUSE")
		}
		layers := pair(k)
		for _, why := range whyNot(k) {
			t.row(layers, why)
			layers = ""
			rows++
		}
	}
	if base > 0 {
		t.row()
		t.row(fmt.Sprintf("pairs with a base layer below, which are never merged: %d", base))
	}
}

// baseLayer is the code of the reason for layers of images.
const baseLayer = "base-layer"

// whyNot writes the reasons why two layers are not merged. That containerd knows a layer by a key is not said where
// images or containers that have the key are.
func whyNot(k *api.MergeLayersResponse_Kept) (all []string) {
	holders := map[uint64]bool{}
	for _, r := range k.GetReasons() {
		holders[r.GetNode()] = holders[r.GetNode()] || r.GetCode() == "key"
	}
	for _, r := range k.GetReasons() {
		if r.GetCode() == "named" && len(r.GetImages()) == 0 && holders[r.GetNode()] {
			continue
		}
		all = append(all, reasonText(r))
	}
	if k.GetMore() > 0 {
		all = append(all, fmt.Sprintf("and %d more", k.GetMore()))
	}
	return all
}

func reasonText(r *api.MergeLayersResponse_Reason) string {
	node, update := nodeID(r.GetNode()), updateID(r.GetUpdate())
	switch r.GetCode() {
	case "named":
		name := strings.Join(r.GetImages(), ", ")
		if name == "" {
			name = "snapshot " + short(r.GetKey())
		}
		if r.GetNamespace() != "" {
			name += " in namespace " + r.GetNamespace()
		}
		return node + " is " + name
	case "key":
		return node + " is named by " + holderOf(r)
	case "storage":
		return holderOf(r) + " stands on " + node
	case "rollback-point":
		return fmt.Sprintf("%s is the rollback point of %s (%s)", node, holderOf(r), update)
	case "set-aside":
		return fmt.Sprintf("a state of %s on %s was set aside by the rollback of %s", holderOf(r), node, update)
	case "update":
		return fmt.Sprintf("%s of %s is under way", update, node)
	case "layer":
		return node + " stands on it, too"
	case "damaged":
		return node + " is damaged"
	case baseLayer:
		return node + " is a base layer"
	case "put-off":
		return r.GetDetail()
	}
	return r.GetCode()
}

// holderOf names what keeps a layer: a storage by its name, a container, or another key.
func holderOf(r *api.MergeLayersResponse_Reason) string {
	switch {
	case r.GetStorage() != "":
		return r.GetStorage()
	case r.GetContainer() != "":
		return "container " + r.GetContainer()
	}
	return "snapshot " + short(r.GetKey())
}
