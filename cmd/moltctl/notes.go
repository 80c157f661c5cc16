// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"

	"github.com/urfave/cli/v3"

	api "github.com/molt-snapshotter/molt-snapshotter/snapshotter/api/control/v1"
)

// printNotes tells people what there is to know of an update beside what it came to for each storage.
func printNotes(ctx context.Context, c *cli.Command, client api.ControlClient, u *api.Update) error {
	if err := printEnding(ctx, c, client, u); err != nil {
		return err
	}
	if err := printDrift(ctx, c, client, u); err != nil {
		return err
	}
	return printMadeSince(c, u)
}

// printMadeSince tells people how many containers were made on the old base after the update began.
func printMadeSince(c *cli.Command, u *api.Update) error {
	since := madeSince(u)
	if since == "" || c.String("format") == formatJSON {
		return nil
	}
	do := fmt.Sprintf("; moltctl update create --%s takes such containers in, too", standingFlag)
	if u.GetStanding() || u.GetRetracted() {
		do = ""
	}
	_, err := fmt.Fprintf(c.Root().Writer, "note: %s%s\n", since, do)
	return err
}

// madeSince says how many containers were made on the old base of an update after it began, empty for none.
func madeSince(u *api.Update) string {
	switch n := u.GetMadeSince(); n {
	case 0:
		return ""
	case 1:
		return "1 container was made on the old base since"
	default:
		return fmt.Sprintf("%d containers were made on the old base since", n)
	}
}

// printDrift names, for people, the storages of an update whose containers ask for another base: the update holds until
// their specification changes.
func printDrift(ctx context.Context, c *cli.Command, client api.ControlClient, u *api.Update) error {
	if c.String("format") == formatJSON {
		return nil
	}
	moved := map[string]string{} // what each container is to be taken to ask for where its storage says nothing
	for _, o := range u.GetOutcomes() {
		switch o.GetState() {
		case api.State_STATE_APPLIED:
			moved[o.GetStorage()] = ""
		case api.State_STATE_PLANNED: // it still stands on what it asks for
			moved[o.GetStorage()] = cmp.Or(u.GetFromRef(), nodeID(u.GetFrom()))
		}
	}
	if len(moved) == 0 {
		return nil
	}
	drifted := map[string][]string{} // storages, by what their containers ask for
	stream, err := client.ListStorages(ctx, &api.ListStoragesRequest{Anonymous: true})
	err = api.Each(stream, err, func(part *api.ListStoragesResponse) error {
		for _, s := range part.GetStorages() {
			old, in := moved[s.GetName()]
			asked := cmp.Or(s.GetAsksFor(), old)
			if !in || asked == "" {
				continue
			}
			who := s.GetName()
			if s.GetPod() != "" {
				who += " (pod " + s.GetPod() + ")"
			}
			drifted[asked] = append(drifted[asked], who)
		}
		return nil
	})
	if err != nil {
		return err
	}
	t := newTable(c.Root().Writer)
	for _, asked := range slices.Sorted(maps.Keys(drifted)) {
		t.row("note:", driftText(asked, drifted[asked]))
	}
	return t.flush()
}

// driftText says that the containers of storages ask for another base than the one that they stand on now.
func driftText(asked string, who []string) string {
	if len(who) == 1 {
		return fmt.Sprintf("the container of %s names %s; the storage stays on the new base until that changes: "+
			"name the new image there", who[0], asked)
	}
	return fmt.Sprintf("the containers of %d storages name %s: %s; the storages stay on the new base until that "+
		"changes: name the new image there",
		len(who), asked, few(who))
}
