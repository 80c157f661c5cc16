// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package manifest_test

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/containerd/errdefs"

	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/manifest"
)

// of is a walk over "path=sum" in order.
func of(lines ...string) manifest.Walk {
	return func(fn func(path, sum string) error) error {
		for _, l := range lines {
			path, sum, _ := strings.Cut(l, "=")
			if err := fn(path, sum); err != nil {
				return err
			}
		}
		return nil
	}
}

var tree = []string{".=1", "a=2", "a/b=3", "a/b/c\n=4", "a b=5", "a.b=6", "\xff\x00=7", "\xff\x00/z=8"}

func TestCompare(t *testing.T) {
	path := filepath.Join(t.TempDir(), "m")
	sum, err := manifest.Write(path, of(tree...))
	if err != nil {
		t.Fatal(err)
	}
	if again, err := manifest.Sum(of(tree...)); again != sum || err != nil {
		t.Errorf("the sum is %s, %v, not %s", again, err, sum)
	}
	without := func(i int, with ...string) []string { return slices.Replace(slices.Clone(tree), i, i+1, with...) }
	for name, c := range map[string]struct {
		is   []string
		want string
	}{
		"the same":         {tree, ""},
		"root":             {without(0, ".=9"), "[. changed]"},
		"a file":           {without(3, "a/b/c\n=9"), "[a/b/c\n changed]"},
		"gone":             {without(3), "[a/b/c\n gone]"},
		"a directory gone": {slices.Delete(slices.Clone(tree), 2, 4), "[a/b gone a/b/c\n gone]"},
		"new":              {without(1, "a=2", "a/a=9"), "[a/a new]"},
		"new after a directory, before its neighbour": {without(3, tree[3], "a\x01=9"), "[a\x01 new]"},
		"new at the end":  {append(slices.Clone(tree), "\xff\xff=1"), "[\xff\xff new]"},
		"renamed":         {without(5, "a.c=6"), "[a.b gone a.c new]"},
		"the end missing": {tree[:6], "[\xff\x00 gone \xff\x00/z gone]"},
		"nothing":         {nil, "[. gone a gone a/b gone a/b/c\n gone a b gone a.b gone \xff\x00 gone \xff\x00/z gone]"},
	} {
		t.Run(name, func(t *testing.T) {
			var got []string
			err := manifest.Compare(path, sum, of(c.is...), func(d manifest.Difference) { got = append(got, d.Path+" "+string(d.Kind)) })
			if text := fmt.Sprint(got); err != nil || text != c.want && (c.want != "" || len(got) > 0) {
				t.Errorf("got %q, %v, want %q", text, err, c.want)
			}
		})
	}
}

func TestDamaged(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "m")
	sum, err := manifest.Write(path, of(tree...))
	if err != nil {
		t.Fatal(err)
	}
	never := func(d manifest.Difference) { t.Errorf("told of %+v", d) }
	if err := manifest.Compare(filepath.Join(dir, "none"), sum, of(tree...), never); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("no manifest: %v", err)
	}
	if err := os.WriteFile(path, []byte("0 1 \".\"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := manifest.Compare(path, sum, of(tree...), never); !errdefs.IsDataLoss(err) {
		t.Errorf("another manifest: %v", err)
	}
	failed := errors.New("failed")
	fails := func(func(path, sum string) error) error { return failed }
	if _, err := manifest.Write(path, fails); !errors.Is(err, failed) {
		t.Errorf("a walk that fails: %v", err)
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) != 1 {
		t.Errorf("what failed leaves %v, %v", entries, err)
	}
}

// TestDeep: a manifest of a deep tree is no longer than its names are together.
func TestDeep(t *testing.T) {
	path := filepath.Join(t.TempDir(), "m")
	name := strings.Repeat("x", 200)
	lines := []string{".=1"}
	for depth := 1; depth <= 500; depth++ {
		lines = append(lines, strings.TrimSuffix(strings.Repeat(name+"/", depth), "/")+"=1")
	}
	if _, err := manifest.Write(path, of(lines...)); err != nil {
		t.Fatal(err)
	}
	info, err := os.Stat(path)
	if err != nil || info.Size() > 500*220 {
		t.Errorf("the manifest has %d bytes, %v", info.Size(), err)
	}
}
