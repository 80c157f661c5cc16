// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package servicing

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"github.com/molt-snapshotter/molt-snapshotter/servicing/tree"
)

// tb is a test or one case of a property.
type tb interface {
	rapid.TB
	Cleanup(func())
}

// files describes a tree: by path, what stands there.
//
//	"text"            a regular file, mode 0644
//	"0600 text"       with a mode
//	"dir", "dir 0700" a directory
//	"-> target"       a symbolic link
//	"= path"          a hard link
//	"fifo", "socket"
//	""                nothing (in expectations)
type files map[string]string

// build makes a tree in a directory.
func (f files) build(t tb, dir string) {
	t.Helper()
	links := map[string]string{}
	for name := range sortedKeys(f) {
		full := filepath.Join(dir, name)
		must(t, os.MkdirAll(filepath.Dir(full), 0o755))
		if target, ok := strings.CutPrefix(f[name], "= "); ok {
			links[full] = filepath.Join(dir, target)
			continue
		}
		put(t, full, f[name])
	}
	for name, target := range links {
		must(t, os.Link(target, name))
	}
}

func sortedKeys[V any](m map[string]V) func(func(string) bool) {
	return func(yield func(string) bool) {
		keys := make([]string, 0, len(m))
		for k := range m {
			keys = append(keys, k)
		}
		slices.Sort(keys)
		for _, k := range keys {
			if !yield(k) {
				return
			}
		}
	}
}

// put makes one file as described.
func put(t tb, full, what string) {
	t.Helper()
	mode := os.FileMode(0o644)
	kind, rest, _ := strings.Cut(what, " ")
	if len(kind) == 4 && strings.Trim(kind, "01234567") == "" {
		mode, what = octal(t, kind), rest
	}
	switch {
	case kind == "dir":
		must(t, os.MkdirAll(full, 0o755))
		if rest != "" {
			must(t, unix.Chmod(full, uint32(octal(t, rest))))
		}
	case kind == "->":
		must(t, os.Symlink(rest, full))
	case kind == "fifo":
		must(t, unix.Mkfifo(full, 0o644))
	case kind == "socket":
		must(t, unix.Mknod(full, unix.S_IFSOCK|0o644, 0))
	default:
		must(t, os.WriteFile(full, []byte(what), 0o644))
		must(t, unix.Chmod(full, uint32(mode)))
	}
}

func octal(t tb, text string) os.FileMode {
	t.Helper()
	var mode uint32
	_, err := fmt.Sscanf(text, "%o", &mode)
	must(t, err)
	return os.FileMode(mode)
}

func must(t tb, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// scenario is a storage on an old base and a new base.
type scenario struct {
	t         tb
	old, base string   // directories of the bases
	nodes     []string // of the storage, topmost first
	options   Options  // for serviced
	withheld  []Withheld
	waiting   []Waiting
}

// newScenario makes the bases and lets the user work on the old one through a real overlay mount.
func newScenario(t tb, old, base files, user func(root string)) *scenario {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root to mount")
	}
	s := &scenario{t: t, old: tempDir(t), base: tempDir(t)}
	for _, dir := range []string{s.old, s.base} {
		must(t, os.Chmod(dir, 0o755))
	}
	old.build(t, s.old)
	base.build(t, s.base)
	s.work(s.old, user)
	return s
}

// work lets the user work on a base, over what the storage has; a new node is made and sealed.
func (s *scenario) work(base string, user func(root string)) {
	s.t.Helper()
	upper := filepath.Join(tempDir(s.t), "fs")
	must(s.t, os.Mkdir(upper, 0o755))
	copyRoot(s.t, upper, slices.Concat(s.nodes, []string{base}))
	if user != nil {
		s.mounted(upper, slices.Concat(s.nodes, []string{base}), user)
	}
	must(s.t, tree.Seal(context.Background(), upper))
	s.nodes = slices.Insert(s.nodes, 0, upper)
}

