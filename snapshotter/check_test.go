// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package snapshotter_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"

	"github.com/molt-snapshotter/molt-snapshotter/dag"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/keys"
)

// problems checks, and returns what is wrong, a line each.
func (f *fixture) problems() (lines []string) {
	f.t.Helper()
	all, err := f.Checks().Check(f.t.Context())
	f.must(err)
	for _, p := range all {
		lines = append(lines, p.Subject+": "+p.What)
	}
	return lines
}

// known returns the keys of all names, as a containerd in step has them.
func (f *fixture) known() (all []keys.Key) {
	f.State().Graph(func(g *dag.Graph) {
		for _, n := range g.Names() {
			all = append(all, keys.Key{Namespace: "test", Key: n.Key[strings.LastIndex(n.Key, "/")+1:]})
		}
	})
	return all
}

// expectProblem expects one problem which has all of the words in it.
func (f *fixture) expectProblem(words ...string) {
	f.t.Helper()
	lines := f.problems()
	for _, line := range lines {
		if !slices.ContainsFunc(words, func(word string) bool { return !strings.Contains(line, word) }) {
			return
		}
	}
	f.t.Errorf("no problem has %q in it: %q", words, lines)
}

func (f *fixture) expectSound() {
	f.t.Helper()
	if lines := f.problems(); len(lines) > 0 {
		f.t.Errorf("there are problems: %q", lines)
	}
}

func (f *fixture) repaired() {
	f.t.Helper()
	_, err := f.Checks().Repair(f.t.Context())
	f.must(err)
}

// TestCheck: what is done to a state directory behind the back of the daemon is found, and mended where there is one way to.
func TestCheck(t *testing.T) {
	cases := []struct {
		name   string
		harm   func(f lived)
		says   []string
		mended bool // repair leaves nothing to say
	}{
		{"nothing", func(lived) {}, nil, true},
		{"directory of a node gone", func(f lived) {
			f.must(os.RemoveAll(filepath.Join(f.dir(f.storage("web").Points[0].Head), "fs")))
		}, []string{"node n", "cannot be read"}, false},
		{"work directory gone", func(f lived) {
			f.must(os.RemoveAll(filepath.Join(f.dir(f.storage("web").Head), "work")))
		}, []string{"work directory is missing"}, true},
		{"record changed", func(f lived) {
			files, err := filepath.Glob(filepath.Join(f.root, "records/storages/*.json"))
			f.must(err)
			f.must(os.WriteFile(files[0], []byte("{}"), 0o600))
		}, []string{"the record of storage", "is not what the graph says"}, true},
		{"record of something that is gone", func(f lived) {
			f.must(os.WriteFile(filepath.Join(f.root, "records/names/x.json"), []byte("{}"), 0o600))
		}, []string{"something that is gone"}, true},
		{"record of a node gone", func(f lived) {
			f.must(os.Remove(filepath.Join(f.dir(f.storage("web").Head), "node.json")))
		}, []string{"the record of node n"}, true},
		{"report gone", func(f lived) {
			files, err := filepath.Glob(filepath.Join(f.root, "reports/*.json"))
			f.must(err)
			f.must(os.Remove(files[0]))
		}, []string{"report", "is gone"}, false},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			f := newLived(t)
			f.expectSound()
			c.harm(f)
			if c.says != nil {
				f.expectProblem(c.says...)
			}
			f.repaired()
			if left := f.problems(); c.mended && len(left) > 0 {
				t.Errorf("after the repair there is %q", left)
			}
			f.State().Graph(func(g *dag.Graph) { f.must(g.Check()) })
		})
	}
}

// TestCheckUnknownDirectory: a directory that nothing knows is set aside, not deleted.
func TestCheckUnknownDirectory(t *testing.T) {
	f := newLived(t)
	f.close()
	f.must(os.MkdirAll(filepath.Join(f.root, "n/4711/fs"), 0o700))
	f.open()
	f.eventually(func() bool {
		_, err := os.Stat(filepath.Join(f.root, "n/4711"))
		return os.IsNotExist(err)
	}, "what was never committed is deleted")
	f.must(os.MkdirAll(filepath.Join(f.root, "n/42/fs"), 0o700)) // as an id of before
	f.expectProblem("n/42", "nothing knows")
	f.repaired()
	f.expectProblem("lost/42-")
}

// TestCheckMounts: a mount that writes into an immutable node is found.
func TestCheckMounts(t *testing.T) {
	f := newLived(t)
	frozen := f.dir(f.storage("web").Points[0].Head)
	at := t.TempDir()
	f.must(os.Mkdir(frozen+"/work", 0o700)) // whoever wants to, can
	f.must(unix.Mount("overlay", at, "overlay", 0, "lowerdir="+f.dir(f.node(f.base))+"/fs,upperdir="+frozen+"/fs,workdir="+frozen+"/work"))
	t.Cleanup(func() { f.must(unix.Unmount(at, 0)) })
	f.expectProblem("immutable")
}

