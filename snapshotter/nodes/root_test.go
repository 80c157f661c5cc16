// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package nodes_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/molt-snapshotter/molt-snapshotter/dag"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/nodes"
)

// nobody is a user that is not the one who runs the test.
const nobody = 65534

func chown(t *testing.T, path string) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("changing owners needs root")
	}
	must(t, os.Lchown(path, nobody, nobody))
}

// TestRootOfOthers: a root, or a directory in it, that somebody else owns or may write to is refused, with what to do. Nothing is
// made or deleted there.
func TestRootOfOthers(t *testing.T) {
	for _, c := range []struct {
		name string
		make func(t *testing.T, root string)
		want string // %s is the root
	}{
		{"root of another user", chown, "run: chown 0 %s && chmod 0700 %[1]s"},
		{"root for everybody", func(t *testing.T, root string) { must(t, os.Chmod(root, 0o777)) }, "(mode 0777)"},
		{"root for everybody but sticky", func(t *testing.T, root string) { must(t, os.Chmod(root, 0o777|os.ModeSticky)) }, "(mode 1777)"},
		{"root for a group", func(t *testing.T, root string) { must(t, os.Chmod(root, 0o770)) }, "run: chmod 0700 %s"},
		{"trash of another user", func(t *testing.T, root string) {
			must(t, os.Mkdir(root+"/trash", 0o700))
			chown(t, root+"/trash")
		}, "%s/trash belongs to user 65534"},
		{"reports for everybody", func(t *testing.T, root string) {
			must(t, os.Mkdir(root+"/reports", 0o700))
			must(t, os.Chmod(root+"/reports", 0o702))
		}, "chmod 0700 %s/reports"},
		{"nodes are a link", func(t *testing.T, root string) { must(t, os.Symlink("/", root+"/n")) }, "%s/n is a symbolic link"},
		{"records are a dangling link", func(t *testing.T, root string) { must(t, os.Symlink("gone", root+"/records")) }, "%s/records is a symbolic link"},
		{"staging is a file", func(t *testing.T, root string) { must(t, os.WriteFile(root+"/staging", nil, 0o600)) }, "%s/staging is not a directory"},
		{"lost is a FIFO", func(t *testing.T, root string) { must(t, unix.Mkfifo(root+"/lost", 0o600)) }, "%s/lost is not a directory"},
	} {
		t.Run(c.name, func(t *testing.T) {
			root := filepath.Join(t.TempDir(), "root")
			must(t, os.Mkdir(root, 0o700))
			c.make(t, root)
			for range 2 {
				d, err := nodes.Open(root)
				if err == nil {
					must(t, d.Close())
				}
				want := c.want
				if strings.Contains(want, "%") {
					want = fmt.Sprintf(want, root)
				}
				if err == nil || !strings.Contains(err.Error(), want) {
					t.Errorf("got %v, want %q", err, want)
				}
			}
		})
	}
}

// TestRootModes: others cannot enter a root that was made beforehand, unless it is shared.
func TestRootModes(t *testing.T) {
	for _, c := range []struct {
		open func(string) (*nodes.Dir, error)
		want os.FileMode
	}{{nodes.Open, 0o700}, {nodes.OpenShared, 0o755}} {
		root := filepath.Join(t.TempDir(), "root")
		must(t, os.MkdirAll(filepath.Join(root, "n"), 0o755))
		d, err := c.open(root)
		must(t, err)
		must(t, d.Close())
		for path, want := range map[string]os.FileMode{root: c.want, filepath.Join(root, "n"): 0o700, filepath.Join(root, "empty"): 0o755} {
			info, err := os.Stat(path)
			must(t, err)
			if got := info.Mode().Perm(); got != want {
				t.Errorf("%s has mode %v, want %v", path, got, want)
			}
		}
	}
}

// TestExposed: a directory on the way that lets others replace the root is told, with what to do.
func TestExposed(t *testing.T) {
	base := t.TempDir()
	parent := filepath.Join(base, "parent")
	must(t, os.Mkdir(parent, 0o755))
	d := openedAt(t, filepath.Join(parent, "root"))
	told := func() string {
		found, err := d.Exposed()
		must(t, err)
		found = slices.DeleteFunc(found, func(what string) bool { return !strings.HasPrefix(what, parent+",") })
		return strings.Join(found, "\n")
	}
	for mode, want := range map[os.FileMode]string{
		0o755: "", 0o777 | os.ModeSticky: "", 0o775: "", 0o777: "chmod go-w " + parent, 0o757: "chmod go-w " + parent,
	} {
		must(t, os.Chmod(parent, mode))
		if got := told(); (got == "") != (want == "") || !strings.Contains(got, want) {
			t.Errorf("mode %v: told is %q", mode, got)
		}
	}
	must(t, os.Chmod(parent, 0o755))
	chown(t, parent)
	if got := told(); !strings.Contains(got, "belongs to user 65534") {
		t.Errorf("told is %q", got)
	}
}

