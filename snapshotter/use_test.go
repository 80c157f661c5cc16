// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package snapshotter_test

import (
	"bufio"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"

	"github.com/molt-snapshotter/molt-snapshotter/dag"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/updates"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/use"
)

// overlay is what a container's storage is mounted of, for mounts that a test makes by hand.
type overlay struct {
	node                string // the directory of the open node
	lower, upper, work  string
	one, two, key, name string
}

// stopped prepares a container whose storage web has a file "data", and which is not running.
func stopped(f *fixture) overlay {
	f.t.Helper()
	one, two := f.bases()
	key := f.container("web", one, "web")
	f.write(key, "data", "tick 1")
	o := overlay{one: one, two: two, key: key, name: "web", node: f.dir(f.storage("web").Head)}
	mounts, err := f.Mounts(f.t.Context(), key)
	f.must(err)
	for _, option := range mounts[0].Options {
		switch name, value, _ := strings.Cut(option, "="); name {
		case "lowerdir":
			o.lower = value
		case "upperdir":
			o.upper = value
		case "workdir":
			o.work = value
		}
	}
	f.unmounted(o.upper)
	return o
}

// unmounted waits until no mount table shows an upper directory: where containers are being made, there are copies of mounts for
// a moment.
func (f *fixture) unmounted(upper string) {
	f.t.Helper()
	f.eventually(func() bool {
		tables, err := filepath.Glob("/proc/[0-9]*/mountinfo")
		f.must(err)
		return !slices.ContainsFunc(tables, func(table string) bool {
			data, err := os.ReadFile(table)
			return err == nil && strings.Contains(string(data), upper+",")
		})
	}, "%s is unmounted", upper)
}

// mountAt mounts an overlay with the upper directory at a new place. Whoever ends it does so before the test ends.
func (f *fixture) mountAt(lower, upper, work string) string {
	f.t.Helper()
	at := f.t.TempDir()
	f.must(unix.Mount("overlay", at, "overlay", 0, fmt.Sprintf("lowerdir=%s,upperdir=%s,workdir=%s,index=off", lower, upper, work)))
	return at
}

// digest returns a digest of all names and contents below a directory.
func (f *fixture) digest(dir string) string {
	f.t.Helper()
	var all strings.Builder
	f.must(filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !d.Type().IsRegular() {
			all.WriteString(path)
			return err
		}
		data, err := os.ReadFile(path)
		all.WriteString(path)
		all.Write(data)
		return err
	}))
	return fmt.Sprintf("%x", sha256.Sum256([]byte(all.String())))
}

// goesOn checks that an update which waits is carried out when its storage is free.
func (f *fixture) goesOn(u dag.Update) {
	f.t.Helper()
	f.Uses().TaskSeen("test", "somebody", time.Now()) // any event has the waiting ones looked at
	f.eventually(func() bool {
		f.State().Graph(func(g *dag.Graph) { u, _ = g.Update(u.ID) })
		return u.Outcomes["test/web"].State == dag.Applied
	}, "the update goes on when the use has ended")
}

// expectWaits checks that an update waits for a use, and returns the reason.
func (f *fixture) expectWaits(u dag.Update, code use.Code) string {
	f.t.Helper()
	o := u.Outcomes["test/web"]
	if o.State != dag.Planned || o.Use != string(code) {
		f.t.Errorf("the update is %s for %q, not planned for %s: %v", o.State, o.Use, code, o.Reasons)
	}
	return strings.Join(o.Reasons, "; ")
}

// TestLateMount: a start that is slower than the grace cannot mount what was frozen in the meantime. It fails clearly,
// and the next one succeeds.
func TestLateMount(t *testing.T) {
	for name, freeze := range map[string]func(f *fixture, o overlay){
		"an update": func(f *fixture, o overlay) { f.expectState(f.update(o.one, o.two), "web", dag.Applied) },
		"a fork":    func(f *fixture, _ overlay) { f.must(f.Storages().Fork(t.Context(), "test/web", "test/copy")) },
		"a rollback": func(f *fixture, o overlay) {
			u := f.update(o.one, o.two)
			f.must(f.Rollbacks().Rollback(t.Context(), updates.RollbackRequest{Update: u.ID}))
		},
		"an update all or nothing": func(f *fixture, o overlay) {
			f.expectState(f.settled(f.begin(o.one, o.two, true)), "web", dag.Applied)
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			o := stopped(f)
			late, err := f.Mounts(t.Context(), o.key)
			f.must(err)
			freeze(f, o)
			before := f.digest(o.upper)
			err = mount.WithTempMount(t.Context(), late, func(dir string) error {
				return os.WriteFile(filepath.Join(dir, "data"), []byte("lost"), 0o600)
			})
			if !errors.Is(err, unix.ENOENT) {
				t.Errorf("the late mount got %v", err)
			}
			if f.digest(o.upper) != before {
				t.Error("the frozen node was written to")
			}
			f.withoutWork(o.node)
			f.expect(o.key, "data", "tick 1")
			f.write(o.key, "data", "tick 2")
			f.expect(o.key, "data", "tick 2")
		})
	}
}

