// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package snapshotter_test

import (
	"encoding/json"
	"errors"
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/containerd/errdefs"

	"github.com/molt-snapshotter/molt-snapshotter/dag"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/records"
)

// database is where the graph is kept.
func (f *fixture) database() string { return filepath.Join(f.root, "graph.db") }

// graph writes down all that is known.
func (f *fixture) graph() (text string) {
	f.t.Helper()
	f.State().Graph(func(g *dag.Graph) {
		f.must(g.Check())
		data, err := json.MarshalIndent([]any{g.Nodes(), g.Names(), g.Storages(), g.Updates()}, "", " ")
		f.must(err)
		text = string(data)
	})
	return text
}

// rest waits until the background has noted all that it notes about the nodes there are.
func (f *fixture) rest() {
	f.t.Helper()
	f.eventually(func() (done bool) {
		f.State().Graph(func(g *dag.Graph) { done = len(g.Unmeasured())+len(g.Unsynced())+len(g.Unattested()) == 0 })
		return done
	}, "all nodes are measured, summed up and on disk")
}

// lived is a fixture with an update, a rollback point, a storage without a container and an anonymous one.
type lived struct {
	*fixture
	base, web, plain string // keys
}

func newLived(t *testing.T) lived {
	f := newFixture(t)
	one, two := f.bases()
	web := f.container("web", one, "web")
	f.write(web, "own", "mine")
	idle := f.container("idle", one, "idle")
	f.write(idle, "own", "idle")
	f.must(f.Remove(t.Context(), idle))
	plain := f.container("plain", one, "")
	f.write(plain, "own", "plain")
	f.update(one, two, "test/web")
	f.write(web, "later", "x")
	f.host.snapshots = f.known()
	return lived{f, one, web, plain}
}

// expectAll expects all that was written.
func (f lived) expectAll() {
	f.t.Helper()
	f.expect(f.web, "own", "mine")
	f.expect(f.web, "later", "x")
	f.expect(f.web, "version", "2")
	f.expect(f.plain, "own", "plain")
	again := f.container("idle2", f.base, "idle")
	f.expect(again, "own", "idle")
}

// TestDatabaseDamaged: whatever becomes of the database, the graph is what it was, and nobody has to do anything.
func TestDatabaseDamaged(t *testing.T) {
	for name, damage := range map[string]func(t *testing.T, path string) error{
		"missing": func(_ *testing.T, path string) error { return os.Remove(path) },
		"empty":   func(_ *testing.T, path string) error { return os.Truncate(path, 0) },
		"cut":     func(_ *testing.T, path string) error { return os.Truncate(path, 9000) },
		"rubbish": func(_ *testing.T, path string) error { return os.WriteFile(path, make([]byte, 1<<16), 0o600) },
		"flipped bytes": func(t *testing.T, path string) error {
			content, err := os.ReadFile(path)
			seed := rand.Uint64()
			t.Logf("seed %d", seed)
			r := rand.New(rand.NewPCG(seed, 0))
			for range 200 {
				content[r.IntN(len(content))] ^= byte(1 + r.IntN(255))
			}
			return errors.Join(err, os.WriteFile(path, content, 0o600))
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := newLived(t)
			f.close()
			f.open()
			f.rest()
			before := f.graph()
			f.close()
			f.must(damage(t, f.database()))
			f.open()
			if after := f.graph(); after != before {
				t.Errorf("the graph is\n%s\nand was\n%s", after, before)
			}
			f.expectAll()
			kept, err := filepath.Glob(f.database() + ".[0-9]*")
			f.must(err)
			if nothing := name == "missing" || name == "empty"; (len(kept) == 1) == nothing {
				t.Errorf("of the old database %v is kept", kept)
			}
		})
	}
}

// TestOldDatabase: a database from a backup does not take the state back to what it was then: what is on disk is newer.
func TestOldDatabase(t *testing.T) {
	f := newLived(t)
	backup := filepath.Join(t.TempDir(), "backup.db")
	f.must(f.State().Backup(t.Context(), backup))
	later := f.container("later", f.base, "later")
	f.write(later, "own", "later")
	f.must(f.Remove(t.Context(), f.plain))
	f.close()
	content, err := os.ReadFile(backup)
	f.must(err)
	f.must(os.WriteFile(f.database(), content, 0o600))
	f.open()
	f.expect(f.web, "own", "mine")
	f.expect(later, "own", "later")
	_, err = f.Mounts(t.Context(), f.plain)
	refused(t, err, errdefs.ErrNotFound)
}

// TestOnlyNodesLeft: with no more than the directories of the nodes, the storages come back with what is in them.
func TestOnlyNodesLeft(t *testing.T) {
	f := newLived(t)
	f.close()
	f.must(os.Remove(f.database()))
	f.must(os.RemoveAll(filepath.Join(f.root, "records")))
	f.open()
	f.graph()
	for _, name := range []string{"test/web", "test/idle"} {
		f.State().Graph(func(g *dag.Graph) {
			st, ok := g.Storage(name)
			if n, _ := g.Node(st.Head); !ok || n.Damage != "" || g.Base(st) == 0 {
				t.Errorf("storage %q: %+v on %v, head %+v", name, st, g.Base(st), n)
			}
		})
	}
}

// TestNothingIsDeletedByRebuilding: a node that nothing knows when the graph is rebuilt is set aside.
func TestNothingIsDeletedByRebuilding(t *testing.T) {
	f := newLived(t)
	f.close()
	f.must(os.MkdirAll(filepath.Join(f.root, "n/4711/fs/precious"), 0o700))
	f.must(os.Remove(f.database()))
	f.open()
	found, err := filepath.Glob(filepath.Join(f.root, "lost/4711-*/fs/precious"))
	f.must(err)
	if len(found) != 1 {
		t.Error("what nothing knew is gone")
	}
	if id := f.node(f.layer("new", "", map[string]string{"a": "b"})); id <= 4711 {
		t.Errorf("id %v was given out again", id)
	}
}

