// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/urfave/cli/v3"

	api "github.com/molt-snapshotter/molt-snapshotter/snapshotter/api/control/v1"
)

const (
	allNamespacesFlag = "all-namespaces"
	outdatedFlag      = "outdated"
	noSizeFlag        = "no-size"
)

func listCommand() *cli.Command {
	return &cli.Command{
		Name: "ls", Usage: "list storages", Action: action(listStorages),
		Description: `With --namespace, or $CONTAINERD_NAMESPACE, only storages of that namespace. CONTAINER
is what the client of the container calls it, LAST USE the last mount of what is written now, and ASKS FOR the
image that the container names where its storage stands on another one.`,
		Flags: []cli.Flag{
			&cli.BoolFlag{Name: "all", Usage: "also those of containers that asked for no storage"},
			&cli.BoolFlag{Name: allNamespacesFlag, Aliases: []string{"A"},
				Usage: "of all namespaces, whatever --namespace says"},
			&cli.BoolFlag{Name: outdatedFlag,
				Usage: "only those that do not stand where updates lead, or on what their container asks for"},
			&cli.BoolFlag{Name: noSizeFlag, Usage: "do not measure what is being written, which walks it"},
		},
	}
}

// namespaceFilter returns the namespace to which a list is limited, empty for none.
func namespaceFilter(c *cli.Command) string {
	if c.Bool(allNamespacesFlag) || !c.IsSet("namespace") {
		return ""
	}
	return c.String("namespace")
}

func listStorages(ctx context.Context, c *cli.Command, client api.ControlClient) error {
	if _, err := arguments(c); err != nil {
		return err
	}
	stream, err := client.ListStorages(ctx, &api.ListStoragesRequest{
		Anonymous: c.Bool("all"), Namespace: namespaceFilter(c), Measure: !c.Bool(noSizeFlag), Details: true,
	})
	t := newTable(c.Root().Writer)
	t.row("STORAGE", "CONTAINER", "IMAGE", "SIZE", "LAST USE", "STATE", "ASKS FOR")
	return shown(c, noted(stream, func(part *api.ListStoragesResponse) {
		part.Storages = slices.DeleteFunc(part.GetStorages(), func(s *api.Storage) bool {
			return s.GetAnonymous() && s.GetUnpacking() || c.Bool(outdatedFlag) && !outdated(s)
		})
	}), err, t, func(part *api.ListStoragesResponse) {
		for _, s := range part.GetStorages() {
			t.row(s.GetName(), orDash(calledText(s)), imageText(s), size(s.GetSize()), lastUse(s), storageState(s),
				orDash(s.GetAsksFor()))
		}
	}, func() {})
}

// outdated reports whether a storage does not stand where it should: where updates lead, or on what its container asks
// for.
func outdated(s *api.Storage) bool {
	return s.GetNewer() != 0 || s.GetAsksFor() != "" || s.GetHeldBy() != 0 || s.GetPending() != nil
}

// calledText returns what people call the container that has a storage.
func calledText(s *api.Storage) string { return cmp.Or(s.GetCalled(), ownKey(s.GetKey())) }

// imageText names the base of a storage: by an image, else by its layer.
func imageText(s *api.Storage) string { return cmp.Or(s.GetImage(), nodeID(s.GetBase())) }

func lastUse(s *api.Storage) string {
	switch {
	case s.GetMounted():
		return "now"
	case s.GetLastUsed() == nil:
		return "-"
	}
	return when(s.GetLastUsed())
}

// storageState says whether a storage is in use, and what is to be known of it.
func storageState(s *api.Storage) string {
	state := "no container"
	switch {
	case s.GetMounted():
		state = "in use"
	case s.GetKey() != "":
		state = "stopped"
	}
	states := []string{state}
	if s.GetDamaged() {
		states = append(states, "damaged")
	}
	if s.GetPending() != nil {
		states = append(states, pendingText(s.GetPending())+" waits")
	}
	if s.GetHeldBy() != 0 {
		states = append(states, "held by "+updateID(s.GetHeldBy()))
	}
	if waits := fixesWait(s.GetFixesWaiting()); waits != "" {
		states = append(states, waits)
	}
	if s.GetNewer() != 0 {
		states = append(states, fmt.Sprintf("outdated: %s leads to %s", updateID(s.GetNewerBy()), nodeID(s.GetNewer())))
	}
	return strings.Join(states, ", ")
}
