// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/urfave/cli/v3"

	api "github.com/molt-snapshotter/molt-snapshotter/snapshotter/api/control/v1"
)

func storageCommand() *cli.Command {
	return &cli.Command{
		Name:  "storage",
		Usage: "the writable states of containers",
		Description: `A storage is named NAMESPACE/NAME, in Kubernetes k8s.io/NAMESPACE/NAME/CONTAINER. Whole
parts between slashes will do where they are unique, except for rm, and so will the name that nerdctl or
Kubernetes has for the container where no storage is called so. The storage of a container that asked for none
is named by the container.`,
		Commands: append([]*cli.Command{
			listCommand(),
			{Name: "inspect", Usage: "show what a storage consists of", ArgsUsage: "STORAGE",
				Action: action(inspectStorage)},
			diffCommand(),
			besideCommand(),
			{Name: "history", Usage: "show the updates of a storage and the states it can return to",
				ArgsUsage: "STORAGE", Action: action(storageHistory)},
			storageRollbackCommand(),
			{
				Name: "rm", Usage: "delete a storage with all that was written in it", ArgsUsage: "STORAGE...",
				Action:      action(removeStorages),
				Description: "The name must be given in full; the namespace may be left out, or given by --namespace.",
				Flags:       []cli.Flag{assumeFree()},
			},
			{
				Name: "fork", Usage: "begin a new storage with all that another one has now", ArgsUsage: "STORAGE NEW",
				Description: "NEW is a full name. Without a slash it is in the namespace that --namespace gives.",
				Flags:       []cli.Flag{assumeFree()},
				Action:      action(forkStorage),
			},
		}, append(explainCommands(), settingsCommands()...)...),
	}
}

const assumeFreeFlag = "assume-free"

// assumeFree is the flag by which an operator answers for a storage not being in use.
func assumeFree() cli.Flag {
	return &cli.BoolFlag{
		Name: assumeFreeFlag,
		Usage: "take a storage for free when it cannot be found out; a mount that is seen, or a running container, " +
			"is not overridden",
	}
}

func getStorage(ctx context.Context, c *cli.Command, client api.ControlClient) (*api.GetStorageResponse, error) {
	args, err := arguments(c, "STORAGE")
	if err != nil {
		return nil, err
	}
	return api.Whole(client.GetStorage(ctx, &api.GetStorageRequest{Name: args[0]}))
}

func inspectStorage(ctx context.Context, c *cli.Command, client api.ControlClient) error {
	r, err := getStorage(ctx, c, client)
	if err != nil {
		return err
	}
	return printed(c, r, func(t *table) {
		s := r.GetStorage()
		t.row("storage", s.GetName())
		t.row("container", orDash(calledText(s)))
		t.row("image", imageText(s))
		t.row("base", nodeID(s.GetBase()))
		t.row("state", storageState(s))
		t.row("asks for", orDash(s.GetAsksFor()))
		t.row("size", size(s.GetSize()))
		t.row("last use", lastUse(s))
		t.row("next start", orDash(pendingText(s.GetPending())))
		unfinished(t, r)
		if s.GetFixesWaiting() > 0 {
			t.row("updated", stateWith(api.State_STATE_APPLIED,
				s.GetFixesWaiting())+": moltctl storage audit "+s.GetName()+" names what waits")
		}
		t.row("created", when(s.GetCreated()))
		t.row()
		t.row("NODE", "KIND", "SIZE", "INODES", "WRITTEN ON", "CREATED")
		for _, n := range r.GetNodes() {
			t.row(nodeID(n.GetId()), kindOf(n), size(n.GetSize()), n.GetInodes(), nodeID(n.GetBase()),
				when(n.GetCreated()))
		}
	})
}

// pendingText writes what happens at the next start, as in "rollback u3 and carry".
func pendingText(p *api.Pending) string {
	switch {
	case p == nil:
		return ""
	case !p.GetRollback():
		return "update " + updateID(p.GetUpdate())
	case p.GetCarry():
		return "rollback " + updateID(p.GetUpdate()) + " and carry"
	case p.GetDiscard():
		return "rollback " + updateID(p.GetUpdate()) + " and discard"
	}
	return "rollback " + updateID(p.GetUpdate())
}

// openStates are, of outcomes, those that leave something to be done or decided, with what they are called here.
var openStates = map[api.State]string{
	api.State_STATE_HELD: "held", api.State_STATE_PLANNED: "waits", api.State_STATE_ANNOUNCED: "announced",
	api.State_STATE_STAGED: "staged", api.State_STATE_STAGING: "under way",
}

// unfinished shows the updates that have not moved a storage and may still do: since when, for which base, and why.
func unfinished(t *table, r *api.GetStorageResponse) {
	s := r.GetStorage()
	for _, u := range r.GetUpdates() {
		for _, o := range u.GetOutcomes() {
			what := openStates[o.GetState()]
			if o.GetStorage() != s.GetName() || what == "" || o.GetState() == api.State_STATE_HELD &&
				s.GetHeldBy() != u.GetId() {
				continue
			}
			text := fmt.Sprintf("%s to %s, since %s", updateID(u.GetId()), baseName(u.GetTo(), u.GetToRef()),
				when(o.GetTime()))
			if why := outcomeWhy(o); why != "" {
				text += ": " + why
			}
			t.row(what, text)
		}
	}
}

