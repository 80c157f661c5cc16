// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package servicing

import (
	"context"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"

	"github.com/molt-snapshotter/molt-snapshotter/servicing/sides"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/tree"
)

// drawnPath draws one of few paths, so that sides meet.
func drawnPath(t *rapid.T) string {
	names := []string{"etc", rapid.SampledFrom([]string{"a", "b", "c"}).Draw(t, "first")}
	for range rapid.IntRange(0, 2).Draw(t, "depth") {
		names = append(names, rapid.SampledFrom([]string{"x", "y"}).Draw(t, "name"))
	}
	return path.Join(names...)
}

// drawnTree draws a tree of files and directories; types reports whether to have symbolic links as well.
func drawnTree(t *rapid.T, types bool) files {
	f := files{"etc": "dir"}
	for i := range rapid.IntRange(0, 6).Draw(t, "files") {
		f.set(drawnPath(t), drawnWhat(t, types, i))
	}
	return f
}

func drawnWhat(t *rapid.T, types bool, i int) string {
	kinds := []string{"1", "2", "dir"}
	if types {
		kinds = append(kinds, "-> a", "-> /nonexistent/b", fmt.Sprintf("unique %d", i))
	}
	return rapid.SampledFrom(kinds).Draw(t, "what")
}

// set puts something at a path; what is in the way goes.
func (f files) set(name, what string) {
	for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
		if f[dir] != "dir" {
			delete(f, dir)
			f[dir] = "dir"
		}
	}
	if f[name] == "dir" && what == "dir" {
		return
	}
	f.remove(name)
	f[name] = what
}

func (f files) remove(name string) {
	for other := range f {
		if sides.Within(other, name) {
			delete(f, other)
		}
	}
}

// drawnBase changes a tree.
func drawnBase(t *rapid.T, old files, types bool) files {
	f := files{}
	maps.Copy(f, old)
	for i := range rapid.IntRange(0, 5).Draw(t, "changes") {
		name := drawnPath(t)
		if rapid.Bool().Draw(t, "remove") {
			f.remove(name)
			continue
		}
		f.set(name, drawnWhat(t, types, 10+i))
	}
	return f
}

// drawnWork lets the user work at random.
func drawnWork(t *rapid.T, root string, types bool) {
	for i := range rapid.IntRange(0, 6).Draw(t, "actions") {
		name := drawnPath(t)
		full := filepath.Join(root, name)
		switch rapid.IntRange(0, 3).Draw(t, "action") {
		case 0:
			if clearTheWay(t, root, name, false) {
				must(t, os.RemoveAll(full))
			}
		case 1: // copied up, not changed
			if !clearTheWay(t, root, name, false) {
				continue
			}
			if file, err := os.OpenFile(full, os.O_WRONLY|unix.O_NOFOLLOW, 0); err == nil {
				must(t, file.Close())
			}
		default:
			clearTheWay(t, root, name, true)
			must(t, os.MkdirAll(filepath.Dir(full), 0o755))
			must(t, os.RemoveAll(full))
			put(t, full, drawnWhat(t, types, 20+i))
		}
	}
}

// clearTheWay reports whether the parents of a path are directories, and removes what is in the way if it shall.
func clearTheWay(t *rapid.T, root, name string, remove bool) bool {
	parts := strings.Split(name, "/")
	for i := 1; i < len(parts); i++ {
		dir := path.Join(parts[:i]...)
		info, err := os.Lstat(filepath.Join(root, dir))
		if err == nil && !info.IsDir() {
			if !remove {
				return false
			}
			must(t, os.Remove(filepath.Join(root, dir)))
		}
	}
	return true
}

// snapshot describes all there is below a root.
func snapshot(t tb, root string) files {
	t.Helper()
	out := files{}
	must(t, filepath.WalkDir(root, func(full string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if name, _ := filepath.Rel(root, full); name != "." {
			out[name] = look(t, root, name, "")
		}
		return nil
	}))
	return out
}

