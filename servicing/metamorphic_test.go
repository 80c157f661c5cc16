// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package servicing

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/molt-snapshotter/molt-snapshotter/servicing/tree"
)

// become makes a tree what another one is, as a user with a file manager would.
func become(t tb, root, like string) {
	t.Helper()
	must(t, os.RemoveAll(filepath.Join(root, "etc")))
	want := scan(t, like)
	f := files{}
	all := want.all()
	for name, one := range all {
		f[name] = one.what
	}
	f.build(t, root)
	for name, one := range all {
		one.meta.apply(t, filepath.Join(root, name))
	}
}

// result services a storage and returns what is seen then.
func (s *scenario) result(in Input) (*thing, *Report, tree.Stack) {
	s.t.Helper()
	p, err := NewPlan(context.Background(), in)
	must(s.t, err)
	defer func() { must(s.t, p.Close()) }()
	nodes := in.User
	if !p.Empty() {
		delta := tempDir(s.t)
		must(s.t, p.Write(context.Background(), delta))
		nodes = slices.Concat(tree.Stack{delta}, nodes)
	}
	return s.scanned(slices.Concat(nodes, in.New)...), p.Report(), nodes
}

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root to mount")
	}
}

// TestSameAsBase checks that a storage in which all is as in the new base shows the new base.
func TestSameAsBase(t *testing.T) {
	needRoot(t)
	rapid.Check(t, func(rt *rapid.T) {
		s := drawnWhole(rt)
		s.nodes = nil
		s.work(s.old, func(root string) { become(rt, root, s.base) })
		got, report, _ := s.result(s.input(Options{}))
		if want := scan(rt, s.base); got.String() != want.String() {
			rt.Fatalf("got  %v\nwant %v\n%s", got, want, encoded(rt, report))
		}
	})
}

// TestHowItIsStored checks that the result does not depend on how the same content is spread over directories: a storage of
// several nodes or of one, a new base that is rebuilt or a layer on the old one.
func TestHowItIsStored(t *testing.T) {
	needRoot(t)
	rapid.Check(t, func(rt *rapid.T) {
		s := drawnWhole(rt)
		s.work(s.old, func(root string) { drawnWork(rt, root, true) })
		in := s.input(Options{})
		want, report, _ := s.result(in)

		one := in
		for len(one.User) > 1 {
			merged := tempDir(rt)
			must(rt, tree.Merge(context.Background(), one.User[0], one.User[1], []tree.Stack{slices.Concat(one.User[2:], in.Old)}, merged))
			one.User = slices.Concat(tree.Stack{merged}, one.User[2:])
		}
		if got, other, _ := s.result(one); got.String() != want.String() {
			rt.Fatalf("merged nodes\ngot  %v\nwant %v\n%s\n%s", got, want, encoded(rt, other), encoded(rt, report))
		}

		layer := &scenario{t: rt}
		layer.work(s.old, func(root string) { become(rt, root, s.base) })
		layered := in
		layered.New = tree.Stack{layer.nodes[0], s.old}
		if got, other, _ := s.result(layered); got.String() != want.String() {
			rt.Fatalf("a layered base\ngot  %v\nwant %v\n%s\n%s", got, want, encoded(rt, other), encoded(rt, report))
		}
	})
}

// TestH2SkippedUpdate checks that v1 -> v2 -> v3 and v1 -> v3 end the same where no path was changed twice: then the rules do not
// depend on what came between.
func TestH2SkippedUpdate(t *testing.T) {
	needRoot(t)
	checked := 0
	rapid.Check(t, func(rt *rapid.T) {
		f := drawnTree(rt, true)
		one := drawnSpec(rt, f, nil)
		f2 := drawnBase(rt, f, true)
		two := drawnSpec(rt, f2, one)
		three := drawnSpec(rt, drawnBase(rt, f2, true), two)
		v := []string{buildSpec(rt, one), buildSpec(rt, two), buildSpec(rt, three)}
		if first, last := scan(rt, v[0]), scan(rt, v[2]); changedTwice(first, scan(rt, v[1]), last) || maybeRenamed(first, last) {
			return
		}
		checked++
		s := &scenario{t: rt, old: v[0], base: v[1]}
		s.work(s.old, func(root string) { drawnWork(rt, root, true); drawnMetaWork(rt, root) })
		in := func(old, base string, nodes tree.Stack) Input {
			return Input{Old: tree.Stack{old}, New: tree.Stack{base}, User: nodes}
		}
		direct, report, _ := s.result(in(v[0], v[2], s.nodes))
		_, first, nodes := s.result(in(v[0], v[1], s.nodes))
		stepwise, second, _ := s.result(in(v[1], v[2], nodes))
		if direct.String() != stepwise.String() {
			rt.Fatalf("v1 %v\nv2 %v\nv3 %v\nuser %v\ndirect   %v\nstepwise %v\n%s\n%s\n%s", scan(rt, v[0]), scan(rt, v[1]), scan(rt, v[2]),
				s.scanned(slices.Concat(s.nodes, []string{s.old})...), direct, stepwise, encoded(rt, report), encoded(rt, first), encoded(rt, second))
		}
	})
	if checked == 0 {
		t.Error("nothing was checked")
	}
}

// maybeRenamed reports whether a directory is gone and another one is new: in one step that may be a rename, in two it is none.
func maybeRenamed(a, b *thing) bool {
	return newDir(a, b) && newDir(b, a)
}

// newDir reports whether one tree has a directory that another one does not have.
func newDir(without, with *thing) bool {
	other := without.all()
	for name, one := range with.all() {
		if one.dir() && !other[name].dir() {
			return true
		}
	}
	return false
}

// changedTwice reports whether a path, or something on the way to it, was changed in both steps.
func changedTwice(a, b, c *thing) bool {
	x, y, z := a.all(), b.all(), c.all()
	first, second := map[string]bool{}, map[string]bool{}
	for _, side := range []map[string]*thing{x, y, z} {
		for name := range side {
			first[name] = first[name] || differ(x[name], y[name])
			second[name] = second[name] || differ(y[name], z[name])
		}
	}
	for name := range first {
		if !first[name] {
			continue
		}
		for other := range second {
			if second[other] && (name == other || strings.HasPrefix(other, name+"/") || strings.HasPrefix(name, other+"/")) {
				return true
			}
		}
	}
	return false
}

func differ(a, b *thing) bool {
	return !same(a, b) || a != nil && a.meta != b.meta
}

// TestEmptyStorage checks that an update of an empty storage has no side effects but the identity that it had.
func TestEmptyStorage(t *testing.T) {
	s := newScenario(t, files{"etc/machine-id": "aaaa\n", "etc/a": "1"}, files{"etc/machine-id": "bbbb\n", "etc/a": "2", "etc/b": "1"}, nil)
	report := s.serviced(func(root string) {
		files{"etc/machine-id": "aaaa\n", "etc/a": "2", "etc/b": "1"}.check(t, root)
	})
	var got []string
	for _, e := range report.Effects {
		got = append(got, e.Path)
	}
	if want := []string{".", "etc", "etc/machine-id"}; !slices.Equal(got, want) {
		t.Errorf("side effects on %q, want %q", got, want)
	}
}
