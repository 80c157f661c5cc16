// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package snapshotter_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/errdefs"

	"github.com/molt-snapshotter/molt-snapshotter/dag"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/updates"
)

func updateOf(what string) snapshots.Opt {
	return snapshots.WithLabels(map[string]string{updates.LabelUpdateOf: what})
}

// delta commits a layer on another one as a client of snapshots does, and returns its key.
func (f *fixture) delta(own, parent string, prepared, committed []snapshots.Opt) string {
	f.t.Helper()
	active, key := f.key("write-"+own), f.key(own)
	f.deltaOf(active, key, parent, prepared, committed)
	return key
}

func (f *fixture) deltaOf(active, key, parent string, prepared, committed []snapshots.Opt) {
	f.t.Helper()
	mounts, err := f.Prepare(f.t.Context(), active, parent, prepared...)
	f.must(err)
	f.must(mount.WithTempMount(f.t.Context(), mounts, func(dir string) error {
		if err := os.MkdirAll(filepath.Join(dir, "etc"), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(dir, "version"), []byte("2"), 0o644); err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(dir, "etc/conf"), []byte("a = 1\n\nb = 1\n\nc = 2\n"), 0o644)
	}))
	f.must(f.Commit(f.t.Context(), key, active, committed...))
}

// first is the layer on which storages stand.
func (f *fixture) first() string {
	return f.layer("one", "", map[string]string{"version": "1", "etc/conf": "a = 1\n\nb = 1\n\nc = 1\n"})
}

// sound looks at the state of everything; containerd knows all keys.
func (f *fixture) sound() {
	f.t.Helper()
	f.host.snapshots = f.known()
	for _, p := range f.problems() {
		if !strings.Contains(p, "was rebuilt") {
			f.t.Errorf("problem: %s", p)
		}
	}
}

// byCommit returns the one update that a commit began, once it goes no further by itself; nil without one.
func (f *fixture) byCommit() *dag.Update {
	f.t.Helper()
	all := slices.DeleteFunc(f.updates(), func(u dag.Update) bool { return u.Cause != dag.ByCommit })
	if len(all) == 0 {
		return nil
	}
	if len(all) > 1 {
		f.t.Fatalf("there are %d updates by commit", len(all))
	}
	f.eventually(func() bool { return !f.get(all[0].ID).Underway() }, "the update goes no further")
	u := f.get(all[0].ID)
	return &u
}

func (f *fixture) get(id dag.UpdateID) (u dag.Update) {
	f.State().Graph(func(g *dag.Graph) { u, _ = g.Update(id) })
	return u
}

func (f *fixture) applied(id dag.UpdateID) {
	f.t.Helper()
	f.eventually(func() bool { return f.get(id).Outcomes["test/web"].State == dag.Applied }, "the update is applied")
}

// web makes a container with a storage in which it has changed what the next version changes, too.
func (f *fixture) web(base string) string {
	f.t.Helper()
	web := f.container("web", base, "web")
	f.write(web, "etc/conf", "a = 9\n\nb = 1\n\nc = 1\n")
	return web
}

// TestCommitPolicies: what a committed layer begins, by who says that it is an update, and by the policy for that.
func TestCommitPolicies(t *testing.T) {
	all := func(p updates.OnCommit) updates.CommitPolicy {
		policy := updates.CommitPolicy{Client: p, Image: p, Written: p}
		if p != updates.IgnoreCommit {
			policy.Image = updates.NotifyCommit
		}
		return policy
	}
	byDefault := snapshotter.DefaultOnCommit()
	states := map[updates.OnCommit]dag.State{
		updates.NotifyCommit: dag.Announced, updates.StageCommit: dag.Staged, updates.ApplyCommit: dag.Applied,
	}
	client := func(f *fixture, one string) { f.delta("two", one, nil, []snapshots.Opt{updateOf(chainID("one"))}) }
	prepared := func(f *fixture, one string) { f.delta("two", one, []snapshots.Opt{updateOf(chainID("one"))}, nil) }
	written := func(f *fixture, one string) { f.delta("two", one, nil, nil) }
	image := func(f *fixture, one string) {
		extract, key := f.unpacking("two")
		f.deltaOf(extract, key, one, []snapshots.Opt{updateOf(chainID("one"))}, []snapshots.Opt{updateOf(chainID("one"))})
	}
	for name, c := range map[string]struct {
		commit func(*fixture, string)
		policy updates.CommitPolicy
		want   dag.State
	}{
		"client by default":            {client, byDefault, dag.Staged},
		"client at Prepare by default": {prepared, byDefault, dag.Staged},
		"image by default":             {image, byDefault, dag.Announced},
		"written by default":           {written, byDefault, ""},
		"client apply":                 {client, all(updates.ApplyCommit), states[updates.ApplyCommit]},
		"client ignore":                {client, all(updates.IgnoreCommit), ""},
		"image where others apply":     {image, all(updates.ApplyCommit), dag.Announced},
		"image ignore":                 {image, all(updates.IgnoreCommit), ""},
		"written notify":               {written, all(updates.NotifyCommit), states[updates.NotifyCommit]},
		"written stage":                {written, all(updates.StageCommit), states[updates.StageCommit]},
		"written apply":                {written, all(updates.ApplyCommit), states[updates.ApplyCommit]},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t, snapshotter.WithOnCommit(c.policy))
			defer f.close()
			one := f.first()
			f.web(one)
			f.container("other", one, "other", snapshots.WithLabels(map[string]string{snapshotter.LabelStorage: "other"}))
			c.commit(f, one)
			u := f.byCommit()
			if u == nil {
				if c.want != "" {
					t.Fatalf("there is no update")
				}
				return
			}
			f.expectState(*u, "web", c.want)
			f.expectState(*u, "other", c.want)
			if u.Outcomes["test/web"].Delta == 0 && c.want != dag.Announced {
				t.Error("there is no delta storage for what was changed on both sides")
			}
		})
	}
}

