// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"

	"github.com/urfave/cli/v3"

	api "github.com/molt-snapshotter/molt-snapshotter/snapshotter/api/control/v1"
)

func dfCommand() *cli.Command {
	return &cli.Command{
		Name: "df", Usage: "show what takes how much space in the state directory",
		Description: `Walks what is being written. RECLAIMABLE is free when rollback points end (retention in
the configuration) and the trash is emptied; storages end by moltctl storage rm only.`,
		Action: action(diskUsage),
	}
}

func diskUsage(ctx context.Context, c *cli.Command, client api.ControlClient) error {
	if _, err := arguments(c); err != nil {
		return err
	}
	r, err := client.DiskUsage(ctx, &api.DiskUsageRequest{})
	if err != nil {
		return err
	}
	return printed(c, r, func(t *table) {
		var count, total, reclaimable int64
		t.row("KIND", "COUNT", "SIZE", "RECLAIMABLE")
		for _, row := range r.GetRows() {
			t.row(row.GetKind(), row.GetCount(), size(row.GetSize()), size(row.GetReclaimable()))
			count, total, reclaimable = count+row.GetCount(), total+row.GetSize(), reclaimable+row.GetReclaimable()
		}
		t.row("total", count, size(total), size(reclaimable))
		if n := r.GetUnmeasured(); n > 0 {
			t.row()
			t.row(fmt.Sprintf("not measured: %d nodes; see moltctl check", n))
		}
	})
}
