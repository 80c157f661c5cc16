// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package servicing_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"

	"github.com/molt-snapshotter/molt-snapshotter/servicing"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/tree"
)

// The base and the user changed other lines of one file. The plan says what the update comes to; Write puts it into a directory
// that is shown above the user's.
func ExampleNewPlan() {
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = os.RemoveAll(dir) }()
	for name, text := range map[string]string{
		"old/app.conf": "port = 80\n\n# how many\nworkers = 1\n", "new/app.conf": "port = 80\n\n# how many\nworkers = 2\n",
		"user/app.conf": "port = 8080\n\n# how many\nworkers = 1\n", "delta/x": "",
	} {
		_ = os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755)
		if text != "" {
			_ = os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600)
		}
	}
	stack := func(name string) tree.Stack { return tree.Stack{filepath.Join(dir, name)} }
	ctx := context.Background()
	plan, err := servicing.NewPlan(ctx, servicing.Input{Old: stack("old"), New: stack("new"), User: stack("user")})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer plan.Close()
	if err := plan.Write(ctx, filepath.Join(dir, "delta")); err != nil {
		fmt.Println(err)
		return
	}
	for _, p := range plan.Report().Paths {
		fmt.Println(p.Path, p.Verdict, p.Reason)
	}
	text, err := os.ReadFile(filepath.Join(dir, "delta", "app.conf"))
	fmt.Print(string(text), err)
	// Output:
	// app.conf merge the changes of both sides are apart
	// port = 8080
	//
	// # how many
	// workers = 2
	// <nil>
}
