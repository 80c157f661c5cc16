// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package snapshotter_test

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containerd/containerd/v2/core/snapshots"

	"github.com/molt-snapshotter/molt-snapshotter/dag"
	"github.com/molt-snapshotter/molt-snapshotter/servicing"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/tree"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/keys"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/state"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/updates"
)

// Each file in testdata/roots is a state directory that an earlier version of molt left, with every state in it that a
// storage and an update can have. The files are never changed: a later version must open a copy of each of them.
const sampleRoots = "testdata/roots"

// sample says what a state directory holds: the files of every state of every storage, and the outcome of every update.
type sample struct {
	Keys     map[string]string            `json:"keys"`
	Files    map[string]map[string]string `json:"files"` // by storage and state, then by path
	Outcomes map[string]dag.State         `json:"outcomes"`
	Pending  map[string]string            `json:"pending"`
}

// TestMakeRoot makes a state directory of this version, for the tests of later ones, at MOLT_MAKE_ROOT; see make sample-root.
func TestMakeRoot(t *testing.T) {
	path := os.Getenv("MOLT_MAKE_ROOT")
	if path == "" {
		path = filepath.Join(t.TempDir(), "root.tar.zst")
	}
	kept := state.Retention{Points: 2}
	f := newFixture(t, snapshotter.WithRetention(kept))
	var want sample
	f.everyState(func() {
		f.eventually(func() (settled bool) {
			f.State().Graph(func(g *dag.Graph) {
				settled = len(g.Unsynced()) == 0 && len(g.Unmeasured()) == 0
				for _, st := range g.Storages() {
					settled = settled && len(st.Points) <= kept.Points
				}
			})
			return settled
		}, "all layers are on disk, and no storage can be returned to more states than are kept")
		want = f.sampled()
		f.must(f.Close())
	})
	data, err := json.Marshal(want)
	f.must(err)
	f.must(os.WriteFile(filepath.Join(f.root, sampleName), data, 0o600))
	f.must(pack(f.root, path))
	f.open()
	openSample(t, path)
}

// everyState makes storages that were updated, rolled back with and without carrying, forked, merged, are held, have an update
// staged and announced, and wait for an update and for a rollback. It calls fn while they wait.
func (f *fixture) everyState(fn func()) {
	one, two := f.bases()
	rebuilt := f.layer("rebuilt", "", map[string]string{"version": "3", "etc/conf": "a = 1\n\nb = 2\n\nc = 1\n"})
	keys := map[string]string{}
	for _, name := range []string{"applied", "rolledback", "carried", "forked", "held", "merged", "waits", "returns", "untouched"} {
		keys[name] = f.container(name, one, name)
		f.write(keys[name], "own", "of "+name)
		f.write(keys[name], "etc/conf", "a = 9\n\nb = 1\n\nc = 1\n")
	}
	f.write(keys["held"], "etc/conf", "a = 1\n\nb = 8\n\nc = 1\n")
	f.container("anonymous", one, "")
	both := []string{"test/applied", "test/rolledback", "test/carried", "test/forked", "test/merged", "test/returns"}
	u := f.update(one, two, both...)
	for _, name := range []string{"rolledback", "carried", "returns", "merged"} {
		f.write(keys[name], "since", "written since")
	}
	f.must(f.Rollbacks().Rollback(f.t.Context(), updates.RollbackRequest{Update: u.ID, Storages: []string{"test/rolledback"}}))
	f.must(f.Rollbacks().Rollback(f.t.Context(), updates.RollbackRequest{Update: u.ID, Storages: []string{"test/carried"}, Carry: true}))
	f.must(f.Storages().Fork(f.t.Context(), "test/forked", "test/fork"))
	for range 3 {
		f.update(two, rebuilt, "test/merged")
		f.write(keys["merged"], "again", "written again")
		f.update(rebuilt, two, "test/merged")
	}
	id, err := f.Updates().Begin(f.t.Context(), updates.Request{
		From: f.node(one), To: f.node(rebuilt), Storages: []string{"test/held"},
		Options: servicing.Options{Policy: servicing.Policy{servicing.ConcernText: servicing.ActionHold}},
	})
	f.must(err)
	f.expectState(f.settled(id), "held", dag.Held)
	f.committedUpdates()
	f.in(keys["waits"], func(string) {
		f.expectState(f.update(one, two, "test/waits"), "waits", dag.Planned)
		f.in(keys["returns"], func(string) {
			f.must(f.Rollbacks().Rollback(f.t.Context(), updates.RollbackRequest{Update: u.ID, Storages: []string{"test/returns"}}))
			fn()
		})
	})
}

// committedUpdates makes a storage for which an update by a committed layer is staged, and one for which it is announced.
func (f *fixture) committedUpdates() {
	for name, says := range map[string]dag.State{"staged": dag.Staged, "announced": dag.Announced} {
		base := f.layer("base of "+name, "", map[string]string{"version": "1", "etc/conf": "a = 1\n\nb = 1\n\nc = 1\n"})
		key := f.container(name, base, name)
		f.write(key, "etc/conf", "a = 9\n\nb = 1\n\nc = 1\n")
		label := []snapshots.Opt{updateOf(chainID("base of " + name))}
		active, committed := f.key("write-"+name), f.key("next-"+name)
		if says == dag.Announced {
			active, committed = f.unpacking("next of " + name)
		}
		f.deltaOf(active, committed, base, label, label)
		f.eventually(func() bool {
			for _, u := range f.updates() {
				if u.Outcomes["test/"+name].State == says {
					return true
				}
			}
			return false
		}, "the update of %s is %s", name, says)
	}
}

