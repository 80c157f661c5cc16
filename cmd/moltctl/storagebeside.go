// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/containerd/errdefs"
	"github.com/urfave/cli/v3"

	api "github.com/molt-snapshotter/molt-snapshotter/snapshotter/api/control/v1"
)

func besideCommand() *cli.Command {
	return &cli.Command{
		Name: "beside", Usage: "the versions of files that updates put beside, and that are not in force",
		Description: `Of what both sides changed, and what could not be merged, one version is in force. The other one
is in the container, in a directory that only root can enter and nothing reads: the base's is "new", the user's "old".`,
		Commands: []*cli.Command{
			{
				Name: "ls", Usage: "list them, or those of a path and of what is below it", ArgsUsage: "STORAGE [PATH]",
				Description: "With --format json, one document a line.", Action: action(listBeside),
			},
			{
				Name: "cat", Usage: "print the content of one", ArgsUsage: "STORAGE PATH",
				Description: "PATH is that of the file, or where the version is.",
				Flags:       []cli.Flag{&cli.StringFlag{Name: "version", Usage: "new or old, where there are both"}},
				Action:      action(catBeside),
			},
		},
	}
}

func listBeside(ctx context.Context, c *cli.Command, client api.ControlClient) error {
	if n := c.Args().Len(); n < 1 || n > 2 {
		return usagef("give a STORAGE, and a PATH for those below it; see %s --help", c.FullName())
	}
	inJSON := c.String("format") == formatJSON
	t := newTable(c.Root().Writer)
	var first *api.ListBesideResponse // of which a command can be given
	begun := false
	stream, err := client.ListBeside(ctx, &api.ListBesideRequest{
		Name: c.Args().First(), Path: []byte(c.Args().Get(1)),
	})
	err = api.Each(stream, err, func(v *api.ListBesideResponse) error {
		if inJSON {
			_, err := (&escaper{w: c.Root().Writer}).Write(append(compactJSON(v), '\n'))
			return err
		}
		if !begun {
			t.row("VERSION", "SIZE", "PATH", "AT")
		}
		begun = true
		if first == nil && len(v.GetPath()) > 0 && isPlain(v.GetPath()) && isPlain(v.GetAt()) {
			first = v
		}
		t.row(v.GetVersion(), size(v.GetSize()), besidePath(v), printable(absolute(v.GetAt())))
		return t.err
	})
	switch {
	case err != nil || inJSON:
	case !begun:
		t.row("nothing is beside")
	case first != nil:
		t.row()
		t.row("to put one in force, in the container: " + takeCommand(first))
	}
	return t.end(err)
}

// besidePath returns the path that a version is of, if its place says that.
func besidePath(v *api.ListBesideResponse) string {
	if len(v.GetPath()) == 0 {
		return "-"
	}
	return printable(absolute(v.GetPath()))
}

// takeCommand is what puts a version in force. What stands in a storage is written by its container alone.
func takeCommand(v *api.ListBesideResponse) string {
	return fmt.Sprintf("cp -a %s %s", quoted(absolute(v.GetAt())), quoted(absolute(v.GetPath())))
}

// isPlain reports whether a path can be printed as it is, for a shell to read.
func isPlain(path []byte) bool { return printable(path) == string(path) }

// quoted writes a path for a shell.
func quoted(path []byte) string {
	if strings.Trim(string(path), "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789/._-+:@") == "" {
		return string(path)
	}
	return "'" + strings.ReplaceAll(string(path), "'", `'\''`) + "'"
}

func catBeside(ctx context.Context, c *cli.Command, client api.ControlClient) error {
	args, err := arguments(c, "STORAGE", "PATH")
	if err != nil {
		return err
	}
	at, err := findBeside(ctx, client, args[0], args[1], c.String("version"))
	if err != nil {
		return err
	}
	stream, err := client.ReadBeside(ctx, &api.ReadBesideRequest{Name: args[0], At: at})
	return api.Each(stream, err, func(part *api.ReadBesideResponse) error {
		_, err := c.Root().Writer.Write(part.GetData())
		return err
	})
}

// findBeside returns where the version of a path is. A path that is such a place is one.
func findBeside(ctx context.Context, client api.ControlClient, storage, path, version string) ([]byte, error) {
	var found [][]byte
	name := strings.Trim(path, "/")
	stream, err := client.ListBeside(ctx, &api.ListBesideRequest{Name: storage})
	err = api.Each(stream, err, func(v *api.ListBesideResponse) error {
		if string(v.GetAt()) == name || string(v.GetPath()) == name && (version == "" || version == v.GetVersion()) {
			found = append(found, v.GetAt())
		}
		return nil
	})
	switch {
	case err != nil:
		return nil, err
	case len(found) == 0:
		text := fmt.Sprintf("%s: no version of it is beside in storage %s; moltctl storage beside ls lists them",
			printable(absolute([]byte(name))), storage)
		return nil, classedError{text, errdefs.ErrNotFound}
	case len(found) > 1:
		return nil, usagef("%s has %d versions; name one with --version, or by its place, see moltctl storage "+
			"beside ls %s",
			printable(absolute([]byte(name))), len(found), storage)
	}
	return found[0], nil
}
