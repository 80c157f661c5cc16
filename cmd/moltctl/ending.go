// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/containerd/errdefs"
	"github.com/containerd/errdefs/pkg/errgrpc"
	"github.com/urfave/cli/v3"

	"github.com/molt-snapshotter/molt-snapshotter/servicing"
	api "github.com/molt-snapshotter/molt-snapshotter/snapshotter/api/control/v1"
)

// ending counts, over the storages of an update, what people want to look at when it has ended: how much of what, and in how many
// storages.
type ending struct {
	merged, beside, moved, warned amount
}

// amount is how many things there are, in how many storages.
type amount struct{ things, storages int }

func (a *amount) add(things int) {
	if things > 0 {
		a.things += things
		a.storages++
	}
}

// errEnough ends the reading of a report of which the rest is not needed.
var errEnough = errors.New("the rest is not needed")

// take counts what a report says before it comes to its paths.
func (e *ending) take(report io.Reader) error {
	var counts map[servicing.Verdict]int
	warnings := 0
	err := eachField(report, func(name string, dec *json.Decoder) error {
		switch name {
		case "counts":
			return dec.Decode(&counts)
		case "findings":
			return eachElement(dec, func(servicing.CheckFinding) error {
				warnings++
				return nil
			})
		case "paths":
			return errEnough
		}
		return skipValue(dec)
	})
	if err != nil && !errors.Is(err, errEnough) {
		return err
	}
	e.merged.add(counts[servicing.Merge])
	e.beside.add(counts[servicing.Beside])
	e.moved.add(counts[servicing.Relocate])
	e.warned.add(warnings)
	return nil
}

// printEnding says, for people, what an update did besides moving storages, and which command names it.
func printEnding(ctx context.Context, c *cli.Command, client api.ControlClient, u *api.Update) error {
	if c.String("format") == formatJSON {
		return nil
	}
	var e ending
	for _, o := range u.GetOutcomes() {
		if !o.GetReport() || o.GetState() != "applied" {
			continue
		}
		if err := e.fetch(ctx, client, u.GetId(), o.GetStorage()); err != nil {
			return err
		}
	}
	t := newTable(c.Root().Writer)
	return t.end(e.show(t, updateID(u.GetId())))
}

// fetch takes the report on a storage. That there is none any longer is no error.
func (e *ending) fetch(ctx context.Context, client api.ControlClient, id uint64, storage string) error {
	ctx, cancel := context.WithCancel(ctx) // which ends the stream when the rest is not needed
	defer cancel()
	stream, err := client.GetReport(ctx, &api.GetReportRequest{Id: id, Storage: storage})
	if err == nil {
		err = e.take(api.Reader(stream, (*api.GetReportResponse).GetReport))
	}
	if err != nil && !errdefs.IsNotFound(errgrpc.ToNative(err)) {
		return fmt.Errorf("report on storage %q: %w", storage, err)
	}
	return nil
}

func (e *ending) show(t *table, update string) error {
	for _, row := range []struct {
		amount
		one, many string
	}{
		{e.merged, "file holds your changes and the base's", "files hold your changes and the base's"},
		{e.beside, "file is yours, with the new one beside it as *.molt-new", "files are yours, with the new ones beside them as *.molt-new"},
		{e.moved, "path of yours has moved out of the way of the base", "paths of yours have moved out of the way of the base"},
		{e.warned, "warning of the checks", "warnings of the checks"},
	} {
		if row.things == 0 {
			continue
		}
		what := row.many
		if row.things == 1 {
			what = row.one
		}
		where := "1 storage"
		if row.storages > 1 {
			where = fmt.Sprintf("%d storages", row.storages)
		}
		t.row("note:", fmt.Sprintf("%d %s, in %s: moltctl update report %s", row.things, what, where, update))
	}
	return t.err
}