// TestRestartIsNoAnswer: a daemon does not know what the one before it handed out a moment ago.
func TestRestartIsNoAnswer(t *testing.T) {
	f := newFixture(t, snapshotter.WithGrace(time.Hour))
	one, two := f.bases()
	_, err := f.Mounts(t.Context(), f.container("web", one, "web"))
	f.must(err)
	f.reopen()
	asked := f.asked()
	id := f.begin(one, two, false)
	<-asked
	f.State().Graph(func(g *dag.Graph) {
		if u, _ := g.Update(id); u.State != dag.Staging {
			t.Errorf("the update did not wait: %s", u.State)
		}
	})
	f.Uses().TaskSeen("test", "web", time.Now())
	f.expectState(f.settled(id), "web", dag.Applied)
}

// hold opens a file of an overlay for writing.
func (f *fixture) hold(path string) *os.File {
	f.t.Helper()
	file, err := os.OpenFile(path, os.O_RDWR, 0)
	f.must(err)
	return file
}

// uses are ways to use a storage's node without a task. Each returns what ends it.
var uses = map[string]struct {
	begin func(f *fixture, o overlay) (end func())
	code  use.Code
	says  string
}{
	"a lazily unmounted one with an open file": {func(f *fixture, o overlay) func() {
		at := f.mountAt(o.lower, o.upper, o.work)
		file := f.hold(at + "/data")
		f.must(unix.Unmount(at, unix.MNT_DETACH))
		return func() { f.must(file.Close()) }
	}, use.Unseen, "--assume-free"},
	"a writable mapping alone": {func(f *fixture, o overlay) func() {
		at := f.mountAt(o.lower, o.upper, o.work)
		file := f.hold(at + "/data")
		mapped, err := unix.Mmap(int(file.Fd()), 0, 6, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
		f.must(err)
		f.must(file.Close())
		f.must(unix.Unmount(at, unix.MNT_DETACH))
		return func() { f.must(unix.Munmap(mapped)) }
	}, use.Unseen, "--assume-free"},
	"a descriptor on its way through a socket": {func(f *fixture, o overlay) func() {
		at := f.mountAt(o.lower, o.upper, o.work)
		file := f.hold(at + "/data")
		pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
		f.must(err)
		f.must(unix.Sendmsg(pair[0], []byte("x"), unix.UnixRights(int(file.Fd())), nil, 0))
		f.must(file.Close())
		f.must(unix.Unmount(at, unix.MNT_DETACH))
		return func() { f.must(errors.Join(unix.Close(pair[0]), unix.Close(pair[1]))) }
	}, use.Unseen, "--assume-free"}, // which no process has
	"a descriptor of another process": {func(f *fixture, o overlay) func() {
		at := f.mountAt(o.lower, o.upper, o.work)
		file := f.hold(at + "/data")
		end := f.child(exec.Command("sleep", "infinity"), file)
		f.must(file.Close())
		f.must(unix.Unmount(at, unix.MNT_DETACH))
		return end
	}, use.Unseen, "(sleep)"},
	"a mount namespace without a process": {func(f *fixture, o overlay) func() {
		dir, at := f.t.TempDir(), f.t.TempDir()
		f.must(unix.Mount(dir, dir, "", unix.MS_BIND, ""))
		f.must(unix.Mount("", dir, "", unix.MS_PRIVATE, ""))
		kept := filepath.Join(dir, "ns")
		f.must(os.WriteFile(kept, nil, 0o600))
		script := fmt.Sprintf("mount -t overlay overlay -o lowerdir=%s,upperdir=%s,workdir=%s,index=off %s", o.lower, o.upper, o.work, at)
		out, err := exec.Command("unshare", "--mount="+kept, "sh", "-c", script).CombinedOutput()
		if err != nil {
			f.t.Fatalf("%v: %s", err, out)
		}
		return func() { f.must(errors.Join(unix.Unmount(kept, 0), unix.Unmount(dir, 0))) }
	}, use.Unseen, "a mount namespace that is kept by"},
	"a relative upper directory": {func(f *fixture, o overlay) func() {
		f.t.Chdir(o.node)
		at := f.mountAt(o.lower, "fs", "work")
		f.t.Chdir("/")
		return func() { f.must(unix.Unmount(at, 0)) }
	}, use.Mounted, "mounted at"},
	"another path to the root": {func(f *fixture, o overlay) func() {
		link := filepath.Join(f.t.TempDir(), "link")
		f.must(os.Symlink(f.root, link))
		at := f.mountAt(o.lower, strings.Replace(o.upper, f.root, link, 1), strings.Replace(o.work, f.root, link, 1))
		return func() { f.must(unix.Unmount(at, 0)) }
	}, use.Mounted, "mounted at"},
	"a bind mount of the root": {func(f *fixture, o overlay) func() {
		bind := f.t.TempDir()
		f.must(unix.Mount(f.root, bind, "", unix.MS_BIND, ""))
		at := f.mountAt(o.lower, strings.Replace(o.upper, f.root, bind, 1), strings.Replace(o.work, f.root, bind, 1))
		return func() { f.must(errors.Join(unix.Unmount(at, 0), unix.Unmount(bind, unix.MNT_DETACH))) }
	}, use.Mounted, "mounted at"},
	"a process with a mount namespace of its own": {func(f *fixture, o overlay) func() {
		script := fmt.Sprintf("mount -t overlay overlay -o lowerdir=%s,upperdir=%s,workdir=%s,index=off %s && echo ready && exec sleep infinity",
			o.lower, o.upper, o.work, f.t.TempDir())
		return f.child(exec.Command("unshare", "--mount", "--propagation", "private", "sh", "-c", script))
	}, use.Mounted, "(sleep)"},
	"a process in a mount by hand": {func(f *fixture, o overlay) func() {
		at := f.mountAt(o.lower, o.upper, o.work)
		c := exec.Command("sleep", "infinity")
		c.Dir = at
		end := f.child(c)
		return func() { end(); f.must(unix.Unmount(at, 0)) }
	}, use.Mounted, "(sleep)"},
}

// child starts a command that goes on until it is ended. A shell says when it is ready.
func (f *fixture) child(c *exec.Cmd, files ...*os.File) (end func()) {
	f.t.Helper()
	c.ExtraFiles = files
	c.SysProcAttr = &unix.SysProcAttr{Pdeathsig: unix.SIGKILL}
	var ready io.ReadCloser
	if c.Args[0] == "unshare" {
		var err error
		ready, err = c.StdoutPipe()
		f.must(err)
	}
	f.must(c.Start())
	if ready != nil {
		if line, err := bufio.NewReader(ready).ReadString('\n'); line != "ready\n" {
			f.t.Fatalf("the child is not ready: %q, %v", line, err)
		}
		name := filepath.Join("/proc", fmt.Sprint(c.Process.Pid), "comm")
		f.eventually(func() bool { comm, err := os.ReadFile(name); return err == nil && string(comm) == "sleep\n" }, "the child sleeps")
	}
	return func() {
		f.must(c.Process.Kill())
		if _, err := c.Process.Wait(); err != nil {
			f.t.Error(err)
		}
	}
}

// TestUseWithoutTask: what uses a node is found, wherever and however it is mounted, and named; the update waits for
// it, and goes on when it has ended. The node is not frozen under it.
func TestUseWithoutTask(t *testing.T) {
	for name, c := range uses {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			o := stopped(f)
			end := c.begin(f, o)
			if c.code == use.Unseen {
				f.unmounted(o.upper)
			}
			u := f.update(o.one, o.two)
			if reason := f.expectWaits(u, c.code); !contains(reason, c.says, "or at its next start") {
				t.Errorf("the reason does not say %q: %s", c.says, reason)
			}
			refused(t, f.Storages().Fork(t.Context(), "test/web", "test/copy"), errdefs.ErrFailedPrecondition, c.says)
			refused(t, f.Storages().Remove(t.Context(), "test/web"), errdefs.ErrFailedPrecondition, c.says)
			if _, err := os.Lstat(o.work); err != nil {
				t.Errorf("a node in use has no work directory: %v", err)
			}
			end()
			f.goesOn(u)
			f.expect(o.key, "data", "tick 1")
			f.expect(o.key, "version", "2")
		})
	}
}

