// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/urfave/cli/v3"
	"google.golang.org/grpc"

	api "github.com/molt-snapshotter/molt-snapshotter/snapshotter/api/control/v1"
)

// errProblems is returned when the output has told of grave problems.
var errProblems = errors.New("there are problems")

func checkCommand() *cli.Command {
	return &cli.Command{
		Name: "check", Usage: "tell what is wrong with the state directory, the mounts, and what containerd knows",
		Description: "Changes nothing. The exit code is 1 if something keeps a storage or a layer from being used, " +
			"or will.\n" +
			"With --deep the records of what was in frozen nodes are completed where there are none.",
		Flags: []cli.Flag{&cli.BoolFlag{
			Name: "deep",
			Usage: "also compare all frozen nodes with what was in them when they were frozen; reads all layers and " +
				"storages",
		}},
		Action: action(check(false)),
	}
}

func repairCommand() *cli.Command {
	return &cli.Command{
		Name: "repair", Usage: "do what has one right answer about the problems that check finds",
		Description: "Nothing that was written in a container is deleted. What has no single right answer is told " +
			"and left alone.",
		Flags: []cli.Flag{&cli.BoolFlag{Name: "dry-run", Usage: "tell what would be done, and change nothing"}},
		Action: action(func(ctx context.Context, c *cli.Command, client api.ControlClient) error {
			return check(!c.Bool("dry-run"))(ctx, c, client)
		}),
	}
}

// check tells of problems, and has them repaired if they shall be.
func check(repair bool) func(context.Context, *cli.Command, api.ControlClient) error {
	return func(ctx context.Context, c *cli.Command, client api.ControlClient) error {
		if _, err := arguments(c); err != nil {
			return err
		}
		var (
			failures []error
			any      bool
			grave    error
		)
		t := newTable(c.Root().Writer)
		stream, err := client.Check(ctx, &api.CheckRequest{Repair: repair, Deep: c.Bool("deep")})
		err = shown(c, noted(stream, func(part *api.CheckResponse) {
			for _, failure := range part.GetFailures() {
				failures = append(failures, errors.New(failure))
			}
			for _, p := range part.GetProblems() {
				if p.GetGrave() && !p.GetRepaired() {
					grave = errProblems
				}
			}
		}), err, t, func(part *api.CheckResponse) {
			if len(part.GetProblems()) > 0 && !any {
				any = true
				t.row("", "WITH", "WHAT", "REPAIR")
			}
			problemRows(t, part.GetProblems())
		}, func() {
			if !any {
				t.row("all is well")
			}
		})
		if err != nil {
			return err
		}
		return errors.Join(append(failures, grave)...)
	}
}

func problemRows(t *table, problems []*api.Problem) {
	for _, p := range problems {
		mark, remedy := "note", orDash(p.GetRemedy())
		if p.GetGrave() {
			mark = "GRAVE"
		}
		if p.GetRepaired() {
			mark, remedy = "done", p.GetRemedy()
		}
		t.row(mark, p.GetSubject(), p.GetWhat(), remedy)
	}
}

func backupCommand() *cli.Command {
	return &cli.Command{
		Name: "backup", Usage: "write a copy of the graph, as it is at this moment, to a file", ArgsUsage: "FILE",
		Description: "The copy is a database that can take the place of graph.db while the daemon is stopped. The " +
			"content of layers\n" +
			"and storages is not in it: copy the state directory for that. FILE must not exist.",
		Action: action(backup),
	}
}

func backup(ctx context.Context, c *cli.Command, client api.ControlClient) error {
	args, err := arguments(c, "FILE")
	if err != nil {
		return err
	}
	if _, err := os.Lstat(args[0]); err == nil {
		return usagef("%s exists already; a backup is not written over something", args[0])
	}
	stream, err := client.Backup(ctx, &api.BackupRequest{})
	if err != nil {
		return err
	}
	// Renamed when it is complete: what has the name is a whole backup.
	f, err := os.CreateTemp(filepath.Dir(args[0]), filepath.Base(args[0])+".*")
	if err != nil {
		return err
	}
	err = receive(stream, f)
	if err := errors.Join(err, f.Sync(), f.Close()); err != nil {
		return errors.Join(fmt.Errorf("write backup: %w", native(err)), os.Remove(f.Name()))
	}
	if err := os.Rename(f.Name(), args[0]); err != nil || c.String("format") != formatJSON {
		return err
	}
	return printObject(c.Root().Writer, map[string]string{"file": args[0]})
}

func receive(stream grpc.ServerStreamingClient[api.BackupResponse], w io.Writer) error {
	for {
		r, err := stream.Recv()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if _, err := w.Write(r.GetData()); err != nil {
			return err
		}
	}
}