func TestCommitPolicyRefused(t *testing.T) {
	for _, p := range []updates.CommitPolicy{{}, {Client: "stage", Image: "apply", Written: "ignore"}, {Client: "sometimes", Image: "notify", Written: "ignore"}} {
		if err := snapshotter.Validate(snapshotter.WithOnCommit(p)); !errdefs.IsInvalidArgument(err) {
			t.Errorf("%v: %v", p, err)
		}
	}
}

// staged returns a fixture in which an update by commit is staged for storage web.
func staged(t *testing.T) (f *fixture, web string, u dag.Update) {
	f = newFixture(t, snapshotter.WithOnCommit(updates.CommitPolicy{Client: "stage", Image: "notify", Written: "stage"}))
	one := f.first()
	web = f.web(one)
	f.delta("two", one, nil, nil)
	u = *f.byCommit()
	f.expectState(u, "web", dag.Staged)
	return f, web, u
}

// TestStagedAhead: what is staged shows nowhere, and is taken by the move if nothing was written since.
func TestStagedAhead(t *testing.T) {
	f, web, u := staged(t)
	defer f.close()
	f.expect(web, "etc/conf", "a = 9\n\nb = 1\n\nc = 1\n")
	f.must(f.Updates().Apply(t.Context(), u.ID, nil))
	f.applied(u.ID)
	f.expect(web, "etc/conf", "a = 9\n\nb = 1\n\nc = 2\n")
	if got, want := f.get(u.ID).Outcomes["test/web"].Delta, u.Outcomes["test/web"].Delta; got != want {
		t.Errorf("the delta storage is %v, not %v, which was staged", got, want)
	}
	if err := f.Updates().Apply(t.Context(), u.ID, nil); !errdefs.IsFailedPrecondition(err) {
		t.Errorf("a second time: %v", err)
	}
	f.sound()
	f.must(f.Rollbacks().Rollback(t.Context(), updates.RollbackRequest{Update: u.ID}))
	f.expect(web, "etc/conf", "a = 9\n\nb = 1\n\nc = 1\n")
	f.sound()
}

// TestStagedAndWritten: what was written after an update was staged is in what the update comes to.
func TestStagedAndWritten(t *testing.T) {
	f, web, u := staged(t)
	defer f.close()
	f.write(web, "etc/conf", "a = 9\n\nb = 7\n\nc = 1\n")
	f.must(f.Updates().Apply(t.Context(), u.ID, []string{"test/web"}))
	f.applied(u.ID)
	f.expect(web, "etc/conf", "a = 9\n\nb = 7\n\nc = 2\n")
	if got, old := f.get(u.ID).Outcomes["test/web"].Delta, u.Outcomes["test/web"].Delta; got == old {
		t.Errorf("the delta storage is %v, from before the container wrote", got)
	}
	f.sound()
}

// TestStagedRoot: what only changed the root of the container counts as written, too.
func TestStagedRoot(t *testing.T) {
	f, web, u := staged(t)
	defer f.close()
	f.in(web, func(dir string) { f.must(os.Chmod(dir, 0o711)) })
	f.must(f.Updates().Apply(t.Context(), u.ID, nil))
	f.applied(u.ID)
	f.in(web, func(dir string) {
		info, err := os.Stat(dir)
		f.must(err)
		if info.Mode().Perm() != 0o711 {
			t.Errorf("the root has mode %v", info.Mode())
		}
	})
}

// TestStagedOverRestart: after a restart of the daemon, or when its database is lost, what was staged is staged again.
func TestStagedOverRestart(t *testing.T) {
	for _, lost := range []bool{false, true} {
		f, web, u := staged(t)
		f.rest()
		f.close()
		if lost {
			f.must(os.Remove(f.database()))
		}
		f.open()
		f.expectState(f.get(u.ID), "web", dag.Staged)
		f.expect(web, "etc/conf", "a = 9\n\nb = 1\n\nc = 1\n")
		f.must(f.Updates().Apply(t.Context(), u.ID, nil))
		f.applied(u.ID)
		f.expect(web, "etc/conf", "a = 9\n\nb = 1\n\nc = 2\n")
		f.sound()
		f.close()
	}
}