// TestAssumeFree: an operator overrides what nobody can answer, but not a mount or a task that is seen.
func TestAssumeFree(t *testing.T) {
	assumed := func(f *fixture, o overlay) dag.Update {
		id, err := f.Updates().Begin(t.Context(), updates.Request{From: f.node(o.one), To: f.node(o.two), AssumeFree: true})
		f.must(err)
		return f.settled(id)
	}
	for name, c := range uses {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			o := stopped(f)
			defer c.begin(f, o)()
			want := dag.Planned
			if c.code == use.Unseen {
				f.unmounted(o.upper)
				want = dag.Applied
			}
			work, err := os.Stat(o.work)
			f.must(err)
			f.expectAssumed(o, want == dag.Applied)
			if again, err := os.Stat(o.work); err != nil || !os.SameFile(work, again) {
				t.Errorf("the dry run changed the work directory of a mount: %v", err)
			}
			f.expectState(assumed(f, o), "web", want)
		})
	}
	t.Run("a task", func(t *testing.T) {
		f := newFixture(t)
		o := stopped(f)
		f.host.running["web"] = true
		f.expectAssumed(o, false)
		f.expectWaits(assumed(f, o), use.Running)
		refused(t, f.Storages().Fork(t.Context(), "test/web", "test/copy", use.AssumeFree()), errdefs.ErrFailedPrecondition, "container web is running")
	})
}

