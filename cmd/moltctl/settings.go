// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v3"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/molt-snapshotter/molt-snapshotter/servicing"
	api "github.com/molt-snapshotter/molt-snapshotter/snapshotter/api/control/v1"
)

// settingsCommands are those that change what servicing is told for a storage.
func settingsCommands() []*cli.Command {
	return []*cli.Command{
		{
			Name: "pin", Usage: "keep a path as it is, whatever updates bring", ArgsUsage: "STORAGE PATH",
			Description: "A path stands for itself and everything below; *, ? and [...] match within a name.",
			Flags: []cli.Flag{
				&cli.StringFlag{Name: "reason", Usage: "why, for people", Required: true},
				&cli.StringFlag{Name: "until", Usage: "`DATE` at which the pin ends, such as 2027-01-31"},
			},
			Action: action(pinPath),
		},
		{Name: "unpin", Usage: "let updates change a path again", ArgsUsage: "STORAGE PATH", Action: action(unpinPath)},
		{
			Name: "policy", Usage: "show, or set, what is pinned and what is done about conflicts",
			ArgsUsage:   "STORAGE [KIND=ACTION...]",
			Description: policyHelp(), Action: action(setPolicy),
		},
	}
}

// policyHelp lists the kinds of conflicts and findings, and what can be done about each.
func policyHelp() string {
	var b strings.Builder
	b.WriteString("An empty ACTION returns to the default, which comes first; moltctl codes KIND says what to do:\n")
	for _, c := range servicing.Concerns() {
		fmt.Fprintf(&b, "\n   %-18s %s", c.Concern, c.Default)
		for _, other := range c.Allowed {
			if other != c.Default {
				fmt.Fprintf(&b, ", %s", other)
			}
		}
		fmt.Fprintf(&b, "\n   %-18s   %s", "", c.Means)
	}
	return b.String()
}

func pinPath(ctx context.Context, c *cli.Command, client api.ControlClient) error {
	args, err := arguments(c, "STORAGE", "PATH")
	if err != nil {
		return err
	}
	pin := &api.Pin{Path: args[1], Reason: c.String("reason")}
	if given := c.String("until"); given != "" {
		until, err := parseDate(given)
		if err != nil {
			return err
		}
		pin.Expires = timestamppb.New(until)
	}
	return configure(ctx, c, client, &api.ConfigureStorageRequest{Name: args[0], Pin: []*api.Pin{pin}})
}

// parseDate reads a date, or a date and a time with their zone.
func parseDate(given string) (time.Time, error) {
	for _, layout := range []string{time.DateOnly, time.RFC3339} {
		if date, err := time.Parse(layout, given); err == nil {
			return date, nil
		}
	}
	return time.Time{}, usagef("--until %q: must be a date such as 2027-01-31", given)
}

func unpinPath(ctx context.Context, c *cli.Command, client api.ControlClient) error {
	args, err := arguments(c, "STORAGE", "PATH")
	if err != nil {
		return err
	}
	return configure(ctx, c, client, &api.ConfigureStorageRequest{Name: args[0], Unpin: []string{args[1]}})
}

func setPolicy(ctx context.Context, c *cli.Command, client api.ControlClient) error {
	if !c.Args().Present() {
		return usagef("STORAGE is missing; see %s --help", c.FullName())
	}
	policy, err := parsePolicy(c.Args().Tail())
	if err != nil {
		return err
	}
	return configure(ctx, c, client, &api.ConfigureStorageRequest{Name: c.Args().First(), Policy: policy})
}

func parsePolicy(args []string) (map[string]string, error) {
	policy := map[string]string{}
	for _, arg := range args {
		kind, action, ok := strings.Cut(arg, "=")
		if !ok {
			return nil, usagef("policy %q: must be KIND=ACTION", arg)
		}
		policy[kind] = action
	}
	return policy, nil
}

func configure(ctx context.Context, c *cli.Command, client api.ControlClient, req *api.ConfigureStorageRequest) error {
	stream, err := client.ConfigureStorage(ctx, req)
	if err != nil {
		return err
	}
	o := &servicing.Options{}
	document := api.Reader(stream, (*api.ConfigureStorageResponse).GetOptions)
	return printedJSON(c, document, o, func(t *table) { options(t, o) })
}

func options(t *table, o *servicing.Options) {
	if len(o.Pins) == 0 && len(o.Policy) == 0 {
		t.row("defaults: nothing is pinned, and conflicts are decided as moltctl storage policy --help lists first")
		return
	}
	t.row("PINNED", "UNTIL", "REASON")
	for _, p := range o.Pins {
		until := "-"
		if !p.Expires.IsZero() {
			until = p.Expires.Local().Format(time.DateTime)
		}
		t.row(printable([]byte(p.Path)), until, orDash(p.Reason))
	}
	t.row()
	t.row("CONFLICT OR FINDING", "ACTION")
	for _, kind := range slices.Sorted(maps.Keys(o.Policy)) {
		t.row(kind, o.Policy[kind])
	}
}