// drawnScenario draws the bases and the work of a user.
func drawnScenario(t *rapid.T, types bool) *scenario {
	old := drawnTree(t, types)
	base := drawnBase(t, old, types)
	s := newScenario(t, old, base, func(root string) { drawnWork(t, root, types) })
	if rapid.Bool().Draw(t, "two nodes") {
		s.work(s.old, func(root string) { drawnWork(t, root, types) })
	}
	return s
}

// shown describes what a stack shows through a mount.
func (s *scenario) shown(lower ...string) (out files) {
	s.mounted("", lower, func(root string) { out = snapshot(s.t, root) })
	return out
}

// delta writes the delta storage, if there is one.
func (s *scenario) delta(p *Plan) []string {
	if p.Empty() {
		return nil
	}
	return []string{s.write(p)}
}

func equal(a, b files) bool {
	if len(a) != len(b) {
		return false
	}
	for name, what := range a {
		if b[name] != what {
			return false
		}
	}
	return true
}

// TestInvariants checks, with files, directories and links taking each other's place, what always holds: there is a plan,
// its result can be read, nothing that the user wrote is lost, nothing happens when the base did not change or when there
// is nothing of the user's, and reconciling once more with the same base changes nothing.
func TestInvariants(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		s := drawnScenario(rt, true)
		unchanged := *s
		unchanged.base = s.old
		if p := unchanged.plan(Options{}); !p.Empty() {
			rt.Fatalf("the base did not change, but there are side effects: %s", encoded(rt, p.Report()))
		}
		untouched := *s
		untouched.nodes = nil
		if p := untouched.plan(Options{}); !p.Empty() {
			rt.Fatalf("there is no storage, but there are side effects: %s", encoded(rt, p.Report()))
		}
		p := s.plan(Options{})
		o, u := snapshot(rt, s.old), s.shown(slices.Concat(s.nodes, []string{s.old})...)
		delta := s.delta(p)
		got := s.shown(slices.Concat(delta, s.nodes, []string{s.base})...)
		nothingLost(rt, o, u, got, p.Report())
		again := &scenario{t: rt, old: s.base, base: s.base, nodes: slices.Concat(delta, s.nodes)}
		if p := again.plan(Options{}); !p.Empty() {
			rt.Fatalf("side effects the second time: %s", encoded(rt, p.Report()))
		}
		minimal(rt, s, delta)
	})
}

// nothingLost checks that whatever the user wrote that nobody else has is somewhere.
func nothingLost(t *rapid.T, o, u, got files, r *Report) {
	for name, what := range u {
		if !strings.HasPrefix(what, "unique") || o[name] == what {
			continue
		}
		found := false
		for _, there := range got {
			found = found || there == what
		}
		if !found {
			t.Fatalf("%s (%q) is lost\nold %v\nuser %v\ngot %v\n%s", name, what, o, u, got, encoded(t, r))
		}
	}
}

// minimal checks that the delta storage holds nothing that would be shown without it: files and whiteouts all matter.
func minimal(t *rapid.T, s *scenario, delta []string) {
	if len(delta) == 0 {
		return
	}
	said, err := tree.Open(delta)
	must(t, err)
	plain, err := tree.Open(slices.Concat(s.nodes, []string{s.base}))
	must(t, err)
	must(t, said.Walk(context.Background(), func(c tree.Change) error {
		shown, err := sides.Lookup(plain, c.Path)
		if err != nil {
			return err
		}
		if c.Deleted && shown.Absent() {
			t.Fatalf("a whiteout over nothing: %s", c.Path)
		}
		if c.Deleted || c.Kind == tree.Directory || shown.Absent() {
			return nil
		}
		same, err := sides.SameContent(shown, sides.Node{View: said, Entry: c.Entry})
		if same && sides.SameMeta(c.Kind, shown.Meta, c.Meta) && c.Nlink == 1 {
			t.Fatalf("a needless copy: %s", c.Path)
		}
		return err
	}))
	must(t, said.Close())
	must(t, plain.Close())
}
