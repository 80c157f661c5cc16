// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

// Package pressure tries what is done while there is too little of something: of the disk, of inodes, of the right to write.
package pressure

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/containerd/containerd/v2/core/mount"
	"github.com/containerd/containerd/v2/core/snapshots"
	"github.com/opencontainers/go-digest"
	"golang.org/x/sys/unix"

	"github.com/molt-snapshotter/molt-snapshotter/dag"
	"github.com/molt-snapshotter/molt-snapshotter/integration/inprocess"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/updates"
)

// storages is how many storages stand on the base.
const storages = 3

// world is a snapshotter on a disk of its own, with a base, its update and storages with something written in them.
type world struct {
	*snapshotter.Snapshotter
	t        *testing.T
	disk     string // where the file system is
	image    string // what it is in, if it is one of its own
	from, to dag.NodeID
	keys     []string
	options  []snapshotter.Opt
	trees    map[string]string // the digest of what each key shows on each base
}

// newWorld makes a small disk, with room for a few storages.
func newWorld(t *testing.T, mkfs ...string) *world {
	t.Helper()
	inprocess.NeedRoot(t, "mounts")
	image, disk := loop(t, mkfs...)
	w := newWorldOn(t, disk, storages)
	w.image = image
	return w
}

func newWorldOn(t *testing.T, disk string, storages int, options ...snapshotter.Opt) *world {
	t.Helper()
	inprocess.NeedRoot(t, "mounts")
	w := &world{t: t, disk: disk, options: append(options, snapshotter.WithGrace(0)), trees: map[string]string{}}
	w.open()
	t.Cleanup(func() { check(t, w.Close()) })
	w.from, w.to = w.layer("v1"), w.layer("v2")
	for i := range storages {
		key := fmt.Sprintf("test/%d/c%d", 10+i, i)
		check(t, w.prepare(key, fmt.Sprintf("s%d", i)))
		check(t, w.in(key, func(dir string) error {
			return os.WriteFile(filepath.Join(dir, "written"), written(i), 0o600)
		}))
		w.keys = append(w.keys, key)
	}
	w.intact("v1")
	return w
}

// loop mounts a new file system of 64 MiB that is gone with the test.
func loop(t *testing.T, mkfs ...string) (image, dir string) {
	t.Helper()
	image, dir = filepath.Join(t.TempDir(), "image"), t.TempDir()
	check(t, os.WriteFile(image, nil, 0o600))
	check(t, os.Truncate(image, 64<<20))
	run(t, "mkfs.ext4", append(append([]string{"-q", "-F", "-m", "0"}, mkfs...), image)...)
	run(t, "mount", "-o", "loop", image, dir)
	t.Cleanup(func() { check(t, unix.Unmount(dir, 0)) })
	return image, dir
}

func run(t *testing.T, name string, args ...string) {
	t.Helper()
	if out, err := exec.CommandContext(t.Context(), name, args...).CombinedOutput(); err != nil {
		t.Fatalf("%s %v: %v: %s", name, args, err, out)
	}
}

func (w *world) root() string { return filepath.Join(w.disk, "root") }

func (w *world) open() {
	w.t.Helper()
	s, err := snapshotter.New(w.root(), w.options...)
	check(w.t, err)
	w.Snapshotter = s
}

// layer commits a base of one layer and returns its node.
func (w *world) layer(version string) dag.NodeID {
	w.t.Helper()
	return w.layerOn("", version, map[string]string{"version": version, "conf": strings.Repeat(version+"\n", 1000)})
}

// layerOn commits a layer with some files and returns its node.
func (w *world) layerOn(parent, version string, files map[string]string) (id dag.NodeID) {
	w.t.Helper()
	extract := "test/1/" + fmt.Sprintf(snapshots.UnpackKeyFormat, "1-AbC_", digest.FromString(version))
	name := "test/2/" + version
	mounts, err := w.Prepare(w.t.Context(), extract, parent)
	check(w.t, err)
	for file, content := range files {
		check(w.t, os.WriteFile(filepath.Join(inprocess.Upper(mounts), file), []byte(content), 0o600))
	}
	check(w.t, w.Commit(w.t.Context(), name, extract))
	w.State().Graph(func(g *dag.Graph) { n, _ := g.Name(name); id = n.Node })
	return id
}

func (w *world) prepare(key, storage string) error { return w.prepareOn("test/2/v1", key, storage) }