// TestStagedCancelled: an update that is staged can be withdrawn, and is nowhere then.
func TestStagedCancelled(t *testing.T) {
	f, web, u := staged(t)
	defer f.close()
	all, err := f.Rollbacks().Cancel(t.Context(), u.ID, nil)
	f.must(err)
	if len(all) != 1 || all[0].Fate != updates.Withdraws || all[0].Err != nil {
		t.Errorf("cancel: %+v", all)
	}
	if err := f.Updates().Apply(t.Context(), u.ID, nil); !errdefs.IsFailedPrecondition(err) {
		t.Errorf("applied after it was withdrawn: %v", err)
	}
	f.expect(web, "etc/conf", "a = 9\n\nb = 1\n\nc = 1\n")
	f.eventually(func() bool {
		_, err := os.Stat(f.dir(u.Outcomes["test/web"].Delta))
		return os.IsNotExist(err)
	}, "the delta storage is deleted")
	f.sound()
}

// TestStagedAndBound: a container that asks for the new base takes what was staged, in an update of its own.
func TestStagedAndBound(t *testing.T) {
	f, web, u := staged(t)
	defer f.close()
	f.must(f.Remove(t.Context(), web))
	two := f.committed("two")
	web = f.container("again", two, "web")
	f.expect(web, "etc/conf", "a = 9\n\nb = 1\n\nc = 2\n")
	f.expectState(f.get(u.ID), "web", dag.Aborted)
	bound := f.updates()[len(f.updates())-1]
	if bound.Cause != dag.ByBind || bound.Outcomes["test/web"].Delta != u.Outcomes["test/web"].Delta {
		t.Errorf("the move is %+v", bound)
	}
	f.sound()
}

func (f *fixture) committed(own string) (key string) {
	f.State().Graph(func(g *dag.Graph) {
		for _, n := range g.Names() {
			if n.Kind == dag.Committed && filepath.Base(n.Key) == own {
				key = n.Key
			}
		}
	})
	return key
}

// TestNotStagedInUse: for a storage in use nothing is staged, and it can be asked for.
func TestNotStagedInUse(t *testing.T) {
	f := newFixture(t, snapshotter.WithOnCommit(updates.CommitPolicy{Client: "stage", Image: "notify", Written: "stage"}))
	defer f.close()
	one := f.first()
	web := f.web(one)
	var u dag.Update
	f.in(web, func(string) {
		f.delta("two", one, nil, nil)
		u = *f.byCommit()
		f.expectState(u, "web", dag.Announced)
		f.must(f.Updates().Apply(t.Context(), u.ID, nil))
		f.eventually(func() bool { return f.get(u.ID).Outcomes["test/web"].State == dag.Planned }, "the update waits")
	})
	f.expect(web, "etc/conf", "a = 9\n\nb = 1\n\nc = 2\n")
}

// TestStagedWhenFree: what was to be staged for a storage in use is staged once that is free, also after a restart of the daemon,
// and goes no further by itself.
func TestStagedWhenFree(t *testing.T) {
	for how, restarted := range map[string]bool{"at once": false, "after a restart": true} {
		t.Run(how, func(t *testing.T) {
			f := newFixture(t, snapshotter.WithOnCommit(updates.CommitPolicy{Client: "stage", Image: "notify", Written: "stage"}))
			defer f.close()
			one := f.first()
			web := f.web(one)
			var id dag.UpdateID
			f.in(web, func(string) {
				f.delta("two", one, nil, nil)
				u := *f.byCommit()
				f.expectState(u, "web", dag.Announced)
				id = u.ID
			})
			if restarted {
				f.reopen()
			}
			f.host.set("web", "web")
			f.Uses().TaskSeen("test", "web", time.Now())
			f.eventually(func() bool { return f.get(id).Outcomes["test/web"].State == dag.Staged }, "the update is staged")
			f.expect(web, "etc/conf", "a = 9\n\nb = 1\n\nc = 1\n")
			f.must(f.Updates().Apply(t.Context(), id, nil))
			f.applied(id)
			f.expect(web, "etc/conf", "a = 9\n\nb = 1\n\nc = 2\n")
		})
	}
}

// TestCommitOfOthers: storages of another namespace, and anonymous ones, are not concerned, nor is anything where none stands
// on the base, or where it is not known what is updated.
func TestCommitOfOthers(t *testing.T) {
	f := newFixture(t, snapshotter.WithOnCommit(updates.CommitPolicy{Client: "apply", Image: "notify", Written: "apply"}))
	defer f.close()
	one := f.first()
	f.delta("first", one, nil, nil)
	f.container("anonymous", one, "")
	f.delta("second", one, nil, nil)
	f.web(one)
	f.delta("third", one, nil, []snapshots.Opt{updateOf("something that is not here")})
	f.deltaOf("elsewhere/900/write", "elsewhere/901/fourth", one, nil, nil)
	if u := f.byCommit(); u != nil {
		t.Errorf("update %+v", *u)
	}
}
