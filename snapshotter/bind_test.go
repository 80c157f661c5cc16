// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package snapshotter_test

import (
	"errors"
	"testing"

	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/containerd/errdefs"

	"github.com/molt-snapshotter/molt-snapshotter/snapshotter"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/binding"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/updates"
)

// bases returns a base and one that extends it, each with its version in a file.
func (f *fixture) bases() (one, two string) {
	one = f.layer("one", "", map[string]string{"version": "1", "etc/conf": "a = 1\n\nb = 1\n\nc = 1\n"})
	two = f.layer("two", one, map[string]string{"version": "2", "etc/conf": "a = 1\n\nb = 1\n\nc = 2\n"})
	return one, two
}

func TestBindByEverySource(t *testing.T) {
	for source, opts := range map[string][]snapshots.Opt{
		"containerd is asked": nil,
		"label at Prepare":    {snapshots.WithLabels(map[string]string{snapshotter.LabelStorage: "web"})},
	} {
		t.Run(source, func(t *testing.T) {
			f := newFixture(t)
			one, two := f.bases()
			claim := "web"
			if opts != nil {
				claim = ""
			}
			first := f.container("first", one, claim, opts...)
			f.write(first, "own", "mine")
			second := f.container("second", one, claim, opts...)
			f.expect(second, "own", "mine")
			f.must(f.Remove(t.Context(), first))
			third := f.container("third", two, claim, opts...)
			f.expect(third, "own", "mine")
			f.expect(third, "version", "2")
			f.reopen()
			f.expect(third, "own", "mine")
		})
	}
}

// TestIdentity: containerd is asked after the container was created, once, and nothing is mounted when it cannot answer.
func TestIdentity(t *testing.T) {
	f := newFixture(t)
	one, _ := f.bases()
	key := f.key("web")
	_, err := f.Prepare(t.Context(), key, one)
	f.must(err)
	f.expect(key, "version", "1") // provisional: there is no container yet
	f.host.err = errors.New("containerd is away")
	_, err = f.Mounts(t.Context(), key)
	refused(t, err, errdefs.ErrUnavailable, "containerd is away")
	f.host.err = nil
	f.host.set("web", "web")
	f.write(key, "own", "mine")
	asked := f.host.asked
	f.host.set("web", "other")
	f.expect(key, "own", "mine")
	f.reopen()
	f.expect(key, "own", "mine")
	if f.host.asked != asked {
		t.Errorf("containerd was asked again")
	}
	plain := f.container("plain", one, "")
	f.expect(plain, "own", "")
	f.host.set("plain", "web")
	f.expect(plain, "own", "")
}

func TestBindBadNames(t *testing.T) {
	f := newFixture(t)
	one, _ := f.bases()
	for _, name := range []string{"..", "a/b", "-x", "a b", "~a", "ä"} {
		_, err := f.Prepare(t.Context(), f.key("c"), one, snapshots.WithLabels(map[string]string{snapshotter.LabelStorage: name}))
		refused(t, err, errdefs.ErrInvalidArgument, "letters")
	}
}

// TestExtractionIgnoresLabels: annotations of image layers arrive as labels of extractions.
func TestExtractionIgnoresLabels(t *testing.T) {
	f := newFixture(t)
	one, _ := f.bases()
	victim := f.container("victim", one, "victim")
	f.write(victim, "secret", "s")
	extract, _ := f.unpacking("new")
	wish := map[string]string{snapshotter.LabelStorage: "victim"}
	_, err := f.Prepare(t.Context(), extract, one, snapshots.WithLabels(wish))
	f.must(err)
	f.expect(extract, "secret", "")
	// An unpacker that makes keys of its own says so by a label.
	other := f.key("unpack-of-another-kind")
	wish[snapshots.LabelSnapshotRef] = chainID("new")
	_, err = f.Prepare(t.Context(), other, one, snapshots.WithLabels(wish))
	f.must(err)
	f.expect(other, "secret", "")
	f.expect(victim, "secret", "s")
}

// TestContainerLikeExtraction: whatever its id looks like, a container has the storage that it asks for.
func TestContainerLikeExtraction(t *testing.T) {
	f := newFixture(t)
	one, _ := f.bases()
	for _, id := range []string{"extract-h7x", "extract-1-AbC_", "extract", "sha256", "rescued-x", "n12", "u1"} {
		f.write(f.container(id, one, "keep-"+id), "own", id)
		f.expect(f.container("after-"+id, one, "keep-"+id), "own", id)
	}
	id := "extract-runs"
	key := f.container(id, one, "runs")
	f.write(key, "own", id)
	f.host.running[id] = true
	_, err := f.Mounts(t.Context(), f.container("second", one, "runs"))
	refused(t, err, errdefs.ErrFailedPrecondition, id, "running")
}