const mountOptions = ",index=off,metacopy=off,redirect_dir=nofollow,xino=off,nfs_export=off,uuid=null"

// mounted calls a function with a mounted overlay; without an upper directory it is read-only.
func (s *scenario) mounted(upper string, lower []string, use func(root string)) {
	s.t.Helper()
	root := tempDir(s.t)
	if upper == "" && len(lower) == 1 {
		lower = append([]string{tempDir(s.t)}, lower...)
	}
	options := "lowerdir=" + strings.Join(lower, ":") + mountOptions
	if upper != "" {
		work := filepath.Join(filepath.Dir(upper), "work")
		must(s.t, os.MkdirAll(work, 0o755))
		options += ",upperdir=" + upper + ",workdir=" + work
	}
	each := func(settle func(context.Context, string) error) {
		for _, dir := range lower {
			must(s.t, settle(context.Background(), dir))
		}
	}
	each(tree.ShowFlags)
	defer each(tree.HideFlags)
	must(s.t, unix.Mount("overlay", root, "overlay", 0, options))
	defer func() { must(s.t, unix.Unmount(root, 0)) }()
	use(root)
}

// plan makes a plan; it is closed when the test ends.
func (s *scenario) plan(options Options) *Plan {
	s.t.Helper()
	p, err := NewPlan(context.Background(), s.input(options))
	must(s.t, err)
	s.t.Cleanup(func() { must(s.t, p.Close()) })
	expectAbsolute(s.t, p.Report())
	expectHeld(s.t, p.Report())
	return p
}

// expectHeld checks that a path with the verdict to hold has a reason: nothing is applied that says it is held.
func expectHeld(t tb, r *Report) {
	t.Helper()
	for _, p := range r.Paths {
		if p.Verdict == Hold && len(r.Holds) == 0 {
			t.Errorf("%s has the verdict to hold, and nothing holds the storage", p.Path)
		}
	}
}

func (s *scenario) input(options Options) Input {
	return Input{Old: tree.Stack{s.old}, New: tree.Stack{s.base}, User: s.nodes, Options: options, Withheld: s.withheld, Waiting: s.waiting}
}

// write writes the delta storage, twice: both must be the same, as must the reports.
func (s *scenario) write(p *Plan) string {
	s.t.Helper()
	delta, again := tempDir(s.t), tempDir(s.t)
	must(s.t, p.Write(context.Background(), delta))
	options := s.options
	options.Force = p.force
	second := s.plan(options)
	must(s.t, second.Write(context.Background(), again))
	differences, err := tree.Compare(context.Background(), tree.Stack{delta}, tree.Stack{again})
	must(s.t, err)
	for _, d := range differences {
		s.t.Errorf("the same plan again: %s", d)
	}
	if one, two := encoded(s.t, p.Report()), encoded(s.t, second.Report()); one != two {
		s.t.Errorf("another report from the same inputs:\n%s\n%s", one, two)
	}
	return delta
}

func encoded(t tb, r *Report) string {
	t.Helper()
	out, err := json.MarshalIndent(r, "", " ")
	must(t, err)
	return string(out)
}

// serviced services the storage, and calls a function with what the container sees then, writable.
func (s *scenario) serviced(use func(root string)) *Report {
	s.t.Helper()
	p := s.plan(s.options)
	if held := p.Held(); len(held) > 0 {
		s.t.Fatalf("held: %v", held)
	}
	lower := slices.Concat(s.nodes, []string{s.base})
	if !p.Empty() {
		lower = append([]string{s.write(p)}, lower...)
	}
	upper := filepath.Join(tempDir(s.t), "fs")
	must(s.t, os.Mkdir(upper, 0o755))
	copyRoot(s.t, upper, lower)
	s.mounted(upper, lower, func(root string) {
		checkReadable(s.t, root)
		use(root)
	})
	return p.Report()
}

