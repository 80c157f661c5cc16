// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package pressure

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/molt-snapshotter/molt-snapshotter/dag"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/updates"
)

const tooMany = "too many open files"

// TestDescriptors updates a storage over many layers with ever more descriptors to spare, from none on.
func TestDescriptors(t *testing.T) {
	w := newWorldOn(t, t.TempDir(), 0)
	const layers = 20
	for i := range layers {
		name := fmt.Sprintf("layer %d", i)
		parent := ""
		if i > 0 {
			parent = fmt.Sprintf("test/2/layer %d", i-1)
		}
		w.layerOn(parent, name, map[string]string{name: name, "top": name})
	}
	parent := fmt.Sprintf("test/2/layer %d", layers-1)
	from := w.layerOn(parent, "old", map[string]string{"top": "old", "both": "old\n"})
	to := w.layerOn(parent, "new", map[string]string{"top": "new", "both": "new\n"})
	const key = "test/10/c"
	check(t, w.prepareOn("test/2/old", key, "c"))
	check(t, w.in(key, func(dir string) error {
		return errors.Join(os.WriteFile(filepath.Join(dir, "mine"), []byte("mine"), 0o600),
			os.WriteFile(filepath.Join(dir, "both"), []byte("mine\n"), 0o600))
	}))
	ended := map[dag.State]int{}
	for _, spare := range []int{0, 1, 2, 4, 8, 16, 24, 32, 48, 64, 66, 68, 70, 72, 74, 76, 80, 96, 128, 256} {
		raise := leave(t, spare)
		u, err := w.move(from, to)
		raise()
		o := u.Outcomes["test/c"]
		if err == nil && o.State != dag.Applied {
			err = errors.New(fmt.Sprint(o.Reasons))
		}
		ended[o.State]++
		if o.State != dag.Applied {
			says(t, fmt.Sprintf("with %d descriptors: %v", spare, o.State), err, tooMany)
		}
		// One of which could not be told whether it is in use is updated when it starts, which is when it is looked at here.
		if o.State == dag.Applied || o.State == dag.Planned {
			w.shows(key, "new", layers)
			check(t, w.Rollbacks().Rollback(t.Context(), updates.RollbackRequest{Update: u.ID}))
		}
		w.shows(key, "old", layers)
		w.sound()
	}
	t.Logf("updates ended so: %v", ended)
	if ended[dag.Aborted] == 0 || ended[dag.Applied] == 0 {
		t.Error("the limits were not those that tell")
	}
}

// TestStartWithoutDescriptors starts with ever more descriptors to spare, with and without the database. A record that cannot be
// read for want of one is not a damaged record.
func TestStartWithoutDescriptors(t *testing.T) {
	for name, lose := range map[string]bool{"database": false, "records": true} {
		t.Run(name, func(t *testing.T) {
			w := newWorldOn(t, t.TempDir(), storages)
			failed := 0
			for spare := 0; ; spare++ {
				check(t, w.Close())
				if lose {
					check(t, os.Remove(filepath.Join(w.root(), "graph.db")))
				}
				raise := leave(t, spare)
				s, err := snapshotter.New(w.root(), w.options...)
				raise()
				if err == nil {
					w.Snapshotter = s
					break
				}
				failed++
				says(t, fmt.Sprintf("start with %d descriptors", spare), err, tooMany)
				w.open()
				w.intact("v1")
				w.sound()
			}
			t.Logf("%d starts lacked descriptors", failed)
			if failed == 0 {
				t.Error("no start lacked descriptors")
			}
			until(t, "the end of what the starts left", func() bool {
				check(t, w.Cleanup(t.Context()))
				return w.entries("trash")+w.entries("staging") == 0
			})
			w.intact("v1")
			w.sound()
		})
	}
}

// leave leaves this process some descriptors to open and no more, until what it returns is called.
func leave(t *testing.T, spare int) (raise func()) {
	t.Helper()
	var limit unix.Rlimit
	check(t, unix.Getrlimit(unix.RLIMIT_NOFILE, &limit))
	// The highest number counts, not how many are open: those that are free between them are spare ones, too.
	var highest uint64
	for free := 0; ; highest++ {
		if _, err := unix.FcntlInt(uintptr(highest), unix.F_GETFD, 0); err == nil {
			continue
		}
		if free++; free > spare {
			break
		}
	}
	check(t, unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: highest, Max: limit.Max}))
	return func() { check(t, unix.Setrlimit(unix.RLIMIT_NOFILE, &limit)) }
}
