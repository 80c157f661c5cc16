// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package snapshotter_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/containerd/errdefs"

	"github.com/molt-snapshotter/molt-snapshotter/dag"
	"github.com/molt-snapshotter/molt-snapshotter/servicing"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/state"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/updates"
)

// diffPath writes what changed at a path in short, by diff the lines that did or why there is none; or why there are no diffs.
func (f *fixture) diffPath(id dag.UpdateID, storage, path string) (out []string) {
	f.t.Helper()
	d, err := f.Inspector().DiffPath(f.t.Context(), id, "test/"+storage, path)
	f.must(err)
	if d.Why != "" {
		return []string{d.Why}
	}
	for _, one := range d.Diffs {
		text := one.Why
		for line := range strings.Lines(one.Text) {
			if !strings.HasPrefix(line, "---") && !strings.HasPrefix(line, "+++") && strings.ContainsAny(line[:1], "-+") {
				text += strings.TrimSpace(line) + "|"
			}
		}
		out = append(out, text)
	}
	return out
}

func (f *fixture) expectDiffs(id dag.UpdateID, storage, path string, want ...string) {
	f.t.Helper()
	if got := f.diffPath(id, storage, path); !slices.Equal(got, want) {
		f.t.Errorf("%s of %s in %v: got %q, want %q", path, storage, id, got, want)
	}
}

// TestDiffPathOfUpdate: what changed is told for as long as the nodes are there, whatever was written since.
func TestDiffPathOfUpdate(t *testing.T) {
	f := newFixture(t, snapshotter.WithRetention(state.Retention{Points: 1}))
	one, two := f.bases()
	three := f.layer("three", two, map[string]string{"version": "3"})
	web, plain := f.container("web", one, "web"), f.container("plain", one, "plain")
	f.write(web, "etc/conf", "a = 9\n\nb = 1\n\nc = 1\n")
	f.write(plain, "own", "mine")
	u := f.update(one, two)
	for storage, key := range map[string]string{"web": web, "plain": plain} {
		f.expectState(u, storage, dag.Applied)
		f.write(key, "etc/conf", "since")
	}
	f.expectDiffs(u.ID, "web", "etc/conf", "-c = 1|+c = 2|", "-a = 1|+a = 9|", "-c = 1|+c = 2|")
	if o := u.Outcomes["test/plain"]; o.Delta != 0 {
		t.Fatalf("there are side effects: %v", o)
	}
	f.expectDiffs(u.ID, "plain", "etc/conf", "-c = 1|+c = 2|", "the content is the same", "-c = 1|+c = 2|")
	f.expectDiffs(u.ID, "web", "nothing", slices.Repeat([]string{"it is in neither of them"}, 3)...)

	f.must(f.Rollbacks().Rollback(t.Context(), updates.RollbackRequest{Update: u.ID, Storages: []string{"test/plain"}}))
	f.expectDiffs(u.ID, "plain", "etc/conf", "the update was rolled back; only digests can be told")
	f.update(two, three)
	f.eventually(func() bool { return len(f.storage("web").Points) == 1 }, "the oldest rollback point goes")
	f.expectDiffs(u.ID, "web", "etc/conf", "the state from before the update is not kept any more; only digests can be told")
	_, err := f.Inspector().DiffPath(t.Context(), u.ID, "test/other", "etc/conf")
	refused(t, err, errdefs.ErrNotFound, "test/other")
	_, err = f.Inspector().DiffPath(t.Context(), 99, "test/web", "etc/conf")
	refused(t, err, errdefs.ErrNotFound, "u99")
}

// TestDiffPathNotApplied: a storage that waits, or is held, is compared as it is now.
func TestDiffPathNotApplied(t *testing.T) {
	f := newFixture(t)
	one, two := f.bases()
	three := f.layer("three", one, map[string]string{"version": "3"})
	waits, held := f.container("waits", one, "waits"), f.container("held", one, "held")
	changes := []string{"-c = 1|+c = 2|", "-c = 1|+c = 8|"}
	for _, key := range []string{waits, held} {
		f.write(key, "etc/conf", "a = 1\n\nb = 1\n\nc = 8\n")
	}
	f.in(waits, func(string) {
		u := f.update(one, two, "test/waits")
		f.expectState(u, "waits", dag.Planned)
		f.expectDiffs(u.ID, "waits", "etc/conf", changes...)
	})
	id, err := f.Updates().Begin(t.Context(), updates.Request{
		From: f.node(one), To: f.node(two), Storages: []string{"test/held"},
		Options: servicing.Options{Policy: servicing.Policy{servicing.ConcernText: servicing.ActionHold}},
	})
	f.must(err)
	f.expectState(f.settled(id), "held", dag.Held)
	f.expectDiffs(id, "held", "etc/conf", changes...)
	f.expectState(f.update(one, three, "test/held"), "held", dag.Applied)
	f.expectDiffs(id, "held", "etc/conf", "the storage does not stand on the old base of the update; only digests can be told")
}
