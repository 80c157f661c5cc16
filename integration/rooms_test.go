// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package integration_test

import (
	"io/fs"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestRoomsAreListed: the plan of the house in docs/architecture.md has each package of the snapshotter.
func TestRoomsAreListed(t *testing.T) {
	t.Parallel()
	_, plan, _ := strings.Cut(document(t, "architecture.md"), "\nsnapshotter/ ")
	plan, _, found := strings.Cut(plan, "\nservicing/ ")
	if !found {
		t.Fatal("there is no plan of the snapshotter")
	}
	root := filepath.Join("..", "snapshotter")
	rooms := map[string]bool{}
	err := filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error {
		if folder := filepath.Dir(path); folder != root && strings.HasSuffix(path, ".go") {
			rooms[folder] = true
		}
		return err
	})
	if err != nil || len(rooms) == 0 {
		t.Fatalf("found %d packages, %v", len(rooms), err)
	}
	for folder := range rooms {
		name, err := filepath.Rel(root, folder)
		if err != nil {
			t.Fatal(err)
		}
		if !regexp.MustCompile(`(?m)^  (\S+, )*` + regexp.QuoteMeta(name) + `/?,? `).MatchString(plan) {
			t.Errorf("docs/architecture.md does not list snapshotter/%s", name)
		}
	}
}
