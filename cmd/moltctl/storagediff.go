// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/urfave/cli/v3"

	api "github.com/molt-snapshotter/molt-snapshotter/snapshotter/api/control/v1"
)

func diffCommand() *cli.Command {
	return &cli.Command{
		Name: "diff", Usage: "show what a storage adds to its base, changes in it and deletes from it",
		ArgsUsage: "STORAGE",
		Description: "What a runtime makes to mount something there (/proc, /etc/hosts, what the container's " +
			"specification names), and what updates put beside, is left out.\n" +
			"With --format json, one document a line.",
		Flags:  []cli.Flag{&cli.BoolFlag{Name: "all", Usage: "also mount points, and what is beside"}},
		Action: action(diffStorage),
	}
}

func diffStorage(ctx context.Context, c *cli.Command, client api.ControlClient) error {
	args, err := arguments(c, "STORAGE")
	if err != nil {
		return err
	}
	inJSON, begun := c.String("format") == formatJSON, false
	t := newTable(c.Root().Writer)
	stream, err := client.DiffStorage(ctx, &api.DiffStorageRequest{Name: args[0]})
	err = api.Each(stream, err, func(d *api.DiffStorageResponse) error {
		if (d.GetMountPoint() || d.GetOwn()) && !c.Bool("all") {
			return nil
		}
		if inJSON {
			_, err := (&escaper{w: c.Root().Writer}).Write(append(compactJSON(d), '\n'))
			return err
		}
		if !begun {
			t.row("CHANGE", "KIND", "NODE", "SIZE", "PATH")
		}
		begun = true
		kind := d.GetKind()
		if d.GetOpaque() {
			kind += ", replaced"
		}
		if d.GetChange() == kind { // deleted
			kind = "-"
		}
		t.row(d.GetChange(), kind, nodeID(d.GetNode()), size(d.GetSize()), printable(absolute(d.GetPath())))
		return t.err
	})
	if err == nil && !begun && !inJSON {
		t.row("no difference to the base")
	}
	return t.end(err)
}

// absolute writes a path as a container sees it.
func absolute(path []byte) []byte {
	if string(path) == "." {
		return []byte("/")
	}
	return append([]byte("/"), path...)
}

// printable writes a path so that odd names cannot confuse a terminal, or a person.
func printable(path []byte) string {
	quoted := fmt.Sprintf("%q", path)
	if plain := quoted[1 : len(quoted)-1]; plain == string(path) && !blankEnds(plain) {
		return plain
	}
	return quoted
}

// blankEnds reports whether a name in a path begins or ends with a blank, which nobody would see.
func blankEnds(path string) bool {
	for name := range strings.SplitSeq(path, "/") {
		if strings.TrimSpace(name) != name {
			return true
		}
	}
	return false
}
