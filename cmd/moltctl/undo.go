// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"

	"github.com/containerd/errdefs"
	"github.com/urfave/cli/v3"

	api "github.com/molt-snapshotter/molt-snapshotter/snapshotter/api/control/v1"
)

const (
	discardFlag = "discard"
	withNewFlag = "with-new"
)

func rollbackCommand(storages, dryRun cli.Flag) *cli.Command {
	return &cli.Command{
		Name: "rollback", Usage: "undo an update", ArgsUsage: "UPDATE",
		Description: `The storages return to exactly what they were. What was written since is set aside,
carried over with --carry, or deleted with --discard. Without --storage, no new container is given the new base
because of the update any more, and the storages that were begun on that base are listed; --with-new updates
them to the old base, with what was written in them.`,
		Flags: []cli.Flag{
			storages, dryRun, assumeFree(),
			&cli.BoolFlag{Name: "carry", Usage: "carry over what was written since the update"},
			&cli.BoolFlag{Name: discardFlag, Usage: "delete what was written since, and the delta storage, at once"},
			&cli.BoolFlag{Name: withNewFlag, Usage: "also take back the storages that were begun on the new base"},
		},
		Action: action(rollbackUpdate),
	}
}

func storageRollbackCommand() *cli.Command {
	return &cli.Command{
		Name: "rollback", Usage: "undo the last update of a storage", ArgsUsage: "STORAGE",
		Description: `The same as moltctl update rollback --storage for the last update whose state before is
kept; moltctl storage history shows these states.`,
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "dry-run", Usage: "show what would happen, and change nothing"}, assumeFree(),
			&cli.BoolFlag{Name: "carry", Usage: "carry over what was written since the update"},
			&cli.BoolFlag{Name: discardFlag, Usage: "delete what was written since, and the delta storage, at once"},
		},
		Action: action(rollbackStorage),
	}
}

func rollbackStorage(ctx context.Context, c *cli.Command, client api.ControlClient) error {
	r, err := getStorage(ctx, c, client)
	if err != nil {
		return err
	}
	name, points := r.GetStorage().GetName(), r.GetStorage().GetPoints()
	if len(points) == 0 {
		return classedError{fmt.Sprintf("storage %q has no state to return to; see moltctl storage history", name),
			errdefs.ErrFailedPrecondition}
	}
	return rollback(ctx, c, client, &api.RollbackUpdateRequest{
		Id: points[len(points)-1].GetUpdate(), Storages: []string{name}, Carry: c.Bool("carry"),
		Discard:    c.Bool(discardFlag),
		AssumeFree: c.Bool(assumeFreeFlag),
	})
}

func cancelCommand(storages cli.Flag) *cli.Command {
	return &cli.Command{
		Name: "cancel", Usage: "withdraw what has not happened of an update, or of its rollback", ArgsUsage: "UPDATE",
		Description: "Storages stay where they are: those that wait for the update, are being serviced, or are " +
			"held, and those that\n" +
			"wait for its rollback. A storage that the update has moved needs rollback, one that was rolled back a " +
			"new update.",
		Flags:  []cli.Flag{storages},
		Action: action(cancelUpdate),
	}
}

func rollbackUpdate(ctx context.Context, c *cli.Command, client api.ControlClient) error {
	id, err := updateArgument(c)
	if err != nil {
		return err
	}
	req := &api.RollbackUpdateRequest{
		Id: id, Storages: c.StringSlice("storage"), Carry: c.Bool("carry"), AssumeFree: c.Bool(assumeFreeFlag),
		Discard: c.Bool(discardFlag), WithNew: c.Bool(withNewFlag),
	}
	return rollback(ctx, c, client, req)
}

// rollback undoes an update, or shows what that would come to.
func rollback(ctx context.Context, c *cli.Command, client api.ControlClient, req *api.RollbackUpdateRequest) error {
	if c.Bool("dry-run") {
		stream, err := client.PreviewRollback(ctx, req)
		return printPreviews(c, stream, err, previewedRollback)
	}
	r, err := api.Whole(client.RollbackUpdate(ctx, req))
	if err != nil {
		return err
	}
	if err := printed(c, r, func(t *table) {
		undoneRows(t, r.GetUndone())
		broughtBack(t, r, req)
	}); err != nil {
		return err
	}
	return left(r.GetUndone(), "not rolled back")
}

// broughtBack says where storages are back, and what became of what was written in them since.
func broughtBack(t *table, r *api.RollbackUpdateResponse, req *api.RollbackUpdateRequest) {
	var back []string
	for _, one := range r.GetUndone() {
		if one.GetFate() == fateRollsBack {
			back = append(back, one.GetStorage())
		}
	}
	if len(back) == 0 {
		return
	}
	since, command := "is set aside", "moltctl storage history "+back[0]
	switch {
	case req.GetCarry():
		since, command = "is carried over", "moltctl storage diff "+back[0]
	case req.GetDiscard():
		since = "is deleted"
	}
	u := r.GetUpdate()
	t.row()
	t.row("note:", fmt.Sprintf("%s back on %s; what was written since %s: %s", storagesCount(len(back)),
		baseName(u.GetFrom(), u.GetFromRef()), since, command))
}

func cancelUpdate(ctx context.Context, c *cli.Command, client api.ControlClient) error {
	id, err := updateArgument(c)
	if err != nil {
		return err
	}
	r, err := api.Whole(client.CancelUpdate(ctx, &api.CancelUpdateRequest{Id: id, Storages: c.StringSlice("storage")}))
	if err != nil {
		return err
	}
	if err := printed(c, r, func(t *table) { undoneRows(t, r.GetUndone()) }); err != nil {
		return err
	}
	return left(r.GetUndone(), "not withdrawn")
}

// undoneRows shows what undoing an update came to.
func undoneRows(t *table, all []*api.Undone) {
	t.row("STORAGE", "RESULT", "WHY")
	for _, one := range all {
		t.row(orDash(one.GetStorage()), fateOf(one), one.GetWhy())
	}
}

// The fates that say more than their name.
const (
	fateRollsBack = "rolled back"
	fateMovedOn   = "moved on"
	fateWaits     = "waits"
	fateAlong     = "taken along"
	fateEnds      = "ends"
)

// fateOf says what became of a storage.
func fateOf(one *api.Undone) string {
	switch one.GetFate() {
	case fateMovedOn:
		return "moved on by " + updateID(one.GetBy())
	case fateAlong:
		if one.GetBy() == 0 { // it would be
			return fateAlong
		}
		return "taken along by " + updateID(one.GetBy())
	case fateWaits:
		return "rollback waits"
	}
	return one.GetFate()
}

// left says for which storages an update stays, nil if for none.
func left(all []*api.Undone, what string) error {
	counted := shortfall{of: len(all)}
	for _, one := range all {
		switch {
		case one.GetFate() == fateEnds: // which is about no storage
			counted.of--
		case one.GetFate() == fateMovedOn:
			counted.add(exitHeld, "moved on by a later update")
		case one.GetCode() != 0:
			counted.addCode(one.GetCode(), what)
		}
	}
	return counted.err()
}