// copyRoot gives an empty directory the metadata of the root of a stack, which the topmost directory hides.
func copyRoot(t tb, dir string, from tree.Stack) {
	t.Helper()
	view, err := tree.Open(from)
	must(t, err)
	root, err := view.Lookup(".")
	must(t, err)
	w, err := tree.NewWriter(dir)
	must(t, err)
	must(t, errors.Join(w.Mkdir(".", root.Meta), w.Close(), view.Close()))
}

// checkReadable checks that whatever a directory lists is there: a whiteout in a directory that merges with none is listed.
func checkReadable(t tb, root string) {
	t.Helper()
	must(t, filepath.WalkDir(root, func(name string, _ fs.DirEntry, err error) error {
		if err != nil {
			t.Errorf("a leftover: %v", err)
			return nil
		}
		return nil
	}))
}

// look describes what stands at a path, as files does: with the mode where the expectation has one.
func look(t tb, root, name, like string) string {
	t.Helper()
	full := filepath.Join(root, name)
	var st unix.Stat_t
	err := unix.Lstat(full, &st)
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENOTDIR) {
		return ""
	}
	must(t, err)
	kind, rest, _ := strings.Cut(like, " ")
	switch st.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		if rest != "" && kind == "dir" {
			return fmt.Sprintf("dir %04o", st.Mode&0o7777)
		}
		return "dir"
	case unix.S_IFLNK:
		target, err := os.Readlink(full)
		must(t, err)
		return "-> " + target
	case unix.S_IFIFO:
		return "fifo"
	case unix.S_IFSOCK:
		return "socket"
	}
	content, err := os.ReadFile(full)
	must(t, err)
	if len(kind) == 4 && strings.Trim(kind, "01234567") == "" {
		return fmt.Sprintf("%04o %s", st.Mode&0o7777, content)
	}
	return string(content)
}

// check compares what is there with what is expected.
func (f files) check(t tb, root string) {
	t.Helper()
	for name := range sortedKeys(f) {
		want := f[name]
		if target, ok := strings.CutPrefix(want, "= "); ok {
			if !sameFile(t, filepath.Join(root, name), filepath.Join(root, target)) {
				t.Errorf("%s and %s are not one file", name, target)
			}
			continue
		}
		if got := look(t, root, name, want); got != want {
			t.Errorf("%s is %q, want %q", name, got, want)
		}
	}
}

func sameFile(t tb, a, b string) bool {
	t.Helper()
	one, err := os.Lstat(a)
	must(t, err)
	two, err := os.Lstat(b)
	must(t, err)
	return os.SameFile(one, two)
}

// tempDir returns a directory that goes with the test. Its name is without commas and colons, which mount options split at.
func tempDir(t tb) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "servicing")
	must(t, err)
	must(t, os.Chmod(dir, 0o755))
	t.Cleanup(func() { must(t, os.RemoveAll(dir)) })
	return dir
}

// sh is the little that a user does in tests.
type sh struct {
	t    tb
	root string
}

func (s sh) put(name, what string) {
	s.t.Helper()
	full := filepath.Join(s.root, name)
	must(s.t, os.MkdirAll(filepath.Dir(full), 0o755))
	put(s.t, full, what)
}

func (s sh) rm(names ...string) {
	s.t.Helper()
	for _, name := range names {
		must(s.t, os.RemoveAll(filepath.Join(s.root, name)))
	}
}

func (s sh) chmod(name string, mode uint32) {
	s.t.Helper()
	must(s.t, unix.Chmod(filepath.Join(s.root, name), mode))
}

func (s sh) chown(name string, uid, gid int) {
	s.t.Helper()
	must(s.t, os.Lchown(filepath.Join(s.root, name), uid, gid))
}

// touch copies a file up without changing it.
func (s sh) touch(name string) {
	s.t.Helper()
	file, err := os.OpenFile(filepath.Join(s.root, name), os.O_WRONLY, 0)
	must(s.t, err)
	must(s.t, file.Close())
}

func linkIn(root, old, name string) error {
	return os.Link(filepath.Join(root, old), filepath.Join(root, name))
}
