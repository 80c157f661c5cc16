// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"

	"github.com/urfave/cli/v3"

	api "github.com/molt-snapshotter/molt-snapshotter/snapshotter/api/control/v1"
)

func updateCommand() *cli.Command {
	storages := &cli.StringSliceFlag{Name: "storage", Usage: "only this `STORAGE`; can be given again"}
	dryRun := &cli.BoolFlag{Name: "dry-run", Usage: "tell what would happen, and change nothing; exit code 3 if a storage would be held"}
	return &cli.Command{
		Name:  "update",
		Usage: "move storages from one base to another, and back",
		Commands: []*cli.Command{
			{
				Name: "create", Usage: "update the storages on a base",
				Description: `A stopped container's storage is updated at once, a running one's at its next start. A storage that cannot be
updated is held, with the reasons, and does not stop the others.

   moltctl update create --from app:v1 --to app:v2
   moltctl update create --storage web --to app:v2 --dry-run`,
				Flags: []cli.Flag{
					&cli.StringFlag{Name: "from", Usage: "old `IMAGE` or layer (n12); may be left out when storages are named"},
					&cli.StringFlag{Name: "to", Usage: "new `IMAGE` or layer", Required: true},
					storages, dryRun,
					&cli.BoolFlag{Name: "anonymous", Usage: "also storages of containers that asked for none"},
					&cli.BoolFlag{Name: "all-or-nothing", Usage: "update all the storages or none"},
					&cli.StringSliceFlag{Name: "policy", Usage: "what to do about a kind of conflict, as `KIND=ACTION`; see moltctl storage policy --help"},
					&cli.StringSliceFlag{Name: "pin", Usage: "keep this `PATH` as it is in this update"},
					assumeFree(),
					&cli.BoolFlag{Name: "force", Usage: "update storages that would be held, for instance because the new base is another distribution"},
					&cli.BoolFlag{Name: "detach", Aliases: []string{"d"}, Usage: "do not wait for the storages to be serviced"},
				},
				Action: action(createUpdate),
			},
			{Name: "ls", Usage: "list updates", Action: action(listUpdates)},
			{Name: "inspect", Usage: "show an update, storage by storage", ArgsUsage: "UPDATE", Action: action(inspectUpdate)},
			{
				Name: "report", Usage: "show what an update found and did in a storage", ArgsUsage: "UPDATE [PATH]",
				Description: "With a PATH, all that is known about it, with diffs where it is text that everybody in the container may read.",
				Flags:       []cli.Flag{&cli.StringFlag{Name: "storage", Usage: "`STORAGE`; may be left out when the update has just one"}},
				Action:      action(reportUpdate),
			},
			{
				Name: "rollback", Usage: "undo an update", ArgsUsage: "UPDATE",
				Description: "The storages return to exactly what they were. What was written since is set aside, or carried over with --carry.",
				Flags:       []cli.Flag{storages, dryRun, assumeFree(), &cli.BoolFlag{Name: "carry", Usage: "carry over what was written since the update"}},
				Action:      action(rollbackUpdate),
			},
		},
	}
}

func createUpdate(ctx context.Context, c *cli.Command, client api.ControlClient) error {
	if _, err := arguments(c); err != nil {
		return err
	}
	req := &api.CreateUpdateRequest{
		Namespace: c.String("namespace"), From: c.String("from"), To: c.String("to"), Storages: c.StringSlice("storage"),
		Anonymous: c.Bool("anonymous"), AllOrNothing: c.Bool("all-or-nothing"), Force: c.Bool("force"), AssumeFree: c.Bool(assumeFreeFlag),
	}
	var err error
	if req.Policy, err = parsePolicy(c.StringSlice("policy")); err != nil {
		return err
	}
	for _, path := range c.StringSlice("pin") {
		req.Pin = append(req.Pin, &api.Pin{Path: path, Reason: "pinned for this update"})
	}
	if c.Bool("dry-run") {
		r, err := client.PreviewUpdate(ctx, req)
		if err != nil {
			return err
		}
		return printPreviews(c, r)
	}
	created, err := client.CreateUpdate(ctx, req)
	if err != nil {
		return err
	}
	u := created.GetUpdate()
	if !c.Bool("detach") {
		if u, err = follow(ctx, c, client, u); err != nil {
			return err
		}
	}
	return printUpdate(c, u)
}