// expectAssumed checks that an update of a storage in use waits by its dry run, and whether it does when an operator answers for
// the storage.
func (f *fixture) expectAssumed(o overlay, free bool) {
	f.t.Helper()
	for _, assume := range []bool{false, true} {
		previews, err := f.PreviewUpdate(f.t.Context(), updates.Request{
			From: f.node(o.one), To: f.node(o.two), Storages: []string{"test/web"}, AssumeFree: assume,
		})
		f.must(err)
		if p := previews[0]; p.Err != nil || p.Report == nil || p.Waits.Free() != (assume && free) {
			f.t.Errorf("with assume-free %v it waits for %v, %v", assume, p.Waits, p.Err)
		}
	}
}

// TestNoAnswerIsUse: as long as containerd does not answer, or the host's processes are out of sight, nothing is
// frozen.
func TestNoAnswerIsUse(t *testing.T) {
	for name, c := range map[string]struct {
		set  func(*fakeHost, bool)
		code use.Code
		says string
	}{
		"no answer": {func(h *fakeHost, on bool) {
			if h.err = nil; on {
				h.err = errors.New("containerd is away")
			}
		}, use.Unknown, "containerd is away"},
		"out of sight": {func(h *fakeHost, on bool) { h.hidden = on }, use.Blind, "pid namespace"},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			o := stopped(f)
			set := func(on bool) {
				f.host.mu.Lock()
				defer f.host.mu.Unlock()
				c.set(f.host, on)
			}
			set(true)
			u := f.update(o.one, o.two)
			if reason := f.expectWaits(u, c.code); !contains(reason, c.says, "--assume-free") {
				t.Errorf("the reason is %s", reason)
			}
			refused(t, f.Storages().Fork(t.Context(), "test/web", "test/copy"), errdefs.ErrFailedPrecondition, c.says)
			f.must(f.Storages().Fork(t.Context(), "test/web", "test/copy", use.AssumeFree()))
			if c.code == use.Blind {
				f.expectProblem("does not see the processes of the host")
			}
			f.expectAssumed(o, true)
			set(false)
			f.goesOn(u)
			set(true)
			for _, r := range []updates.RollbackRequest{{}, {Carry: true}, {AssumeFree: true}, {AssumeFree: true, Carry: true}} {
				r.Update = u.ID
				previews, err := f.PreviewRollback(t.Context(), r)
				f.must(err)
				if p := previews[0]; p.Err != nil || p.Waits.Free() != r.AssumeFree {
					t.Errorf("%+v waits for %v, %v", r, p.Waits, p.Err)
				}
			}
		})
	}
}

// TestTwoOverlaysOnOneUpper shows a limit: the kernel marks an upper directory for one overlay only. When a second one
// is on it, both are in no mount table, and the first one ends, nothing shows the second.
func TestTwoOverlaysOnOneUpper(t *testing.T) {
	f := newFixture(t)
	o := stopped(f)
	other := filepath.Join(filepath.Dir(o.work), "other")
	f.must(os.Mkdir(other, 0o700))
	first, second := f.mountAt(o.lower, o.upper, o.work), f.mountAt(o.lower, o.upper, other)
	one, two := f.hold(first+"/data"), f.hold(second+"/data")
	f.must(errors.Join(unix.Unmount(first, unix.MNT_DETACH), unix.Unmount(second, unix.MNT_DETACH)))
	f.unmounted(o.upper)
	u := f.update(o.one, o.two)
	f.expectWaits(u, use.Unseen)
	f.must(one.Close())
	f.goesOn(u)
	_, err := two.WriteAt([]byte("TICK"), 0)
	f.must(errors.Join(err, two.Close()))
	if data, err := os.ReadFile(filepath.Join(o.node, "fs/data")); err != nil || string(data) != "TICK 1" {
		t.Errorf("the limit is gone: the frozen node has %q, %v", data, err)
	}
}