func TestOneHolderAtATime(t *testing.T) {
	f := newFixture(t)
	one, two := f.bases()
	first := f.container("first", one, "web")
	f.write(first, "own", "mine")
	t.Run("mounted", func(t *testing.T) {
		f.in(first, func(string) {
			_, err := f.Mounts(t.Context(), f.container("second", one, "web"))
			refused(t, err, errdefs.ErrFailedPrecondition, "test/web", "first", "mounted")
			_, err = f.Prepare(t.Context(), f.key("third"), two, snapshots.WithLabels(map[string]string{snapshotter.LabelStorage: "web"}))
			refused(t, err, errdefs.ErrFailedPrecondition, "test/web", "first")
		})
	})
	t.Run("running", func(t *testing.T) {
		f.host.running["first"] = true
		_, err := f.Mounts(t.Context(), f.container("fourth", one, "web"))
		refused(t, err, errdefs.ErrFailedPrecondition, "test/web", "first", "running")
		f.host.running["first"] = false
	})
	f.expect(f.container("fifth", one, "web"), "own", "mine")
}

func TestReturnToAnOlderBase(t *testing.T) {
	for policy, want := range map[binding.RollbackPolicy]struct{ conf, later string }{
		binding.CarryOver: {"a = 9\n\nb = 1\n\nc = 1\n", "later"},
		binding.Exact:     {"a = 1\n\nb = 1\n\nc = 1\n", ""},
	} {
		t.Run(string(policy), func(t *testing.T) {
			f := newFixture(t, snapshotter.WithRollbackPolicy(policy))
			one, two := f.bases()
			f.write(f.container("first", one, "web"), "own", "mine")
			second := f.container("second", two, "web")
			f.expect(second, "version", "2")
			f.write(second, "later", "later")
			f.write(second, "etc/conf", "a = 9\n\nb = 1\n\nc = 2\n")
			third := f.container("third", one, "web")
			f.expect(third, "version", "1")
			f.expect(third, "own", "mine")
			f.expect(third, "later", want.later)
			f.expect(third, "etc/conf", want.conf)
		})
	}
	t.Run("refuse", func(t *testing.T) {
		f := newFixture(t, snapshotter.WithRollbackPolicy(binding.Refuse))
		one, two := f.bases()
		f.write(f.container("first", one, "web"), "own", "mine")
		f.expect(f.container("second", two, "web"), "version", "2")
		_, err := f.Mounts(t.Context(), f.container("third", one, "web"))
		refused(t, err, errdefs.ErrFailedPrecondition, "rollback policy")
	})
}

// TestOldContainerAgain: a container whose storage went to another base with another container, without anybody having said
// that it should, finds it on its own base again.
func TestOldContainerAgain(t *testing.T) {
	f := newFixture(t)
	one, two := f.bases()
	first := f.container("first", one, "web")
	f.write(first, "own", "mine")
	second := f.container("second", two, "web")
	f.expect(second, "version", "2")
	f.expect(first, "version", "1")
	f.expect(first, "own", "mine")
	f.expect(second, "version", "2")
	f.expect(second, "own", "mine")
}

// TestSameImageAgain: an image that was removed and unpacked again is the same base, not an update.
func TestSameImageAgain(t *testing.T) {
	f := newFixture(t)
	one, _ := f.bases()
	f.write(f.container("first", one, "web"), "own", "mine")
	again := f.layer("one", "", map[string]string{"version": "1"})
	f.expect(f.container("second", again, "web"), "own", "mine")
	if u, err := f.Updates().Begin(t.Context(), updates.Request{From: f.node(one), To: f.node(again)}); err == nil {
		t.Errorf("update %v from a base to itself was begun", u)
	}
}

func TestCommitOfStorage(t *testing.T) {
	f := newFixture(t)
	one, two := f.bases()
	named := f.container("named", one, "web")
	f.write(named, "own", "mine")
	refused(t, f.Commit(t.Context(), f.key("layer"), named), errdefs.ErrFailedPrecondition, "name")
	f.update(one, two)
	refused(t, f.Commit(t.Context(), f.key("layer"), named), errdefs.ErrFailedPrecondition)
	f.expect(named, "own", "mine")
}

// TestMountsAreStable: as long as nothing changes, the same key has the same mounts, across a restart too.
func TestMountsAreStable(t *testing.T) {
	f := newFixture(t)
	one, two := f.bases()
	key := f.container("web", one, "web")
	f.write(key, "own", "mine")
	f.update(one, two)
	var all [][]mount.Mount
	for range 2 {
		mounts, err := f.Mounts(t.Context(), key)
		f.must(err)
		all = append(all, mounts)
		f.reopen()
	}
	if len(all[0]) != 1 || all[0][0].Type != "overlay" {
		t.Errorf("the mounts are not one plain overlay: %v", all[0])
	}
	for i, option := range all[0][0].Options {
		if all[1][0].Options[i] != option {
			t.Errorf("the mounts changed from %v to %v", all[0], all[1])
		}
	}
}