// sampled returns what the state directory holds.
func (f *fixture) sampled() sample {
	s := sample{Keys: map[string]string{}, Files: map[string]map[string]string{}, Outcomes: map[string]dag.State{}, Pending: map[string]string{}}
	f.State().Graph(func(g *dag.Graph) {
		for _, st := range g.Storages() {
			s.Keys[st.Name] = st.Key
			if st.Pending != nil {
				s.Pending[st.Name] = st.Pending.String()
			}
			states := map[string]dag.NodeID{"head": st.Head}
			for i, p := range st.Points {
				states[fmt.Sprintf("point %d of %v", i, p.Update)] = p.Head
			}
			for i, p := range st.Aside {
				states[fmt.Sprintf("aside %d of %v", i, p.Update)] = p.Head
			}
			for state, head := range states {
				n, _ := g.Node(head)
				s.Files[st.Name+", "+state] = f.files(append(g.Stack(head), g.Chain(n.Base)...))
			}
		}
		for _, u := range g.Updates() {
			for name, o := range u.Outcomes {
				s.Outcomes[fmt.Sprintf("%v of %s", u.ID, name)] = o.State
			}
		}
	})
	return s
}

// files returns the content of the regular files that nodes show.
func (f *fixture) files(ids []dag.NodeID) map[string]string {
	f.t.Helper()
	stack := make(tree.Stack, 0, len(ids))
	for _, id := range ids {
		stack = append(stack, filepath.Join(f.dir(id), "fs"))
	}
	shown := map[string]string{}
	view, err := tree.Open(stack)
	f.must(err)
	f.must(view.Tree(f.t.Context(), func(e tree.Entry) error {
		if e.Kind != tree.Regular {
			return nil
		}
		data, err := view.ReadFile(e.Path, 1<<20)
		shown[e.Path] = string(data)
		return err
	}))
	f.must(view.Close())
	return shown
}

// sampleName is the file in a sample that says what it holds.
const sampleName = "sample.json"

// TestOldRoots: this version opens what earlier ones left, with every storage, every state that it can return to, and every
// outcome; what waited is carried out, and rollbacks and updates work.
func TestOldRoots(t *testing.T) {
	paths, err := filepath.Glob(filepath.Join(sampleRoots, "*.tar.zst"))
	if err != nil || len(paths) == 0 {
		t.Fatalf("there are no samples: %v", err)
	}
	for _, path := range paths {
		t.Run(filepath.Base(path), func(t *testing.T) { openSample(t, path) })
	}
	t.Run("without its database", func(t *testing.T) {
		f, want := unpackSample(t, paths[0])
		f.must(os.Remove(filepath.Join(f.root, "graph.db")))
		f.open()
		defer f.close()
		f.expectSample(want)
	})
}

func openSample(t *testing.T, path string) {
	f, want := unpackSample(t, path)
	f.open()
	defer f.close()
	f.expectSample(want)
	problems, err := f.Checks().Check(t.Context())
	f.must(err)
	for _, p := range problems {
		if p.Grave {
			t.Errorf("%s %s", p.Subject, p.What)
		}
	}
	f.host.run("waits", false)
	f.host.run("returns", false)
	waits, returns := want.Keys["test/waits"], want.Keys["test/returns"]
	f.expect(waits, "version", "2")
	f.expect(waits, "etc/conf", "a = 9\n\nb = 1\n\nc = 2\n")
	f.expect(returns, "version", "1")
	f.expect(returns, "since", "")
	f.must(f.Rollbacks().Rollback(t.Context(), updates.RollbackRequest{Update: 1, Storages: []string{"test/applied"}}))
	f.expect(want.Keys["test/applied"], "version", "1")
	f.expect(want.Keys["test/applied"], "own", "of applied")
}

// unpackSample returns a fixture whose state directory is a copy of a sample, not yet opened.
func unpackSample(t *testing.T, path string) (*fixture, sample) {
	t.Helper()
	requireRoot(t)
	f := &fixture{
		t: t, root: filepath.Join(t.TempDir(), "root"), keys: 1000,
		host: &fakeHost{claims: map[string]string{}, running: map[string]bool{}},
	}
	f.must(unpack(path, f.root))
	data, err := os.ReadFile(filepath.Join(f.root, sampleName))
	f.must(err)
	var want sample
	f.must(json.Unmarshal(data, &want))
	f.host.running["waits"], f.host.running["returns"] = true, true // so that they go on waiting
	for _, key := range want.Keys {
		if parts := strings.SplitN(key, "/", 3); len(parts) == 3 {
			f.host.snapshots = append(f.host.snapshots, keys.Key{Namespace: parts[0], Key: parts[2]})
		}
	}
	return f, want
}

func (f *fixture) expectSample(want sample) {
	f.t.Helper()
	got := f.sampled()
	for state, files := range want.Files {
		if !maps.Equal(got.Files[state], files) {
			f.t.Errorf("%s shows %v, not %v", state, got.Files[state], files)
		}
	}
	if !maps.Equal(got.Keys, want.Keys) {
		f.t.Errorf("the storages are %v, not %v", got.Keys, want.Keys)
	}
	if !maps.Equal(got.Outcomes, want.Outcomes) || !maps.Equal(got.Pending, want.Pending) {
		f.t.Errorf("got %v, waiting for %v, not %v, waiting for %v", got.Outcomes, got.Pending, want.Outcomes, want.Pending)
	}
}
