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

	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/updates"
)

const (
	holes  = 10 << 30 // bytes
	blocks = 1 << 20  // the most that a file of holes may take on disk, in bytes
)

// TestSparse updates storages with files of 10 GiB that hold a few bytes: one of the user's own, and one that was a small file
// of the base, which the update changes.
func TestSparse(t *testing.T) {
	bounded(t)
	w := newWorldOn(t, t.TempDir(), 1)
	key := w.keys[0]
	check(t, w.in(key, func(dir string) error {
		return errors.Join(sparse(filepath.Join(dir, "own")), sparse(filepath.Join(dir, "conf")))
	}))
	w.thereAndBack(func(dir string) error {
		return errors.Join(isSparse(filepath.Join(dir, "own")), isSparse(filepath.Join(dir, "conf")))
	})
}

// thereAndBack updates the storage and rolls it back, exactly and carrying over, and looks at it each time.
func (w *world) thereAndBack(verify func(dir string) error) {
	w.t.Helper()
	look := func(base string) {
		w.t.Helper()
		check(w.t, w.in(w.keys[0], func(dir string) error {
			version, err := os.ReadFile(filepath.Join(dir, "version"))
			if string(version) != base {
				w.t.Errorf("it stands on %q, not on %s", version, base)
			}
			return errors.Join(err, verify(dir))
		}))
		w.sound()
	}
	for _, carry := range []bool{false, true} {
		u, err := w.update()
		check(w.t, err)
		look("v2")
		check(w.t, w.Rollbacks().Rollback(w.t.Context(), updates.RollbackRequest{Update: u.ID, Carry: carry}))
		look("v1")
	}
}

// places are those of a file of holes at which there is something.
func places() []int64 { return []int64{0, holes / 2, holes - 5} }

func sparse(name string) error {
	f, err := os.Create(name)
	if err != nil {
		return err
	}
	for _, at := range places() {
		if _, err := f.WriteAt([]byte("bytes"), at); err != nil {
			return errors.Join(err, f.Close())
		}
	}
	return f.Close()
}

func isSparse(name string) error {
	f, err := os.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	var st unix.Stat_t
	errs := []error{unix.Fstat(int(f.Fd()), &st)}
	if st.Size != holes || st.Blocks*512 > blocks {
		errs = append(errs, fmt.Errorf("%s has %d bytes and takes %d", name, st.Size, st.Blocks*512))
	}
	for _, at := range places() {
		got := make([]byte, 5)
		_, err := f.ReadAt(got, at)
		errs = append(errs, err)
		if string(got) != "bytes" {
			errs = append(errs, fmt.Errorf("%s has %q at %d", name, got, at))
		}
	}
	return errors.Join(errs...)
}

// TestManyFiles updates a storage with many files.
func TestManyFiles(t *testing.T) {
	bounded(t)
	n := many(2000, 200_000)
	w := newWorldOn(t, t.TempDir(), 1)
	file := func(dir string, i int) (name, content string) {
		return filepath.Join(dir, "files", fmt.Sprint(i/1000), fmt.Sprint(i)), fmt.Sprint("file ", i)
	}
	check(t, w.in(w.keys[0], func(dir string) error {
		for i := range n {
			name, content := file(dir, i)
			if i%1000 == 0 {
				check(t, os.MkdirAll(filepath.Dir(name), 0o755))
			}
			if err := os.WriteFile(name, []byte(content), 0o600); err != nil {
				return err
			}
		}
		return nil
	}))
	w.thereAndBack(func(dir string) error {
		for i := range n {
			name, want := file(dir, i)
			if got, err := os.ReadFile(name); string(got) != want {
				return fmt.Errorf("%s is %q: %w", name, got, err)
			}
		}
		return nil
	})
}

// TestLongNames updates a storage with the longest names there are, in directories deeper than a path can tell.
func TestLongNames(t *testing.T) {
	bounded(t)
	depth := many(300, 1000)
	w := newWorldOn(t, t.TempDir(), 1)
	name := strings.Repeat("n", 255)
	check(t, w.in(w.keys[0], func(dir string) error {
		return descend(dir, name, depth, true, func(fd int) error {
			file, err := unix.Openat(fd, name, unix.O_CREAT|unix.O_WRONLY|unix.O_CLOEXEC, 0o600)
			if err != nil {
				return err
			}
			_, err = unix.Write(file, []byte("deep"))
			return errors.Join(err, unix.Close(file))
		})
	}))
	w.thereAndBack(func(dir string) error {
		return descend(dir, name, depth, false, func(fd int) error {
			file, err := unix.Openat(fd, name, unix.O_RDONLY|unix.O_CLOEXEC, 0)
			if err != nil {
				return err
			}
			buf := make([]byte, 8)
			n, err := unix.Read(file, buf)
			if got := string(buf[:max(n, 0)]); got != "deep" {
				err = errors.Join(err, fmt.Errorf("the deepest file shows %q", got))
			}
			return errors.Join(err, unix.Close(file))
		})
	})
}

// descend opens directories of one name within one another, makes them if asked to, and calls fn with the deepest.
func descend(dir, name string, depth int, create bool, fn func(fd int) error) error {
	fd, err := unix.Open(dir, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0)
	for range depth {
		if err != nil {
			return err
		}
		if create {
			err = unix.Mkdirat(fd, name, 0o755)
		}
		next := -1
		if err == nil {
			next, err = unix.Openat(fd, name, unix.O_PATH|unix.O_DIRECTORY|unix.O_NOFOLLOW|unix.O_CLOEXEC, 0)
		}
		if closed := unix.Close(fd); closed != nil || err != nil {
			return errors.Join(err, closed)
		}
		fd = next
	}
	if err != nil {
		return err
	}
	return errors.Join(fn(fd), unix.Close(fd))
}
