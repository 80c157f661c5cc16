// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package snapshotter_test

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/molt-snapshotter/molt-snapshotter/dag"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/tree"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/state"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/updates"
)

// chattr sets the inode flags of a file, as a program in a container does.
func (f *fixture) chattr(path string, flags tree.Flags) {
	f.t.Helper()
	file, err := os.Open(path)
	f.must(err)
	defer func() { f.must(file.Close()) }()
	now, err := unix.IoctlGetUint32(int(file.Fd()), unix.FS_IOC_GETFLAGS)
	if errors.Is(err, unix.ENOTTY) || errors.Is(err, unix.EOPNOTSUPP) {
		f.t.Skip("this file system has no inode flags (chattr)")
	}
	f.must(err)
	const all = tree.Immutable | tree.AppendOnly | tree.NoAccess
	f.must(unix.IoctlSetPointerInt(int(file.Fd()), unix.FS_IOC_SETFLAGS, int(now&^uint32(all)|uint32(flags))))
}

func (f *fixture) lsattr(path string) tree.Flags {
	f.t.Helper()
	file, err := os.Open(path)
	f.must(err)
	flags, err := unix.IoctlGetUint32(int(file.Fd()), unix.FS_IOC_GETFLAGS)
	f.must(errors.Join(err, file.Close()))
	return tree.Flags(flags) & (tree.Immutable | tree.AppendOnly | tree.NoAccess)
}

// withFlags lets a container set flags, on files and directories of its own and of the base.
func (f *fixture) withFlags(key string) map[string]tree.Flags {
	flags := map[string]tree.Flags{
		"etc/conf": tree.Immutable, "mine": tree.AppendOnly | tree.NoAccess, "own": tree.Immutable, "own/file": 0,
	}
	f.in(key, func(dir string) {
		f.must(os.Mkdir(filepath.Join(dir, "own"), 0o755))
		f.must(os.WriteFile(filepath.Join(dir, "own/file"), []byte("x"), 0o644))
		f.must(os.WriteFile(filepath.Join(dir, "mine"), []byte("x"), 0o644))
		for path, flag := range flags {
			f.chattr(filepath.Join(dir, path), flag)
		}
	})
	return flags
}

// expectFlags checks the flags that a key shows, and that they do what they should.
func (f *fixture) expectFlags(key, when string, flags map[string]tree.Flags) {
	f.t.Helper()
	f.in(key, func(dir string) {
		for path, want := range flags {
			if got := f.lsattr(filepath.Join(dir, path)); got != want {
				f.t.Errorf("%s: %s has the flags %q, not %q", when, path, got, want)
			}
		}
		if err := os.WriteFile(filepath.Join(dir, "etc/conf"), nil, 0o644); !errors.Is(err, unix.EPERM) {
			f.t.Errorf("%s: an immutable file can be written: %v", when, err)
		}
		if err := os.Remove(filepath.Join(dir, "own/file")); !errors.Is(err, unix.EPERM) {
			f.t.Errorf("%s: what is in an immutable directory can be removed: %v", when, err)
		}
	})
}

// TestFlagsStay: what a container made immutable or append-only is so after all that molt does, and the container can take
// that back, wherever the file comes from.
func TestFlagsStay(t *testing.T) {
	f := newFixture(t, snapshotter.WithRetention(state.Retention{Points: 1}))
	one, two := f.bases()
	three := f.layer("sha256:three", two, map[string]string{"version": "3"})
	key := f.container("c", one, "box")
	f.expect(key, "version", "1")
	flags := f.withFlags(key)
	f.expectFlags(key, "before", flags)

	u := f.update(one, two, "test/box")
	if state := u.Outcomes["test/box"]; state.State != dag.Applied {
		t.Fatalf("the update is %+v", state)
	}
	f.expectFlags(key, "after an update", flags)
	f.write(key, "later", "x")
	f.reopen()
	f.expectFlags(key, "after a restart", flags)
	f.must(f.Rollbacks().Rollback(t.Context(), updates.RollbackRequest{Update: u.ID, Carry: true}))
	f.expectFlags(key, "after a rollback that carries", flags)
	f.expect(key, "later", "x")

	for _, to := range []string{two, three} {
		from := one
		if to == three {
			from = two
		}
		u = f.update(from, to, "test/box")
		f.in(key, func(dir string) {
			path := filepath.Join(dir, "of"+filepath.Base(to))
			f.must(os.WriteFile(path, nil, 0o644))
			f.chattr(path, tree.Immutable)
		})
		flags["of"+filepath.Base(to)] = tree.Immutable
	}
	f.eventually(func() bool {
		var merged bool
		f.State().Graph(func(g *dag.Graph) { merged = len(g.Mergeable()) == 0 })
		return merged
	}, "what no point keeps apart is merged")
	f.expectFlags(key, "after updates and merges", flags)

	f.must(f.Storages().Fork(t.Context(), "test/box", "test/copy"))
	fork := f.container("d", three, "copy")
	f.expectFlags(key, "after a fork", flags)
	f.expectFlags(fork, "in the fork", flags)
	f.in(fork, func(dir string) {
		for path := range flags {
			f.chattr(filepath.Join(dir, path), 0)
		}
		f.must(os.Remove(filepath.Join(dir, "own/file")))
		f.must(os.WriteFile(filepath.Join(dir, "etc/conf"), []byte("new"), 0o644))
	})
	f.expect(fork, "etc/conf", "new")
	f.expectFlags(key, "after the fork has changed them", flags)

	f.must(f.Rollbacks().Rollback(t.Context(), updates.RollbackRequest{Update: u.ID}))
	delete(flags, "of"+filepath.Base(three))
	f.expectFlags(key, "after an exact rollback", flags)

	// All of it can be deleted.
	f.must(f.Remove(t.Context(), key))
	f.must(f.Remove(t.Context(), fork))
	f.must(f.Storages().Remove(t.Context(), "test/box"))
	f.must(f.Storages().Remove(t.Context(), "test/copy"))
	f.emptied()
}

