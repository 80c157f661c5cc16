// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package pressure

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/molt-snapshotter/molt-snapshotter/dag"
)

// contentKey is the key of the storage that these tests write in.
const contentKey = "test/10/c0"

// moved updates the only storage of a world to its second base, and checks that it was serviced.
func (w *world) moved() {
	w.t.Helper()
	u, err := w.update()
	check(w.t, err)
	if len(u.Outcomes) != 1 {
		w.t.Fatalf("%d storages were serviced, not one", len(u.Outcomes))
	}
	for name, o := range u.Outcomes {
		if o.State != dag.Applied {
			w.t.Fatalf("%s: %v %v", name, o.State, o.Reasons)
		}
	}
	delete(w.trees, contentKey+" on v2")
	w.intact("v2")
	w.sound()
}

const (
	sparseSize = 10 << 30
	// sparseMost is how much of the disk all copies of the sparse file may take.
	sparseMost = 1 << 20
)

// TestSparseFile updates a storage with a huge file that is nearly all a hole.
func TestSparseFile(t *testing.T) {
	for _, c := range []struct{ name, file string }{
		{"the base changes another file", "huge"},
		{"the base changes a small version of it", "conf"},
	} {
		t.Run(c.name, func(t *testing.T) {
			bounded(t)
			w := newWorldOn(t, t.TempDir(), 1)
			check(t, w.in(contentKey, func(dir string) error { return writeSparse(filepath.Join(dir, c.file)) }))
			u, err := w.update()
			check(t, err)
			if o := u.Outcomes["test/s0"]; o.State != dag.Applied {
				t.Fatalf("%v %v", o.State, o.Reasons)
			}
			check(t, w.in(contentKey, func(dir string) error {
				version, err := os.ReadFile(filepath.Join(dir, "version"))
				if string(version) != "v2" {
					t.Errorf("it stands on %q", version)
				}
				return errors.Join(err, checkSparse(filepath.Join(dir, c.file)))
			}))
			used, err := allocated(w.root(), c.file)
			check(t, err)
			t.Logf("%d KiB are allocated", used>>10)
			if used > sparseMost {
				t.Errorf("%d bytes are allocated for a hole", used)
			}
			w.sound()
		})
	}
}

// writeSparse makes a huge file with something at its beginning and its end only.
func writeSparse(path string) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	_, err = f.WriteString("begin")
	_, err2 := f.WriteAt([]byte("end"), sparseSize-3)
	return errors.Join(err, err2, f.Sync(), f.Close())
}

// checkSparse checks what writeSparse wrote, and that there is a hole still.
func checkSparse(path string) (err error) {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, f.Close()) }()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	begin, end := make([]byte, 5), make([]byte, 3)
	_, err = f.ReadAt(begin, 0)
	_, err2 := f.ReadAt(end, sparseSize-3)
	if info.Size() != sparseSize || string(begin) != "begin" || string(end) != "end" {
		err = errors.Join(err, fmt.Errorf("%s has %d bytes, %q to %q", path, info.Size(), begin, end))
	}
	hole, err3 := unix.Seek(int(f.Fd()), 0, unix.SEEK_HOLE)
	if hole > sparseMost {
		err = errors.Join(err, fmt.Errorf("the first hole of %s is at %d", path, hole))
	}
	return errors.Join(err, err2, err3)
}

// allocated returns how many bytes of the disk the files of one name take below a directory.
func allocated(dir, name string) (sum int64, err error) {
	err = filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.Name() != name {
			return err
		}
		var st unix.Stat_t
		if err := unix.Lstat(path, &st); err != nil {
			return err
		}
		sum += st.Blocks * 512
		return nil
	})
	return sum, err
}

// TestManyFiles updates a storage with many files, each with a name as long as names can be.
func TestManyFiles(t *testing.T) {
	bounded(t)
	n := many(2000, 200_000)
	w := newWorldOn(t, t.TempDir(), 1)
	check(t, w.in(contentKey, func(dir string) error {
		for i := range n {
			if err := os.WriteFile(filepath.Join(dir, longName(i)), fmt.Append(nil, i), 0o600); err != nil {
				return err
			}
		}
		return nil
	}))
	w.moved()
	check(t, w.in(contentKey, func(dir string) error {
		for i := range n {
			got, err := os.ReadFile(filepath.Join(dir, longName(i)))
			if err != nil || string(got) != fmt.Sprint(i) {
				return fmt.Errorf("file %d is %q: %w", i, got, err)
			}
		}
		return nil
	}))
}

// longName returns a name of 255 bytes.
func longName(i int) string { return fmt.Sprintf("%0255d", i) }

// TestDeepDirectory updates a storage with a directory whose path is longer than a system call takes.
func TestDeepDirectory(t *testing.T) {
	bounded(t)
	depth := many(300, 1000)
	w := newWorldOn(t, t.TempDir(), 1)
	name := strings.Repeat("d", 20)
	if depth*(len(name)+1) <= unix.PathMax {
		t.Fatal("the path is not long enough to tell")
	}
	check(t, w.in(contentKey, func(dir string) error {
		return descend(dir, name, depth, unix.Mkdirat, func(bottom int) error {
			return fileAt(bottom, unix.O_WRONLY|unix.O_CREAT, func(f *os.File) error {
				_, err := f.WriteString("deep")
				return err
			})
		})
	}))
	w.moved()
	check(t, w.in(contentKey, func(dir string) error {
		there := func(int, string, uint32) error { return nil }
		return descend(dir, name, depth, there, func(bottom int) error {
			return fileAt(bottom, unix.O_RDONLY, func(f *os.File) error {
				got := make([]byte, 5)
				if n, err := f.Read(got); string(got[:n]) != "deep" {
					return fmt.Errorf("the file at the bottom is %q: %w", got[:n], err)
				}
				return nil
			})
		})
	}))
}

// descend goes down directories of one name, each after step was called for it, and calls fn with the lowest.
func descend(dir, name string, depth int, step func(fd int, name string, mode uint32) error, fn func(int) error) error {
	fd, err := unix.Open(dir, unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	for range depth {
		if err != nil {
			return err
		}
		err = step(fd, name, 0o755)
		below := -1
		if err == nil {
			below, err = unix.Openat(fd, name, unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
		}
		err = errors.Join(err, unix.Close(fd))
		fd = below
	}
	if err != nil {
		return err
	}
	return errors.Join(fn(fd), unix.Close(fd))
}

// fileAt opens the file in the lowest directory.
func fileAt(bottom, flags int, fn func(*os.File) error) error {
	fd, err := unix.Openat(bottom, "file", flags|unix.O_CLOEXEC, 0o600)
	if err != nil {
		return err
	}
	f := os.NewFile(uintptr(fd), "file")
	return errors.Join(fn(f), f.Close())
}
