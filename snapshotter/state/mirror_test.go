// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package state

import (
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/molt-snapshotter/molt-snapshotter/dag"
	"github.com/molt-snapshotter/molt-snapshotter/dag/salvage"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/clock"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/nodes"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/records"
)

// healed is the graph as it would be rebuilt now, were the database lost.
func (b bench) healed() *dag.Graph {
	b.t.Helper()
	present, err := b.nodes.List()
	b.must(err)
	remains, unread, err := opening{nodes: b.nodes, files: b.mirror.files, present: present}.remains()
	b.must(err)
	if len(unread) > 0 {
		b.t.Errorf("cannot be read: %v", unread)
	}
	g, _, _ := salvage.Graph(remains, clock.Now())
	return g
}

func storageNames(g *dag.Graph) (names []string) {
	for _, st := range g.Storages() {
		names = append(names, st.Name)
	}
	return names
}

// TestHealWhileCatchingUp: the daemon dies before the records of a change are copied, and the database is lost after
// any of the steps by which the next one corrects them, while the directories of nodes that are gone are still in
// use. Nothing is damaged, and once all is corrected nothing that is gone comes back.
func TestHealWhileCatchingUp(t *testing.T) {
	b := newBench(t)
	base := b.layer("default/1/base", "", "file")
	b.bound("default/2/a", base, "a")
	for _, file := range []string{"one", "two"} {
		b.write("default/a", file)
		b.divide("default/a")
	}
	unpin := func() {}
	defer func() { unpin() }()
	for _, change := range []struct {
		what string
		do   func() error
	}{
		{"fork", func() error { return b.fork("default/a", "default/b") }},
		{"remove a container", func() error { return b.drop("default/2/a") }},
		{"fork the copy", func() error { return b.fork("default/b", "default/c") }},
		{"remove the first", func() error { return b.remove("default/a") }},
		{"remove the copy", func() error { return b.remove("default/b") }},
		{"remove the last", func() error { return b.remove("default/c") }},
	} {
		present, err := b.nodes.List()
		b.must(err)
		unpin()
		unpin = b.leases.lease(present...) // somebody uses them
		b.mirror.mu.Lock()
		b.mirror.behind = true
		b.mirror.mu.Unlock()
		b.must(change.do())

		b.mirror.mu.Lock()
		wrong, err := b.mirror.compare()
		b.must(err)
		if len(wrong) == 0 {
			t.Errorf("%s: no record is behind", change.what)
		}
		for _, one := range wrong {
			b.must(one.correct())
			for _, n := range b.healed().Nodes() {
				if n.Damage != "" {
					t.Errorf("%s, after %s: %v is %s", change.what, one.what, n.ID, n.Damage)
				}
			}
		}
		wrong, err = b.mirror.compare()
		b.must(err)
		var want []string
		b.Graph(func(g *dag.Graph) { want = storageNames(g) })
		if got := storageNames(b.healed()); !slices.Equal(got, want) || len(wrong) > 0 {
			t.Errorf("%s: the storages would be %v, not %v; still wrong: %v", change.what, got, want, wrong)
		}
		b.mirror.mu.Unlock()
	}
}

// TestRemovedInUse: the daemon died before the records of a removal were copied, and what was removed is still in use
// at the next start. When the database is lost after that the storage stays removed.
func TestRemovedInUse(t *testing.T) {
	b := newBench(t)
	base := b.layer("default/1/base", "", "file")
	b.bound("default/2/a", base, "a")
	b.must(b.drop("default/2/a"))
	head := filepath.Dir(b.open("default/a"))
	_, err := b.store.Do(dag.RemoveStorage{Name: "default/a", Now: clock.Now()}) // and nothing is copied
	b.must(err)
	b.must(b.mirror.catchUpAtStart())
	if _, err := os.Lstat(head); err != nil {
		t.Fatal(err)
	}
	if names := storageNames(b.healed()); len(names) > 0 {
		t.Errorf("the storages would be %v", names)
	}
}

// opened is a graph that is opened without anything that goes on in the background.
func opened(t *testing.T, root string) (*mirror, func()) {
	t.Helper()
	dir, err := nodes.Open(root)
	if err != nil {
		t.Fatal(err)
	}
	st, files, _, err := openGraph(dir)
	if err != nil {
		t.Fatal(err)
	}
	return &mirror{store: st, nodes: dir, files: files, boot: "boot"}, func() {
		if err := errors.Join(st.Close(), dir.Close()); err != nil {
			t.Error(err)
		}
	}
}

// TestDatabaseOneChangeBehind: bbolt goes by its other meta page when the one of the last change is damaged. The
// graph is rebuilt if a record tells of that change; if none does the records are made to say what the database says.
func TestDatabaseOneChangeBehind(t *testing.T) {
	for name, told := range map[string]bool{"a record was written": true, "a record was deleted": false} {
		t.Run(name, func(t *testing.T) {
			root := filepath.Join(t.TempDir(), "root")
			must := bench{t: t}.must
			m, closed := opened(t, root)
			_, err := m.nodes.Stage(1)
			must(err)
			must(m.nodes.Publish(1))
			_, err = m.do(
				dag.Prepare{Key: "default/1/a", Kind: dag.Active, Open: 1, Now: clock.Now()},
				dag.Bind{Key: "default/1/a", Storage: "test/a", Now: clock.Now()},
			)
			must(err)
			must(m.catchUpAtStart())
			change, err := m.store.Do(dag.Configure{Storage: "test/a", Settings: []byte(`{"on_hold":"fail"}`)})
			must(err)
			if told {
				must(m.files.Put(records.Storages, "test/a", m.store.Sequence(), change.Storages["test/a"]))
			} else {
				must(m.files.Delete(records.Storages, "test/a")) // as a change does that removes it
			}
			closed()
			damageNewerMeta(t, filepath.Join(root, "graph.db"))

			m, closed = opened(t, root)
			defer closed()
			m.store.View(func(g *dag.Graph) {
				if st, ok := g.Storage("test/a"); !ok || (len(st.Settings) > 0) != told {
					t.Errorf("the storage is there: %t, with the settings %s", ok, st.Settings)
				}
			})
			must(m.catchUpAtStart())
			if wrong, err := m.compare(); err != nil || len(wrong) > 0 {
				t.Errorf("still wrong: %v, %v", wrong, err)
			}
		})
	}
}

// damageNewerMeta damages the meta page of the last change, which bbolt keeps on the first two pages in turn.
func damageNewerMeta(t *testing.T, path string) {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	const transaction, sum = 16 + 48, 16 + 56
	second := os.Getpagesize()
	newer := 0
	if number := binary.NativeEndian.Uint64; number(content[second+transaction:]) > number(content[transaction:]) {
		newer = second
	}
	content[newer+sum] ^= 0xff
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
}
