// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

// Command servicer services one storage in a process of its own, so that its memory is its own, and prints what came of
// it. Tests build it without the race detector, which takes a multiple of the memory.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"github.com/molt-snapshotter/molt-snapshotter/integration/inprocess"
	"github.com/molt-snapshotter/molt-snapshotter/servicing"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/tree"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: servicer DIRECTORY, which holds old, new, user and an empty into")
		os.Exit(2)
	}
	if err := run(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(dir string) error {
	out := service(context.Background(), servicing.Input{
		Old: tree.Stack{dir + "/old"}, New: tree.Stack{dir + "/new"}, User: tree.Stack{dir + "/user"},
	}, dir+"/into")
	peak, err := inprocess.Peak()
	if err != nil {
		return err
	}
	out["Peak"] = peak
	return json.NewEncoder(os.Stdout).Encode(out)
}

// service plans and writes. What it returns has the fields that the tests read.
func service(ctx context.Context, in servicing.Input, into string) map[string]any {
	p, err := servicing.NewPlan(ctx, in)
	if err != nil {
		return map[string]any{"Error": err.Error()}
	}
	var held []string
	for _, r := range p.Held() {
		held = append(held, string(r.Code)+": "+r.Message)
	}
	if len(held) == 0 {
		err = p.Write(ctx, into)
	}
	report, marshal := json.Marshal(p.Report())
	out := map[string]any{"Held": held, "Report": report}
	if err = errors.Join(err, marshal, p.Close()); err != nil {
		out["Error"] = err.Error()
	}
	return out
}
