// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"

	"github.com/urfave/cli/v3"

	api "github.com/molt-snapshotter/molt-snapshotter/snapshotter/api/control/v1"
)

func containerCommand() *cli.Command {
	return &cli.Command{
		Name:  "container",
		Usage: "what containerd has on record of containers",
		Commands: []*cli.Command{{
			Name: "refresh", Usage: "give a container the defaults of another image than it was made from",
			ArgsUsage: "CONTAINER",
			Description: `Variables, command, directory, user and labels that come from the old image are replaced
by those of the new one; what the container has of its own stays. It gets them at its next start. Its files are
not touched: see update. Containers of Kubernetes are refused: kubelet makes them anew.`,
			Flags: []cli.Flag{
				&cli.StringFlag{Name: "from", Usage: "the `IMAGE` whose defaults the container has", Required: true},
				&cli.StringFlag{Name: "to", Usage: "the `IMAGE` whose defaults it gets", Required: true},
				&cli.BoolFlag{Name: "dry-run", Usage: "tell what would change, and change nothing"},
			},
			Action: action(refreshContainer),
		}},
	}
}

func refreshContainer(ctx context.Context, c *cli.Command, client api.ControlClient) error {
	args, err := arguments(c, "CONTAINER")
	if err != nil {
		return err
	}
	r, err := api.Whole(client.RefreshContainer(ctx, &api.RefreshContainerRequest{
		Namespace: c.String("namespace"), Container: args[0], From: c.String("from"), To: c.String("to"),
		DryRun: c.Bool("dry-run"),
	}))
	if err != nil {
		return err
	}
	return printed(c, r, func(t *table) {
		if len(r.GetChanges()) == 0 {
			t.row("nothing to change")
			return
		}
		t.row("WHAT", "NAME", "ACTION", "OLD IMAGE", "NEW IMAGE", "WHY")
		for _, change := range r.GetChanges() {
			t.row(change.GetSubject(), orDash(change.GetName()), change.GetAction(), orDash(change.GetOld()),
				orDash(change.GetNew()), orDash(change.GetWhy()))
		}
	})
}
