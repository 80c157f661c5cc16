// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package mounttable

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/molt-snapshotter/molt-snapshotter/dag"
)

// published makes a directory with some nodes in it.
func published(t *testing.T) string {
	t.Helper()
	if os.Geteuid() != 0 {
		if os.Getenv("MOLT_TEST_STRICT") != "" {
			t.Fatal("mounting needs root")
		}
		t.Skip("mounting needs root")
	}
	dir := filepath.Join(t.TempDir(), "n")
	for id := 1; id <= 4; id++ {
		for _, sub := range []string{"fs/etc", "work"} {
			must(t, os.MkdirAll(filepath.Join(dir, fmt.Sprint(id), sub), 0o755))
		}
	}
	return dir
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// mountAt mounts something at a new place until the test ends.
func mountAt(t *testing.T, source, kind string, flags uintptr, data string) string {
	t.Helper()
	target := t.TempDir()
	must(t, unix.Mount(source, target, kind, flags, data))
	t.Cleanup(func() { must(t, unix.Unmount(target, unix.MNT_DETACH)) })
	return target
}

// expect checks which nodes are found to be written, and which only to be read.
func expect(t *testing.T, published, written, read string) {
	t.Helper()
	table, err := Read(published)
	must(t, err)
	var gotWritten, gotRead []string
	for id := dag.NodeID(1); id <= 4; id++ {
		switch {
		case table.Written(id):
			gotWritten = append(gotWritten, id.String())
		case table.Used(id):
			gotRead = append(gotRead, id.String())
		}
	}
	if got := strings.Join(gotWritten, " "); got != written {
		t.Errorf("written are %q, not %q", got, written)
	}
	if got := strings.Join(gotRead, " "); got != read {
		t.Errorf("read are %q, not %q", got, read)
	}
}

func TestMounts(t *testing.T) {
	for name, c := range map[string]struct {
		mount         func(t *testing.T, dir string)
		written, read string
	}{
		"nothing": {func(*testing.T, string) {}, "", ""},
		"an overlay": {func(t *testing.T, dir string) {
			mountAt(t, "overlay", "overlay", 0, fmt.Sprintf("lowerdir=%[1]s/2/fs:%[1]s/1/fs,upperdir=%[1]s/3/fs,workdir=%[1]s/3/work", dir))
		}, "n3", "n1 n2"},
		"an overlay to be read": {func(t *testing.T, dir string) {
			mountAt(t, "overlay", "overlay", 0, fmt.Sprintf("lowerdir=%[1]s/2/fs:%[1]s/1/fs", dir))
		}, "", "n1 n2"},
		"an overlay with relative lower directories": {func(t *testing.T, dir string) {
			t.Chdir(dir)
			mountAt(t, "overlay", "overlay", 0, fmt.Sprintf("lowerdir=2/fs:1/fs,upperdir=%[1]s/3/fs,workdir=%[1]s/3/work", dir))
		}, "n3", "n1 n2"},
		"an overlay to be read, with relative lower directories": {func(t *testing.T, dir string) {
			t.Chdir(dir)
			mountAt(t, "overlay", "overlay", 0, "lowerdir=2/fs:1/fs")
		}, "", "n1 n2"},
		"an overlay of another snapshotter": {func(t *testing.T, _ string) {
			other := published(t)
			t.Chdir(other)
			mountAt(t, "overlay", "overlay", 0, fmt.Sprintf("lowerdir=2/fs:%[1]s/1/fs,upperdir=%[1]s/3/fs,workdir=%[1]s/3/work", other))
		}, "", ""},
		"an overlay whose lower directory is ours": {func(t *testing.T, dir string) {
			other := published(t)
			mountAt(t, "overlay", "overlay", 0, fmt.Sprintf("lowerdir=%[2]s/1/fs,upperdir=%[1]s/3/fs,workdir=%[1]s/3/work", other, dir))
		}, "", "n1"},
		"a bind mount": {func(t *testing.T, dir string) {
			mountAt(t, dir+"/2/fs", "", unix.MS_BIND, "")
		}, "n2", ""},
		"a bind mount of a directory in a node": {func(t *testing.T, dir string) {
			mountAt(t, dir+"/2/fs/etc", "", unix.MS_BIND, "")
		}, "n2", ""},
		"a bind mount of a bind mount": {func(t *testing.T, dir string) {
			mountAt(t, mountAt(t, dir+"/2/fs", "", unix.MS_BIND, "")+"/etc", "", unix.MS_BIND, "")
		}, "n2", ""},
		"a bind mount of a node of another snapshotter": {func(t *testing.T, _ string) {
			mountAt(t, published(t)+"/2/fs", "", unix.MS_BIND, "")
		}, "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			dir := published(t)
			c.mount(t, dir)
			expect(t, dir, c.written, c.read)
		})
	}
}