// kindOf names a node in molt's words.
func kindOf(n *api.Node) string {
	switch {
	case n.GetDamage() != "":
		return api.Word(n.GetKind()) + " (damaged: " + n.GetDamage() + ")"
	case n.GetKind() == api.NodeKind_NODE_KIND_LAYER && n.GetAdded():
		return "delta layer"
	case n.GetKind() == api.NodeKind_NODE_KIND_LAYER:
		return "base layer"
	case n.GetKind() == api.NodeKind_NODE_KIND_DELTA:
		return "delta storage"
	case !n.GetFrozen():
		return "persisted storage, open"
	}
	return "persisted storage"
}

func storageHistory(ctx context.Context, c *cli.Command, client api.ControlClient) error {
	r, err := getStorage(ctx, c, client)
	if err != nil {
		return err
	}
	return printed(c, r, func(t *table) {
		name := r.GetStorage().GetName()
		if p := r.GetStorage().GetPlaced(); p != nil {
			t.row("begun on", nodeID(p.GetTo()),
				fmt.Sprintf("and not on %s, which its container named: %s leads there (servicing.new_containers)",
					nodeID(p.GetFrom()), updateID(p.GetUpdate())), when(p.GetTime()))
			t.row()
		}
		t.row("UPDATE", "STATE", "FROM", "TO", "DELTA STORAGE", "TIME", "WHY")
		for _, u := range r.GetUpdates() {
			for _, o := range u.GetOutcomes() {
				if o.GetStorage() == name {
					t.row(updateID(u.GetId()), outcomeState(o), baseName(u.GetFrom(), u.GetFromRef()),
						baseName(u.GetTo(), u.GetToRef()), nodeID(o.GetDelta()), when(o.GetTime()), outcomeWhy(o))
				}
			}
		}
		t.row()
		t.row("STATE KEPT", "NODE", "BASE", "SINCE")
		for _, p := range r.GetStorage().GetPoints() {
			t.row("before "+updateID(p.GetUpdate()), nodeID(p.GetHead()), nodeID(p.GetBase()), when(p.GetTime()))
		}
		for _, p := range r.GetStorage().GetAside() {
			t.row("set aside by rollback of "+updateID(p.GetUpdate()), nodeID(p.GetHead()), nodeID(p.GetBase()),
				when(p.GetTime()))
		}
	})
}

// baseName writes a layer with the name of the image it was known by.
func baseName(id uint64, ref string) string {
	if ref == "" || ref == nodeID(id) {
		return nodeID(id)
	}
	return nodeID(id) + " " + ref
}

func removeStorages(ctx context.Context, c *cli.Command, client api.ControlClient) error {
	if !c.Args().Present() {
		return usagef("STORAGE is missing; see %s --help", c.FullName())
	}
	known, err := api.Whole(client.ListStorages(ctx, &api.ListStoragesRequest{Anonymous: true}))
	if err != nil {
		return err
	}
	var (
		errs    []error
		removed = []string{} // a list in JSON, also if it is empty
	)
	for _, given := range c.Args().Slice() {
		name, err := inFull(known.GetStorages(), fullNames(c, given), given)
		if err == nil {
			_, err = client.RemoveStorage(ctx, &api.RemoveStorageRequest{Name: name,
				AssumeFree: c.Bool(assumeFreeFlag)})
		}
		if err == nil {
			removed = append(removed, name)
		}
		errs = append(errs, native(err))
	}
	if c.String("format") == formatJSON {
		errs = append(errs, printObject(c.Root().Writer, map[string][]string{"removed": removed}))
	}
	return errors.Join(errs...)
}

// fullNames returns what a name stands for that must be full: itself, where it has a slash, and the name in the
// containerd namespace that --namespace gives; the one to prefer first.
func fullNames(c *cli.Command, given string) []string {
	below := c.String("namespace") + "/" + given
	if strings.Contains(given, "/") {
		return []string{given, below}
	}
	return []string{below}
}

// inFull returns the full name of a storage that is to be deleted, see fullNames. Fewer parts of a name are not enough.
func inFull(known []*api.Storage, names []string, given string) (string, error) {
	for _, name := range names {
		if slices.ContainsFunc(known, func(s *api.Storage) bool { return s.GetName() == name }) {
			return name, nil
		}
	}
	var similar []string
	for _, s := range known {
		if strings.Contains(s.GetName()+"/", "/"+given+"/") {
			similar = append(similar, s.GetName())
		}
	}
	err := fmt.Errorf("storage %q: %w", given, errdefs.ErrNotFound)
	if len(similar) > 0 {
		err = fmt.Errorf("%w; to be deleted a storage must be named in full: %s", err, strings.Join(similar, ", "))
	}
	return "", err
}

func forkStorage(ctx context.Context, c *cli.Command, client api.ControlClient) error {
	args, err := arguments(c, "STORAGE", "NEW")
	if err != nil {
		return err
	}
	r, err := client.ForkStorage(ctx, &api.ForkStorageRequest{Source: args[0], Target: fullNames(c, args[1])[0],
		AssumeFree: c.Bool(assumeFreeFlag)})
	if err != nil {
		return err
	}
	return printed(c, r, func(t *table) { t.row(r.GetName()) })
}
