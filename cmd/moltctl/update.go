// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"strconv"
	"strings"

	"github.com/urfave/cli/v3"

	api "github.com/molt-snapshotter/molt-snapshotter/snapshotter/api/control/v1"
)

const (
	allOrNothingFlag = "all-or-nothing"
	standingFlag     = "standing"
)

func updateCommand() *cli.Command {
	storages := &cli.StringSliceFlag{Name: "storage", Usage: "only this `STORAGE`; can be given again"}
	dryRun := &cli.BoolFlag{
		Name: "dry-run", Usage: "show what would happen, and change nothing; exit code 3 if storages would be held",
	}
	return &cli.Command{
		Name:  "update",
		Usage: "move storages from one base to another, and back",
		Commands: []*cli.Command{
			createCommand(storages, dryRun),
			{Name: "ls", Usage: "list updates", Action: action(listUpdates)},
			{
				Name: "inspect", Usage: "show an update, storage by storage", ArgsUsage: "UPDATE",
				Action: action(inspectUpdate),
				Flags: []cli.Flag{&cli.BoolFlag{Name: "watch", Aliases: []string{"w"},
					Usage: "wait first until no storage is being serviced, and show how far that is"}},
			},
			{
				Name: "report", Usage: "show what an update found and did in a storage", ArgsUsage: "UPDATE [PATH]",
				Description: "With a PATH, all that is known about it, with diffs where it is text that everybody " +
					"in the container may read.\n" +
					"Without --storage, what was found in all storages of the update, each thing once with the " +
					"storages that it is about.",
				Flags: []cli.Flag{&cli.StringFlag{Name: "storage",
					Usage: "`STORAGE`; may be left out when the update has just one"}},
				Action: action(reportUpdate),
			},
			rollbackCommand(storages, dryRun),
			applyCommand(storages),
			cancelCommand(storages),
		},
	}
}

func applyCommand(storages cli.Flag) *cli.Command {
	return &cli.Command{
		Name: "apply", Usage: "move the storages of an update that was announced or staged", ArgsUsage: "UPDATE",
		Description: "Such an update was begun by a layer that was committed; servicing.on_commit in the " +
			"configuration of the daemon\n" +
			"says how far it goes by itself.",
		Flags:  []cli.Flag{storages},
		Action: action(applyUpdate),
	}
}

func createCommand(storages, dryRun cli.Flag) *cli.Command {
	return &cli.Command{
		Name: "create", Usage: "update the storages on a base",
		Description: `A stopped container's storage is updated at once, a running one's at its next start. A
storage that cannot be updated is held, with the reasons, and does not stop the others. Where packages of a
storage need the old version of some packages of its base, these wait and the rest is applied; the exit code is
then 3.

   moltctl update create --from app:v1 --to app:v2
   moltctl update create --storage web --to app:v2 --dry-run`,
		Flags: []cli.Flag{
			&cli.StringFlag{Name: "from", Usage: "old `IMAGE` or layer (n12); may be left out when storages are named"},
			&cli.StringFlag{Name: "to", Usage: "new `IMAGE` or layer", Required: true},
			storages, dryRun,
			&cli.BoolFlag{Name: "anonymous", Usage: "also storages of containers that asked for none"},
			&cli.BoolFlag{
				Name: standingFlag,
				Usage: "also storages that come to stand on the old base later, until the update is rolled back or " +
					"cancelled",
			},
			&cli.BoolFlag{Name: allOrNothingFlag, Usage: "update all the storages or none"},
			&cli.StringSliceFlag{Name: "policy",
				Usage: "what to do about a kind of conflict, as `KIND=ACTION`; see moltctl storage policy --help"},
			&cli.StringSliceFlag{Name: "pin", Usage: "keep this `PATH` as it is in this update"},
			assumeFree(),
			&cli.BoolFlag{Name: "force",
				Usage: "update storages that would be held, for instance because the new base is another distribution"},
			&cli.BoolFlag{Name: "detach", Aliases: []string{"d"}, Usage: "do not wait for the storages to be serviced"},
		},
		Action: action(createUpdate),
	}
}

