// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package tree

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// TestAt checks that what is told of one path is what a walk tells of it, and what hides it where a walk does not come to it.
func TestAt(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root for whiteouts")
	}
	top, low := t.TempDir(), t.TempDir()
	for _, dir := range []string{top + "/d/e", top + "/o/s", low + "/o/hidden", low + "/f", low + "/d/e/deep"} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{top + "/d/e/x", top + "/f", low + "/d/e/y", low + "/f/z", low + "/o/hidden/q"} {
		if err := os.WriteFile(name, []byte(name), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{top + "/gone", top + "/o/w"} {
		if err := unix.Mknod(name, unix.S_IFCHR, 0); err != nil {
			t.Fatal(err)
		}
	}
	if err := unix.Setxattr(top+"/o", attrOpaque, []byte("y"), 0); err != nil {
		t.Fatal(err)
	}
	v, err := Open(Stack{top, low})
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	seen := 0
	if err := v.Walk(t.Context(), func(want Change) error {
		seen++
		got, ok, err := v.At(want.Path)
		if err != nil || !ok || !reflect.DeepEqual(got, want) {
			t.Errorf("at %q: %+v %v %v, want %+v", want.Path, got, ok, err, want)
		}
		return nil
	}); err != nil || seen < 10 {
		t.Fatalf("%d places: %v", seen, err)
	}
	for path, by := range map[string]string{"gone/a/b": "gone", "f/z": "f", "o/hidden": "o", "o/hidden/q": "o", "o/w/a": "o/w", "nothing": "", "d/e/nothing/a": "", filepath.Join("d", strings.Repeat("n", 300)): ""} {
		got, ok, err := v.At(path)
		if err != nil || ok != (by != "") || got.Path != by {
			t.Errorf("at %q: %+v %v %v, want by %q", path, got, ok, err, by)
		}
	}
	if _, _, err := v.At("../x"); !errors.Is(err, fs.ErrInvalid) {
		t.Errorf("a path that leaves: %v", err)
	}
	if _, ok, err := (&View{}).At("."); ok || err != nil {
		t.Errorf("an empty stack: %v %v", ok, err)
	}
}