// TestWorkAfterCrash: a head whose work directory a crash left renamed away, or deleted, has one after the start;
// frozen nodes have none.
func TestWorkAfterCrash(t *testing.T) {
	f := newFixture(t)
	o := stopped(f)
	f.update(o.one, o.two)
	head := f.dir(f.storage("web").Head)
	f.must(os.Mkdir(filepath.Join(o.node, "work"), 0o700)) // as an earlier version left it
	for _, crash := range []func() error{
		func() error { return os.Rename(head+"/work", head+"/work.withdrawn") },
		func() error { return os.RemoveAll(head + "/work") },
	} {
		f.close()
		f.must(crash())
		f.open()
		f.expect(o.key, "data", "tick 1")
	}
	f.withoutWork(o.node)
}

// withoutWork waits until a frozen node has no work directory: it goes after the node is frozen.
func (f *fixture) withoutWork(node string) {
	f.t.Helper()
	f.eventually(func() bool {
		entries, err := filepath.Glob(filepath.Join(node, "work*"))
		f.must(err)
		return len(entries) == 0
	}, "a frozen node loses its work directory")
}

// TestCommitInUse: a key that is mounted does not become a layer; an image layer that was unpacked does, without a work
// directory.
func TestCommitInUse(t *testing.T) {
	f := newFixture(t)
	one, _ := f.bases()
	key := f.container("build", one, "")
	f.write(key, "made", "x")
	f.in(key, func(string) {
		refused(t, f.Commit(context.Background(), f.key("sha256:made"), key), errdefs.ErrFailedPrecondition, "mounted")
	})
	made := f.key("sha256:made")
	f.must(f.Commit(t.Context(), made, key))
	for _, layer := range []string{one, made} {
		if _, err := os.Lstat(filepath.Join(f.dir(f.node(layer)), "work")); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("layer %s has a work directory (%v)", layer, err)
		}
	}
}

// TestCommitWaitsForPassingMount: a mount that another mount namespace took along, and that is about to go, does not keep a key
// from becoming a layer.
func TestCommitWaitsForPassingMount(t *testing.T) {
	f := newFixture(t)
	one, _ := f.bases()
	key := f.container("build", one, "")
	f.write(key, "made", "x")
	gone := make(chan error, 1)
	f.in(key, func(string) {
		taken := exec.Command("unshare", "--mount", "--propagation", "private", "cat")
		in, err := taken.StdinPipe()
		f.must(err)
		f.must(taken.Start())
		f.eventually(func() bool {
			table, err := os.ReadFile(fmt.Sprintf("/proc/%d/mountinfo", taken.Process.Pid))
			own, _ := os.Readlink("/proc/self/ns/mnt")
			theirs, _ := os.Readlink(fmt.Sprintf("/proc/%d/ns/mnt", taken.Process.Pid))
			return err == nil && own != theirs && strings.Contains(string(table), f.root)
		}, "another namespace has the mount")
		go func() {
			time.Sleep(time.Second)
			gone <- errors.Join(in.Close(), taken.Wait())
		}()
	})
	f.must(f.Commit(t.Context(), f.key("sha256:made"), key))
	f.must(<-gone)
}

// TestNothingIsLeft: asking the kernel leaves no attribute behind in a node that stays open.
func TestNothingIsLeft(t *testing.T) {
	f := newFixture(t)
	o := stopped(f)
	f.must(unix.Setxattr(o.upper, "trusted.overlay.origin", []byte("of another probe"), 0))
	id, err := f.PreviewUpdate(t.Context(), updates.Request{From: f.node(o.one), To: f.node(o.two)})
	f.must(err)
	if !id[0].Waits.Free() {
		t.Errorf("a free storage waits: %s", id[0].Waits)
	}
	buf := make([]byte, 4096)
	n, err := unix.Listxattr(o.upper, buf)
	f.must(err)
	for _, attr := range []string{"origin", "uuid"} {
		if strings.Contains(string(buf[:n]), "trusted.overlay."+attr) {
			t.Errorf("%s is left", attr)
		}
	}
}
