// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package manifest_test

import (
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/opencontainers/go-digest"

	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/manifest"
)

// TestWriteAtOnce: several that write one manifest at once each write all of it, and the file is that of one of them.
func TestWriteAtOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "manifest")
	var sums sync.Map
	var writing sync.WaitGroup
	for n := range 8 {
		writing.Go(func() {
			for range 20 {
				sum, err := manifest.Write(path, func(fn func(path, sum string) error) error {
					for line := range 500 {
						if err := fn(fmt.Sprintf("f%d", line), fmt.Sprint(n)); err != nil {
							return err
						}
					}
					return nil
				})
				if err != nil {
					t.Error(err)
					return
				}
				sums.Store(sum, true)
			}
		})
	}
	writing.Wait()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if _, known := sums.Load(digest.FromBytes(content)); !known {
		t.Error("the file is nobody's")
	}
	if _, err := os.Lstat(path + ".new"); err == nil {
		t.Error("the file in the making is left")
	}
}