// TestReplaced: what is a link by the time that something is moved or deleted is not followed, wherever it leads.
func TestReplaced(t *testing.T) {
	d := opened(t)
	publish(t, d, 1)
	_, err := d.Stage(2)
	must(t, err)
	victim := t.TempDir()
	for _, name := range []string{"1", "2", "etc"} {
		must(t, os.MkdirAll(filepath.Join(victim, name, "fs"), 0o700))
		must(t, os.WriteFile(filepath.Join(victim, name, "shadow"), nil, 0o600))
	}
	must(t, os.WriteFile(filepath.Join(victim, "report"), nil, 0o600))
	for _, sub := range []string{"trash", "staging", "n", "reports", "lost"} {
		must(t, os.Rename(filepath.Join(d.Root(), sub), filepath.Join(d.Root(), sub+"-away")))
		must(t, os.Symlink(victim, filepath.Join(d.Root(), sub)))
	}
	for what, err := range map[string]error{
		"sweep": d.Sweep(time.Now().Add(time.Hour)), "discard": d.Discard(2), "trash": d.Trash(1), "aside": d.SetAside(1),
		"publish": d.Publish(2), "remove": d.Remove(filepath.Join(d.Reports(), "report")), "delete": d.Delete(filepath.Join(d.Lost(), "etc")),
	} {
		if err == nil || !strings.Contains(err.Error(), "is a symbolic link") {
			t.Errorf("%s: %v", what, err)
		}
	}
	if err := d.DropStaging(); err == nil {
		t.Error("what was staged was moved through a link")
	}
	for _, name := range []string{"1/shadow", "2/shadow", "etc/shadow", "1/fs", "report"} {
		if _, err := os.Lstat(filepath.Join(victim, name)); err != nil {
			t.Error(err)
		}
	}
}

// TestDeleteOutside: only what is below the root can be deleted.
func TestDeleteOutside(t *testing.T) {
	d := opened(t)
	outside := filepath.Join(filepath.Dir(d.Root()), "outside")
	must(t, os.WriteFile(outside, nil, 0o600))
	if d.Delete(outside) == nil || d.Remove(outside) == nil {
		t.Error("it is no error to delete something else")
	}
	if _, err := os.Lstat(outside); err != nil {
		t.Error(err)
	}
}

// TestSweepFlags: what chattr keeps from being deleted on the host is deleted, and what cannot be is told by Stuck.
func TestSweepFlags(t *testing.T) {
	d := opened(t)
	publish(t, d, 1)
	file, err := os.Open(filepath.Join(d.FS(1), "file"))
	must(t, err)
	flags, err := unix.IoctlGetUint32(int(file.Fd()), unix.FS_IOC_GETFLAGS)
	if err == nil {
		err = unix.IoctlSetPointerInt(int(file.Fd()), unix.FS_IOC_SETFLAGS, int(flags|0x10))
	}
	must(t, file.Close())
	if errors.Is(err, unix.ENOTTY) || errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EPERM) {
		t.Skip("no inode flags (chattr) here")
	}
	must(t, err)
	must(t, d.Trash(1))
	must(t, d.Sweep(time.Now().Add(time.Hour)))
	if n := trashed(t, d); n != 0 || len(d.Stuck()) != 0 {
		t.Errorf("%d entries are left in the trash, and %v", n, d.Stuck())
	}
}

// TestFlagged: what is noted of flags goes on to what is made of a node, and shows at the published one.
func TestFlagged(t *testing.T) {
	d := opened(t)
	publish(t, d, 1)
	publish(t, d, 2)
	must(t, d.Flags().Mark(2))
	for id, from := range map[dag.NodeID][]dag.NodeID{3: {1}, 4: {1, 2}, 5: {}} {
		_, err := d.Stage(id)
		must(t, err)
		must(t, d.Flags().Inherit(id, from...))
		must(t, d.Publish(id))
		if got, err := d.Flags().Has(id); err != nil || got != (id == 4) {
			t.Errorf("%v is flagged: %v, %v", id, got, err)
		}
	}
	for _, id := range []dag.NodeID{1, 2} {
		for range 2 {
			must(t, d.Flags().Show(t.Context(), id))
		}
		for range 2 {
			must(t, d.Flags().Hide(t.Context(), id))
		}
	}
}

// TestCanFlag: without the capability it is an error that names it.
func TestCanFlag(t *testing.T) {
	d := opened(t)
	if err := d.Flags().Able(); err != nil {
		t.Skipf("no inode flags (chattr) here: %v", err)
	}
	done := make(chan error)
	go func() {
		runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
		header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
		var data [2]unix.CapUserData
		err := unix.Capget(&header, &data[0])
		data[0].Effective &^= 1 << unix.CAP_LINUX_IMMUTABLE
		if err == nil {
			err = unix.Capset(&header, &data[0])
		}
		if err == nil {
			err = d.Flags().Able()
		}
		done <- err
	}()
	if err := <-done; !errors.Is(err, unix.EPERM) || !strings.Contains(err.Error(), "CAP_LINUX_IMMUTABLE") {
		t.Errorf("got %v", err)
	}
	if n := trashed(t, d); n != 0 {
		t.Errorf("%d entries are left in the trash", n)
	}
}