// follow waits until the storages of an update are serviced, and tells a person at a terminal how far it is.
func follow(ctx context.Context, c *cli.Command, client api.ControlClient, u *api.Update) (*api.Update, error) {
	stream, err := client.WatchUpdate(ctx, &api.GetUpdateRequest{Id: u.GetId()})
	if err != nil {
		return nil, err
	}
	progress := newProgress(c.Root().ErrWriter)
	defer progress.clear()
	for {
		r, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return u, nil
		}
		if err != nil {
			return nil, err
		}
		u = r.GetUpdate()
		progress.show(u)
	}
}

func listUpdates(ctx context.Context, c *cli.Command, client api.ControlClient) error {
	if _, err := arguments(c); err != nil {
		return err
	}
	r, err := client.ListUpdates(ctx, &api.ListUpdatesRequest{})
	if err != nil {
		return err
	}
	return printed(c, r, func(t *table) {
		t.row("UPDATE", "STATE", "FROM", "TO", "STORAGES", "CREATED")
		for _, u := range r.GetUpdates() {
			t.row(updateID(u.GetId()), u.GetState(), baseName(u.GetFrom(), u.GetFromRef()), baseName(u.GetTo(), u.GetToRef()), tally(u), when(u.GetCreated()))
		}
	})
}

// tally counts the storages of an update by state.
func tally(u *api.Update) string {
	counts, order := map[string]int{}, []string{}
	for _, o := range u.GetOutcomes() {
		if counts[o.GetState()]++; counts[o.GetState()] == 1 {
			order = append(order, o.GetState())
		}
	}
	var parts []string
	for _, state := range order {
		parts = append(parts, fmt.Sprintf("%d %s", counts[state], state))
	}
	return orDash(strings.Join(parts, ", "))
}

func inspectUpdate(ctx context.Context, c *cli.Command, client api.ControlClient) error {
	args, err := arguments(c, "UPDATE")
	if err != nil {
		return err
	}
	id, err := parseUpdate(args[0])
	if err != nil {
		return err
	}
	r, err := client.GetUpdate(ctx, &api.GetUpdateRequest{Id: id})
	if err != nil {
		return err
	}
	if err := printUpdate(c, r.GetUpdate()); !errors.Is(err, errHeld) {
		return err
	}
	return nil
}

// printUpdate prints an update and fails with errHeld when it did not reach all its storages.
func printUpdate(c *cli.Command, u *api.Update) error {
	held := false
	err := printed(c, u, func(t *table) {
		t.row("update", updateID(u.GetId()))
		t.row("from", baseName(u.GetFrom(), u.GetFromRef()))
		t.row("to", baseName(u.GetTo(), u.GetToRef()))
		t.row("state", u.GetState())
		t.row()
		t.row("STORAGE", "STATE", "DELTA STORAGE", "WHY")
		for _, o := range u.GetOutcomes() {
			t.row(o.GetStorage(), o.GetState(), nodeID(o.GetDelta()), strings.Join(o.GetReasons(), "; "))
		}
	})
	for _, o := range u.GetOutcomes() {
		held = held || o.GetState() == "held" || o.GetState() == "aborted"
	}
	if err == nil && held {
		return errHeld
	}
	return err
}

func parseUpdate(arg string) (uint64, error) {
	id, err := strconv.ParseUint(strings.TrimPrefix(arg, "u"), 10, 64)
	if err != nil {
		return 0, usagef("update %q: must be a number as moltctl update ls shows it", arg)
	}
	return id, nil
}

func rollbackUpdate(ctx context.Context, c *cli.Command, client api.ControlClient) error {
	args, err := arguments(c, "UPDATE")
	if err != nil {
		return err
	}
	id, err := parseUpdate(args[0])
	if err != nil {
		return err
	}
	req := &api.RollbackUpdateRequest{
		Id: id, Storages: c.StringSlice("storage"), Carry: c.Bool("carry"), AssumeFree: c.Bool(assumeFreeFlag),
	}
	if c.Bool("dry-run") {
		r, err := client.PreviewRollback(ctx, req)
		if err != nil {
			return err
		}
		return printPreviews(c, r)
	}
	r, err := client.RollbackUpdate(ctx, req)
	if err != nil {
		return err
	}
	if err := printed(c, r, func(t *table) {
		t.row("STORAGE", "STATE", "WHY")
		for _, o := range r.GetUpdate().GetOutcomes() {
			t.row(o.GetStorage(), o.GetState(), strings.Join(o.GetReasons(), "; "))
		}
		for _, f := range r.GetFailures() {
			t.row("failed", f)
		}
	}); err != nil {
		return err
	}
	if len(r.GetFailures()) > 0 {
		return errHeld
	}
	return nil
}