// TestRecordsLost: files that are lost, damaged or of an earlier change are written again from the database.
func TestRecordsLost(t *testing.T) {
	f := newLived(t)
	f.close()
	files, err := filepath.Glob(filepath.Join(f.root, "records/*/*.json"))
	f.must(err)
	if len(files) < 5 {
		t.Fatalf("the records are %v", files)
	}
	f.must(os.Remove(files[0]))
	f.must(os.WriteFile(files[1], []byte("{}"), 0o600))
	f.must(os.Remove(filepath.Join(f.root, "records/sequence")))
	f.open()
	f.rest()
	before := f.graph()
	f.close()
	f.must(os.Remove(f.database()))
	f.open()
	if after := f.graph(); after != before {
		t.Errorf("the graph is\n%s\nand was\n%s", after, before)
	}
	f.expectAll()
}

// TestRecordsAfterPowerCut: a file that did not come onto the disk is written again at the next start, although the file that
// tells how far they have come did.
func TestRecordsAfterPowerCut(t *testing.T) {
	f := newLived(t)
	f.expectSound()
	f.close()
	dir, err := records.Open(filepath.Join(f.root, "records"))
	f.must(err)
	position, err := dir.Position()
	f.must(err)
	nodes, err := filepath.Glob(filepath.Join(f.root, "n", "*", "node.json"))
	f.must(err)
	for i, lost := range append(nodes, dir.Path(records.Storages, "test/web")) {
		f.must(os.Truncate(lost, 0))
		if i%2 == 0 {
			f.must(os.Remove(lost))
		}
	}
	position.Boot = "an earlier boot"
	f.must(dir.SetPosition(position))
	f.open()
	f.expectSound()
	f.expectAll()
	again, err := dir.Position()
	f.must(err)
	if again.Sequence < position.Sequence || again.Boot == position.Boot {
		t.Errorf("the files are at %v", again)
	}
}

// TestLockedOut: a second daemon does not take a database for damaged that the first one has open.
func TestLockedOut(t *testing.T) {
	f := newFixture(t)
	f.bases()
	_, err := snapshotter.New(f.root)
	refused(t, err, errdefs.ErrUnavailable, "another process")
}

// TestOldDatabaseWithoutPosition: that a database is older than what is on disk is told by the records themselves when the file that
// says how far they have come is lost or damaged.
func TestOldDatabaseWithoutPosition(t *testing.T) {
	for name, lose := range map[string]func(path string) error{
		"lost":    os.Remove,
		"damaged": func(path string) error { return os.WriteFile(path, []byte("{}"), 0o600) },
	} {
		t.Run(name, func(t *testing.T) {
			f := newLived(t)
			backup := filepath.Join(t.TempDir(), "backup.db")
			f.must(f.State().Backup(t.Context(), backup))
			later := f.container("later", f.base, "later")
			f.write(later, "own", "later")
			f.close()
			content, err := os.ReadFile(backup)
			f.must(err)
			f.must(os.WriteFile(f.database(), content, 0o600))
			f.must(lose(filepath.Join(f.root, "records/sequence")))
			f.open()
			f.expect(later, "own", "later")
			f.expectAll()
		})
	}
}

// TestDamagedRecordIsKept: what a rebuilding cannot read is there for people to look at, and told.
func TestDamagedRecordIsKept(t *testing.T) {
	f := newLived(t)
	f.close()
	dir, err := records.Open(filepath.Join(f.root, "records"))
	f.must(err)
	f.must(os.WriteFile(dir.Path(records.Storages, "test/web"), []byte("half of a rec"), 0o600))
	f.must(os.Remove(f.database()))
	f.open()
	f.expectProblem("lost/records-storages-")
	found, err := filepath.Glob(filepath.Join(f.root, "lost/records-storages-*"))
	f.must(err)
	if len(found) != 1 {
		t.Fatalf("kept is %v", found)
	}
	if content, err := os.ReadFile(found[0]); err != nil || string(content) != "half of a rec" {
		t.Errorf("kept is %q, %v", content, err)
	}
	f.expect(f.web, "own", "mine")
}

// TestRecordThatMayNotBeRead keeps a graph from being rebuilt without it.
func TestRecordThatMayNotBeRead(t *testing.T) {
	f := newLived(t)
	f.rest()
	before := f.graph()
	f.close()
	dir, err := records.Open(filepath.Join(f.root, "records"))
	f.must(err)
	record, aside := dir.Path(records.Storages, "test/web"), filepath.Join(f.root, "aside")
	f.must(os.Rename(record, aside))
	f.must(os.Symlink(record, record)) // any error that says nothing of the content; root may read all files
	f.must(os.Remove(f.database()))
	if s, err := snapshotter.New(f.root); err == nil {
		f.must(s.Close())
		t.Fatal("the graph was rebuilt without a record that could not be read")
	}
	f.must(os.Rename(aside, record))
	f.open()
	if after := f.graph(); after != before {
		t.Errorf("the graph is\n%s\nand was\n%s", after, before)
	}
}

// TestDamagedAccount: an account that a crash or a full disk left half written keeps nothing else from being checked.
func TestDamagedAccount(t *testing.T) {
	f := newLived(t)
	f.must(os.WriteFile(filepath.Join(f.root, "lost/rebuilt-1.json"), []byte("{"), 0o600))
	f.expectProblem("lost/rebuilt-1.json")
}