func createUpdate(ctx context.Context, c *cli.Command, client api.ControlClient) error {
	if _, err := arguments(c); err != nil {
		return err
	}
	req := &api.CreateUpdateRequest{
		Namespace: c.String("namespace"), From: c.String("from"), To: c.String("to"),
		Storages:  c.StringSlice("storage"),
		Anonymous: c.Bool("anonymous"), AllOrNothing: c.Bool(allOrNothingFlag), Force: c.Bool("force"),
		AssumeFree: c.Bool(assumeFreeFlag),
		Standing:   c.Bool(standingFlag),
	}
	var err error
	if req.Policy, err = parsePolicy(c.StringSlice("policy")); err != nil {
		return err
	}
	for _, path := range c.StringSlice("pin") {
		req.Pin = append(req.Pin, &api.Pin{Path: path, Reason: "pinned for this update"})
	}
	if c.Bool("dry-run") {
		if c.Bool("detach") {
			return usagef("--dry-run begins nothing that --detach could leave behind; give one of both")
		}
		stream, err := client.PreviewUpdate(ctx, req)
		return printPreviews(c, stream, err, previewedUpdate)
	}
	created, err := client.CreateUpdate(ctx, req)
	if err != nil {
		return err
	}
	wait := follow
	if c.Bool("detach") {
		wait = func(ctx context.Context, _ *cli.Command, client api.ControlClient, id uint64) (*api.Update, error) {
			return getUpdate(ctx, client, id)
		}
	}
	u, err := wait(ctx, c, client, created.GetId())
	if err != nil {
		return err
	}
	if err := printUpdate(c, u); err != nil {
		return err
	}
	if err := printNotes(ctx, c, client, u); err != nil {
		return err
	}
	return unreached(u)
}

// getUpdate returns an update.
func getUpdate(ctx context.Context, client api.ControlClient, id uint64) (*api.Update, error) {
	r, err := api.Whole(client.GetUpdate(ctx, &api.GetUpdateRequest{Id: id}))
	return r.GetUpdate(), err
}

// follow waits until the storages of an update are serviced, and tells a person at a terminal how far it is.
func follow(ctx context.Context, c *cli.Command, client api.ControlClient, id uint64) (*api.Update, error) {
	progress := newProgress(c.Root().ErrWriter)
	defer progress.clear()
	var (
		u  *api.Update
		at = map[string]int{} // where the outcome for a storage is
	)
	stream, err := client.WatchUpdate(ctx, &api.GetUpdateRequest{Id: id})
	err = api.Each(stream, err, func(part *api.GetUpdateResponse) error {
		outcomes := u.GetOutcomes()
		for _, o := range part.GetUpdate().GetOutcomes() {
			i, known := at[o.GetStorage()]
			if !known {
				i, outcomes = len(outcomes), append(outcomes, nil)
				at[o.GetStorage()] = i
			}
			outcomes[i] = o
		}
		// A part that goes on with the outcomes has no fields of its own.
		if u == nil || part.GetUpdate().GetState() != 0 {
			u = part.GetUpdate()
		}
		u.Outcomes = outcomes
		progress.show(u)
		return nil
	})
	return u, err
}