// TestCheckMountsOfOthers: somebody else's overlay, whose layers are told by short names only, is no problem.
func TestCheckMountsOfOthers(t *testing.T) {
	f := newLived(t)
	dir, at := t.TempDir(), t.TempDir()
	for _, id := range []string{"4711", "4712"} {
		f.must(os.MkdirAll(filepath.Join(dir, id, "fs"), 0o700))
	}
	t.Chdir(dir)
	f.must(unix.Mount("overlay", at, "overlay", 0, "lowerdir=4711/fs:4712/fs"))
	t.Cleanup(func() { f.must(unix.Unmount(at, 0)) })
	f.expectSound()
}

// TestCheckHost: where containerd was restored from an older state, or molt was, nothing is lost that can be kept.
func TestCheckHost(t *testing.T) {
	f := newLived(t)
	f.host.snapshots = append(f.known(), keys.Key{Namespace: "test", Key: "newer"})
	f.expectProblem(`"newer"`, "nothing of it here")
	f.host.snapshots = slices.DeleteFunc(f.known(), func(k keys.Key) bool { return k.Key == "plain" })
	f.expectProblem(`"plain"`, "what was written in it would go")
	f.repaired()
	f.must(f.Remove(t.Context(), f.plain))
	f.host.snapshots = f.known()
	f.expectSound()
	again := f.container("again", f.base, "rescued-plain")
	f.expect(again, "own", "plain")
}

// TestRescueBesideAnother: a storage that has the name of a rescue for a reason of its own is not taken for the rescue, and a
// rescue that was done is not done again.
func TestRescueBesideAnother(t *testing.T) {
	f := newLived(t)
	f.write(f.container("other", f.base, "rescued-plain"), "own", "of another")
	f.host.snapshots = slices.DeleteFunc(f.known(), func(k keys.Key) bool { return k.Key == "plain" })
	rescues := func() (names []string) {
		f.State().Graph(func(g *dag.Graph) {
			for _, st := range g.Storages() {
				if strings.HasPrefix(st.Name, "test/rescued-n") {
					names = append(names, strings.TrimPrefix(st.Name, "test/"))
				}
			}
		})
		return names
	}
	for range 2 {
		_, err := f.Checks().Repair(t.Context())
		f.must(err)
		if got := rescues(); len(got) != 1 {
			t.Fatalf("rescued as %q", got)
		}
	}
	f.expect(f.container("first", f.base, rescues()[0]), "own", "plain")
	f.expect(f.container("second", f.base, "rescued-plain"), "own", "of another")
}

// TestCheckTellsOfRebuilding: that the graph was rebuilt is told until somebody has taken note.
func TestCheckTellsOfRebuilding(t *testing.T) {
	f := newLived(t)
	f.close()
	f.must(os.Remove(f.database()))
	f.open()
	f.expectProblem("graph", "was rebuilt", "lost")
	f.repaired()
	f.expectSound()
}

// TestCheckElsewhere: a container of another snapshotter that has a label of molt's is listed, with what to do. It keeps nothing
// from being used.
func TestCheckElsewhere(t *testing.T) {
	f := newLived(t)
	f.host.snapshots = f.known()
	f.expectSound()
	web := snapshotter.Elsewhere{
		Namespace: "default", Container: "web", Snapshotter: "overlayfs", Ours: "molt", Label: "molt.dev/storage", Value: "data",
	}
	pod, bare := web, web
	pod.Pod, bare.Snapshotter, bare.Container = "shop/db", "", "bare"
	f.host.elsewhere = []snapshotter.Elsewhere{web, pod, bare}
	f.expectProblem(`container "web" in namespace "default": `, `molt.dev/storage="data"`, `is "overlayfs"`, `with the snapshotter "molt"`)
	f.expectProblem(`pod "shop/db" in namespace "default": `, "annotation", "runtime class")
	f.expectProblem(`container "bare"`, "it has no snapshotter")
	all, err := f.Checks().Repair(t.Context())
	f.must(err)
	for _, p := range all {
		if p.Grave || p.Remedy != "" || p.Repaired {
			t.Errorf("it is more than to be seen: %+v", p)
		}
	}

	f.host.errElsewhere = errdefs.ErrUnavailable
	f.expectProblem(`container "web"`)
	f.expectProblem("containerd: it cannot be asked for all", "unavailable")
	f.host.errElsewhere = nil
	f.host.elsewhere = slices.Repeat(f.host.elsewhere, 400)
	if lines := f.problems(); len(lines) != 1001 || lines[1000] != "containerd: 200 more containers of other snapshotters have labels of molt" {
		t.Errorf("%d lines, the last is %s", len(lines), lines[len(lines)-1])
	}
}

// TestCheckWithoutHost: without a containerd nothing is listed, and check says so.
func TestCheckWithoutHost(t *testing.T) {
	f := newFixture(t, snapshotter.WithHost(nil))
	f.host.elsewhere = []snapshotter.Elsewhere{{Namespace: "default", Container: "web", Label: "molt.dev/storage"}}
	if lines := f.problems(); len(lines) != 1 || !contains(lines[0], "containerd: it is not asked", "containerd.address is empty", "not listed") {
		t.Errorf("the problems are %q", lines)
	}
}
