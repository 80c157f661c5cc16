// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package evidence

import (
	"context"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/molt-snapshotter/molt-snapshotter/servicing"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/tree"
)

// files describes a directory: by path, "text", "0600 text", "dir", "-> target", "= other name of the same file", "fifo", or
// "" for nothing.
type files map[string]string

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// build makes the files below a directory.
func (f files) build(t *testing.T, dir string) {
	t.Helper()
	for _, name := range slices.Sorted(maps.Keys(f)) {
		if !strings.HasPrefix(f[name], "= ") {
			put(t, dir, name, f[name])
		}
	}
	for _, name := range slices.Sorted(maps.Keys(f)) {
		if other, ok := strings.CutPrefix(f[name], "= "); ok {
			must(t, os.Link(filepath.Join(dir, other), filepath.Join(dir, name)))
		}
	}
}

// put makes one file; what stands there goes.
func put(t *testing.T, dir, name, what string) {
	t.Helper()
	full := filepath.Join(dir, name)
	must(t, os.MkdirAll(filepath.Dir(full), 0o755))
	mode := uint32(0o644)
	if first, rest, _ := strings.Cut(what, " "); len(first) == 4 && strings.Trim(first, "01234567") == "" {
		_, err := fmt.Sscanf(first, "%o", &mode)
		must(t, err)
		what = rest
	}
	switch target, link := strings.CutPrefix(what, "-> "); {
	case what == "":
		must(t, os.RemoveAll(full))
	case what == "dir":
		must(t, os.MkdirAll(full, 0o755))
	case link:
		must(t, os.RemoveAll(full))
		must(t, os.Symlink(target, full))
	case what == "fifo":
		must(t, unix.Mkfifo(full, 0o644))
	default:
		must(t, os.WriteFile(full, []byte(what), 0o644))
		must(t, unix.Chmod(full, mode))
	}
}

// look describes what stands at a path, as like does: with the mode if that has one, as a hard link if that is one.
func look(t *testing.T, dir, name, like string) string {
	t.Helper()
	full := filepath.Join(dir, name)
	info, err := os.Lstat(full)
	if err != nil {
		return ""
	}
	if other, ok := strings.CutPrefix(like, "= "); ok {
		if second, err := os.Lstat(filepath.Join(dir, other)); err == nil && os.SameFile(info, second) {
			return like
		}
	}
	switch info.Mode().Type() {
	case fs.ModeDir:
		return "dir"
	case fs.ModeSymlink:
		target, err := os.Readlink(full)
		must(t, err)
		return "-> " + target
	case fs.ModeNamedPipe:
		return "fifo"
	}
	content, err := os.ReadFile(full)
	must(t, err)
	if first, _, _ := strings.Cut(like, " "); len(first) == 4 && strings.Trim(first, "01234567") == "" {
		var st unix.Stat_t
		must(t, unix.Lstat(full, &st))
		return fmt.Sprintf("%04o %s", st.Mode&0o7777, content)
	}
	return string(content)
}

// tempDir returns a directory whose name fits in the options of a mount.
func tempDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "evidence") //nolint:usetesting // the name of a test may have a comma in it
	must(t, err)
	must(t, os.Chmod(dir, 0o755))
	t.Cleanup(func() { must(t, os.RemoveAll(dir)) })
	return dir
}

const mountOptions = ",index=off,metacopy=off,redirect_dir=nofollow,xino=off,nfs_export=off,uuid=null"

// mounted calls a function with an overlay, writable through upper if that is not "".
func mounted(t *testing.T, upper string, lower []string, use func(root string)) {
	t.Helper()
	root := tempDir(t)
	options := "lowerdir=" + strings.Join(lower, ":") + mountOptions
	if upper != "" {
		work := upper + ".work"
		must(t, os.MkdirAll(work, 0o755))
		options += ",upperdir=" + upper + ",workdir=" + work
	}
	must(t, unix.Mount("overlay", root, "overlay", 0, options))
	defer func() { must(t, unix.Unmount(root, 0)) }()
	use(root)
}

// serviced lets a user work on an old base, services that storage with the engine, and shows the result, writable.
func serviced(t *testing.T, old, base string, options servicing.Options, user, use func(root string)) *servicing.Report {
	t.Helper()
	upper := filepath.Join(tempDir(t), "fs")
	must(t, os.Mkdir(upper, 0o755))
	mounted(t, upper, []string{old}, user)
	must(t, tree.Seal(context.Background(), upper))
	report, lower := service(t, servicing.Input{Old: tree.Stack{old}, New: tree.Stack{base}, User: tree.Stack{upper}, Options: options})
	if lower != nil {
		top := filepath.Join(tempDir(t), "fs")
		must(t, os.Mkdir(top, 0o755))
		mounted(t, top, lower, use)
	}
	return report
}

// service plans, and writes the delta storage. It returns the stack of the result; nil when the storage is held.
func service(t *testing.T, in servicing.Input) (*servicing.Report, tree.Stack) {
	t.Helper()
	plan, err := servicing.NewPlan(context.Background(), in)
	must(t, err)
	defer func() { must(t, plan.Close()) }()
	if len(plan.Held()) > 0 {
		return plan.Report(), nil
	}
	lower := slices.Concat(in.User, in.New)
	if !plan.Empty() {
		delta := tempDir(t)
		must(t, plan.Write(context.Background(), delta))
		lower = append(tree.Stack{delta}, lower...)
	}
	return plan.Report(), lower
}