// TestRootIsMounted: what a bind mount shows is a path within its file system, wherever that is mounted.
func TestRootIsMounted(t *testing.T) {
	t.Run("a directory elsewhere", func(t *testing.T) {
		dir := mountAt(t, published(t), "", unix.MS_BIND, "")
		mountAt(t, dir+"/2/fs", "", unix.MS_BIND, "")
		expect(t, dir, "n2", "")
	})
	t.Run("a file system of its own", func(t *testing.T) {
		dir := published(t)
		must(t, unix.Mount("tmpfs", dir, "tmpfs", 0, ""))
		t.Cleanup(func() { must(t, unix.Unmount(dir, unix.MNT_DETACH)) })
		must(t, os.MkdirAll(filepath.Join(dir, "2/fs"), 0o755))
		mountAt(t, dir+"/2/fs", "", unix.MS_BIND, "")
		expect(t, dir, "n2", "")
	})
}

// TestOtherMountNamespace: a mount that shows in no place where this process could see it.
func TestOtherMountNamespace(t *testing.T) {
	dir := published(t)
	// What others have mounted would show in the new namespace as well, and keep them from unmounting it.
	script := fmt.Sprintf("findmnt --raw --noheadings --output TARGET --types overlay | grep -vx / | xargs --no-run-if-empty umount --lazy; mount -t overlay overlay -o lowerdir=%[1]s/1/fs,upperdir=%[1]s/3/fs,workdir=%[1]s/3/work %[2]s && echo mounted && read line", dir, t.TempDir())
	cmd := exec.Command("unshare", "--mount", "--propagation", "private", "sh", "-c", script)
	out, err := cmd.StdoutPipe()
	must(t, err)
	in, err := cmd.StdinPipe()
	must(t, err)
	must(t, cmd.Start())
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil || line != "mounted\n" {
		t.Fatalf("the mount was not made: %q, %v", line, err)
	}
	expect(t, dir, "n3", "n1")
	_, err = in.Write([]byte("\n"))
	must(t, err)
	must(t, cmd.Wait())
	expect(t, dir, "", "")
}

// FuzzDirectories: the options of overlays that others mounted are read, whatever they are.
func FuzzDirectories(f *testing.F) {
	for _, options := range []string{
		"rw,lowerdir=/a/n/2/fs:/a/n/1/fs,upperdir=/a/n/3/fs,workdir=/a/n/3/work,index=off", "ro,lowerdir=2/fs:1/fs", "lowerdir+=/a/n/1/fs,lowerdir+=/b",
		"", ",", "=", "lowerdir", "upperdir=", "lowerdir=::", "upperdir=/a/n/99999999999999999999999/fs",
	} {
		f.Add(options)
	}
	f.Fuzz(func(t *testing.T, options string) {
		lowers, upper := directories(options)
		for _, dir := range append(lowers, upper) {
			if !strings.Contains(options, dir) {
				t.Errorf("%q is not in the options", dir)
			}
			nodeOf(dir)
		}
	})
}