func (w *world) prepareOn(parent, key, storage string) error {
	labels := snapshots.WithLabels(map[string]string{snapshotter.LabelStorage: storage})
	_, err := w.Prepare(w.t.Context(), key, parent, labels)
	return err
}

// in calls fn with what a key shows. The snapshotter grants no time between the answer and the mount here, so that storages are
// free at once: when nodes were merged just then, it is asked again.
func (w *world) in(key string, fn func(dir string) error) error {
	for {
		mounts, err := w.Mounts(w.t.Context(), key)
		if err != nil {
			return err
		}
		mounted := false
		err = mount.WithTempMount(w.t.Context(), mounts, func(dir string) error { mounted = true; return fn(dir) })
		if mounted || !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
}

func written(i int) []byte { return []byte(strings.Repeat(fmt.Sprintf("written in %d\n", i), 500)) }

// intact checks that every storage shows what was written in it, over a base that is one of the two and not a mixture, and
// that it is the same whole tree, with all metadata, as whenever it was seen on that base.
func (w *world) intact(want string) {
	w.t.Helper()
	for i, key := range w.keys {
		check(w.t, w.in(key, func(dir string) error {
			got, err := os.ReadFile(filepath.Join(dir, "written"))
			version, err2 := os.ReadFile(filepath.Join(dir, "version"))
			conf, err3 := os.ReadFile(filepath.Join(dir, "conf"))
			if string(got) != string(written(i)) || string(conf) != strings.Repeat(string(version)+"\n", 1000) {
				w.t.Errorf("%s does not show what was written in it", key)
			}
			if want != "" && string(version) != want {
				w.t.Errorf("%s stands on %s, not on %s", key, version, want)
			}
			tree, err4 := digestOf(dir)
			seen := fmt.Sprintf("%s on %s", key, version)
			if before, ok := w.trees[seen]; ok && before != tree {
				w.t.Errorf("%s is another tree than before", seen)
			}
			w.trees[seen] = tree
			return errors.Join(err, err2, err3, err4)
		}))
	}
}

// digestOf returns a digest of a whole tree: names, kinds, permissions, owners, times, attributes and contents. Nodes that are
// merged in the meantime get a link to each file, which changes the time that tar goes by to find out whether a file is being written.
func digestOf(dir string) (digest string, err error) {
	for range 10 {
		sum := sha256.New()
		var stderr strings.Builder
		tar := exec.Command("tar", "--sort=name", "--xattrs", "--acls", "--pax-option=delete=atime,delete=ctime", "-C", dir, "-cf", "-", ".")
		tar.Stdout, tar.Stderr = sum, &stderr
		if err = tar.Run(); err == nil {
			return hex.EncodeToString(sum.Sum(nil)), nil
		}
		err = fmt.Errorf("read %s: %w: %s", dir, err, &stderr)
		if !strings.Contains(stderr.String(), "changed as we read it") {
			break
		}
	}
	return "", err
}

// sound checks that Check finds nothing grave.
func (w *world) sound() {
	w.t.Helper()
	problems, err := w.Checks().Check(w.t.Context())
	check(w.t, err)
	for _, p := range problems {
		if p.Grave {
			w.t.Errorf("check: %s: %s", p.Subject, p.What)
		}
	}
}

// update services all storages and waits for that.
func (w *world) update() (u dag.Update, err error) {
	return w.move(w.from, w.to)
}

// move services all storages of a base and waits for that.
func (w *world) move(from, to dag.NodeID) (u dag.Update, err error) {
	id, err := w.Updates().Begin(w.t.Context(), updates.Request{From: from, To: to})
	if err != nil {
		return u, err
	}
	for range 30000 {
		w.State().Graph(func(g *dag.Graph) { u, _ = g.Update(id) })
		if u.State != dag.Staging && u.State != dag.Staged {
			return u, nil
		}
		time.Sleep(10 * time.Millisecond)
	}
	return u, fmt.Errorf("update %v is still %v: %v", id, u.State, u.Outcomes)
}

// says checks that an operation failed, and with an error that has the kernel's words for what is the matter.
func says(t *testing.T, what string, err error, words string) {
	t.Helper()
	if err == nil || !strings.Contains(err.Error(), words) {
		t.Errorf("%s: got error %v, want one that says %q", what, err, words)
	}
}

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