func listUpdates(ctx context.Context, c *cli.Command, client api.ControlClient) error {
	if _, err := arguments(c); err != nil {
		return err
	}
	t := newTable(c.Root().Writer)
	t.row("UPDATE", "STATE", "FROM", "TO", "STORAGES", "CREATED")
	row := func(u *api.Update) {
		from, to := baseName(u.GetFrom(), u.GetFromRef()), baseName(u.GetTo(), u.GetToRef())
		t.row(updateID(u.GetId()), updateState(u), from, to, tally(u), when(u.GetCreated()))
	}
	// The last update of a part may go on in the next one.
	kept := &api.ListUpdatesResponse{}
	stream, err := client.ListUpdates(ctx, &api.ListUpdatesRequest{})
	return shown(c, stream, err, t, func(part *api.ListUpdatesResponse) {
		api.Append(kept, part)
		last := max(0, len(kept.GetUpdates())-1)
		for _, u := range kept.GetUpdates()[:last] {
			row(u)
		}
		kept.Updates = kept.GetUpdates()[last:]
	}, func() {
		for _, u := range kept.GetUpdates() {
			row(u)
		}
	})
}

func inspectUpdate(ctx context.Context, c *cli.Command, client api.ControlClient) error {
	id, err := updateArgument(c)
	if err != nil {
		return err
	}
	var u *api.Update
	if c.Bool("watch") {
		u, err = follow(ctx, c, client, id)
	} else {
		u, err = getUpdate(ctx, client, id)
	}
	if err != nil {
		return err
	}
	if err := printUpdate(c, u); err != nil {
		return err
	}
	return printMadeSince(c, u)
}

// printUpdate prints an update.
func printUpdate(c *cli.Command, u *api.Update) error {
	return printed(c, u, func(t *table) {
		t.row("update", updateID(u.GetId()))
		t.row("from", baseName(u.GetFrom(), u.GetFromRef()))
		t.row("to", baseName(u.GetTo(), u.GetToRef()))
		t.row("state", updateState(u))
		if len(u.GetOutcomes()) > 1 {
			t.row("storages", tally(u))
		}
		if begun := causes[u.GetCause()]; begun != "" {
			t.row("begun by", begun)
		}
		if u.GetStanding() {
			t.row("standing", "storages that come to stand on the old base are updated, too")
		}
		if u.GetRetracted() {
			t.row("new containers", "are not given the new base: the update was rolled back as a whole")
		}
		t.row()
		t.row("STORAGE", "STATE", "DELTA STORAGE", "WHY")
		for _, o := range u.GetOutcomes() {
			t.row(o.GetStorage(), outcomeState(o), nodeID(o.GetDelta()), outcomeWhy(o))
		}
	})
}

// unreached says which storages an update did not reach, nil if none.
func unreached(u *api.Update) error {
	counted := shortfall{of: len(u.GetOutcomes())}
	for _, o := range u.GetOutcomes() {
		switch o.GetState() {
		case api.State_STATE_HELD:
			counted.add(exitHeld, "held")
		case api.State_STATE_ABORTED:
			counted.add(exitFailed, "aborted")
		case api.State_STATE_APPLIED:
			if o.GetFixesWaiting() > 0 {
				counted.add(exitHeld, "applied but for fixes that wait")
			}
		}
	}
	return counted.err()
}

// updateArgument returns the update that is the only argument of a command.
func updateArgument(c *cli.Command) (uint64, error) {
	args, err := arguments(c, "UPDATE")
	if err != nil {
		return 0, err
	}
	return parseUpdate(args[0])
}

func parseUpdate(arg string) (uint64, error) {
	id, err := strconv.ParseUint(strings.TrimPrefix(arg, "u"), 10, 64)
	if err != nil {
		return 0, usagef("update %q: must be a number as moltctl update ls shows it", arg)
	}
	return id, nil
}

func applyUpdate(ctx context.Context, c *cli.Command, client api.ControlClient) error {
	id, err := updateArgument(c)
	if err != nil {
		return err
	}
	if _, err := client.ApplyUpdate(ctx, &api.ApplyUpdateRequest{Id: id,
		Storages: c.StringSlice("storage")}); err != nil {
		return err
	}
	u, err := follow(ctx, c, client, id)
	if err != nil {
		return err
	}
	if err := printUpdate(c, u); err != nil {
		return err
	}
	return unreached(u)
}
