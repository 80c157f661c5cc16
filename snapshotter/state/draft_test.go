// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package state

import (
	"os"
	"testing"

	"github.com/molt-snapshotter/molt-snapshotter/dag"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/clock"
)

// TestDraft: what a draft made is gone when it is closed, staged or published, unless it was committed; the nodes
// that it was made from are leased until then.
func TestDraft(t *testing.T) {
	b := newBench(t)
	base := b.node(b.layer("base", "", "file"))
	for name, c := range map[string]struct{ publish, commit bool }{
		"staged":    {},
		"published": {publish: true},
		"committed": {publish: true, commit: true},
	} {
		t.Run(name, func(t *testing.T) {
			draft := b.Begin(func(*dag.Graph) []dag.NodeID { return []dag.NodeID{base} })
			id, err := draft.MakeOpen(b.nodes.Stack([]dag.NodeID{base}))
			b.must(err)
			if c.publish {
				b.must(draft.Publish())
				b.must(draft.Sync())
			}
			released := 0
			draft.Keep(func() { released++ })
			if !b.leases.leased(base) || released != 0 {
				t.Errorf("the base is leased: %t, released %d times", b.leases.leased(base), released)
			}
			if c.commit {
				b.must(draft.Commit(dag.Prepare{Key: name, Kind: dag.Active, Parent: "base", Open: id, Now: clock.Now()}))
			}
			for range 2 {
				b.must(draft.Close())
			}
			if b.leases.leased(base) || released != 1 {
				t.Errorf("the base is leased: %t, released %d times", b.leases.leased(base), released)
			}
			for _, dir := range []string{b.nodes.FS(id), b.nodes.Staging(id)} {
				_, err := os.Lstat(dir)
				if there := err == nil; there != (c.commit && dir == b.nodes.FS(id)) {
					t.Errorf("%s is there: %t", dir, there)
				}
			}
		})
	}
}

// TestDraftTakesItsAccountAlong: what a draft wrote down of a node that it was to freeze is not taken by a change
// that freezes the node later: it may have been written to in between.
func TestDraftTakesItsAccountAlong(t *testing.T) {
	b := newBench(t)
	b.bound("test/1/c", b.layer("base", ""), "web")
	st, _ := b.Storage("test/web")
	draft := b.Begin(Nothing)
	b.must(draft.Freeze(t.Context(), st.Head))
	b.must(draft.Close())
	b.write("test/web", "later")
	b.moved("test/web", b.layer("base2", "base"))
	b.Graph(func(g *dag.Graph) {
		if n, _ := g.Node(st.Head); !n.Frozen || n.Digest != "" {
			t.Errorf("the node is frozen: %t, with digest %q", n.Frozen, n.Digest)
		}
	})
}
