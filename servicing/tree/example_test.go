// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package tree_test

import (
	"fmt"
	"os"
	"path/filepath"

	"github.com/molt-snapshotter/molt-snapshotter/servicing/tree"
)

// A stack of directories is read as an overlay mount would show it, without a mount: the topmost directory comes first.
func ExampleOpen() {
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer func() { _ = os.RemoveAll(dir) }()
	upper, lower := filepath.Join(dir, "upper"), filepath.Join(dir, "lower")
	for name, text := range map[string]string{"lower/motd": "welcome", "lower/version": "1", "upper/motd": "mine"} {
		_ = os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o755)
		_ = os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600)
	}
	view, err := tree.Open(tree.Stack{upper, lower})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer view.Close()
	for _, name := range []string{"motd", "version"} {
		text, err := view.ReadFile(name, 100)
		fmt.Println(name, string(text), err)
	}
	// Output:
	// motd mine <nil>
	// version 1 <nil>
}