// emptied waits until all that was removed is deleted.
func (f *fixture) emptied() {
	f.t.Helper()
	f.eventually(func() bool {
		f.must(f.Cleanup(f.t.Context()))
		left, err := os.ReadDir(filepath.Join(f.root, "trash"))
		f.must(err)
		there, err := os.ReadDir(filepath.Join(f.root, "n")) // one that is being measured is not in the trash yet
		f.must(err)
		var known int
		f.State().Graph(func(g *dag.Graph) { known = len(g.Nodes()) })
		return len(left) == 0 && len(there) == known
	}, "all that was removed is deleted")
}

// TestFlagsOfHost: where flags that were set on the host keep a storage from being serviced, it is held, and the path and the
// command are told; once that is done, the update succeeds.
func TestFlagsOfHost(t *testing.T) {
	f := newFixture(t)
	one, two := f.bases()
	key := f.container("c", one, "box")
	f.in(key, func(dir string) { f.must(os.Chmod(filepath.Join(dir, "etc/conf"), 0o600)) }) // copied up: overlayfs notes the origin
	path := filepath.Join(f.dir(f.storage("box").Head), "fs/etc/conf")
	f.chattr(path, tree.Immutable)
	t.Cleanup(func() {
		if _, err := os.Lstat(path); err == nil {
			f.chattr(path, 0)
		}
	})
	u := f.update(one, two, "test/box")
	o := u.Outcomes["test/box"]
	if o.State != dag.Held || !strings.Contains(strings.Join(o.Reasons, " "), "chattr -i \""+path) {
		t.Fatalf("the update is %+v", o)
	}
	if err := f.Storages().Fork(t.Context(), "test/box", "test/copy"); err == nil || !strings.Contains(err.Error(), "chattr -i") {
		t.Errorf("fork: %v", err)
	}
	f.expect(key, "version", "1")
	f.chattr(path, 0)
	u = f.update(one, two, "test/box")
	if o := u.Outcomes["test/box"]; o.State != dag.Applied {
		t.Fatalf("the update is %+v", o)
	}
	f.expect(key, "version", "2")
	f.chattr(path, tree.Immutable) // of a frozen node: it can be merged and deleted all the same
	f.must(f.Remove(t.Context(), key))
	f.must(f.Storages().Remove(t.Context(), "test/box"))
	f.emptied()
}

// TestCheckStuck: check tells what was removed and cannot be deleted, and what to do.
func TestCheckStuck(t *testing.T) {
	f := newFixture(t)
	stuck := filepath.Join(f.root, "trash/9-1/m")
	making := filepath.Join(f.root, "9-1") // in the trash it would be deleted before something is mounted
	f.must(os.MkdirAll(filepath.Join(making, "m"), 0o700))
	f.must(unix.Mount("tmpfs", filepath.Join(making, "m"), "tmpfs", 0, ""))
	f.must(os.Rename(making, filepath.Dir(stuck)))
	mounted := true
	unmount := func() {
		if mounted {
			f.must(unix.Unmount(stuck, unix.MNT_DETACH))
		}
		mounted = false
	}
	defer unmount()
	if err := f.Cleanup(t.Context()); err == nil || !strings.Contains(err.Error(), "umount "+stuck) {
		t.Errorf("cleanup: %v", err)
	}
	told := func() bool {
		found, err := f.Checks().Check(t.Context())
		f.must(err)
		for _, p := range found {
			if p.Subject == "trash/9-1" && strings.Contains(p.What, "umount "+stuck) {
				return true
			}
		}
		return false
	}
	if !told() {
		t.Error("check does not tell what cannot be deleted")
	}
	unmount()
	f.must(f.Cleanup(t.Context()))
	if told() {
		t.Error("check still tells it")
	}
}

// TestRootReplaced: as another user who may write to the root would, the trash, the reports and the records are replaced by
// links; nothing is deleted through them, and errors say so.
func TestRootReplaced(t *testing.T) {
	f := newFixture(t)
	one, _ := f.bases()
	key := f.container("c", one, "box")
	f.expect(key, "version", "1")
	victim := t.TempDir()
	old := time.Now().Add(-24 * time.Hour)
	for _, name := range []string{"etc/shadow", "file"} {
		path := filepath.Join(victim, name)
		f.must(os.MkdirAll(filepath.Dir(path), 0o700))
		f.must(os.WriteFile(path, []byte("x"), 0o600))
		f.must(os.Chtimes(path, old, old))
	}
	for _, name := range []string{"trash", "reports", "records"} {
		path := filepath.Join(f.root, name)
		f.must(os.Rename(path, path+"-away"))
		f.must(os.Symlink(victim, path))
	}
	err := f.Cleanup(t.Context())
	if err == nil || !strings.Contains(err.Error(), filepath.Join(f.root, "trash")+" is a symbolic link") {
		t.Errorf("cleanup: %v", err)
	}
	if err := f.Forget(t.Context()); err == nil {
		t.Error("reports are swept through a link")
	}
	_ = f.Remove(t.Context(), key) // its record is not there to be removed
	for _, name := range []string{"etc/shadow", "file"} {
		if _, err := os.Lstat(filepath.Join(victim, name)); err != nil {
			t.Error(err)
		}
	}
}
