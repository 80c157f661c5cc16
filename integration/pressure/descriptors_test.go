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
	starved, applied := 0, 0
	for _, spare := range []int{0, 1, 2, 4, 8, 16, 24, 32, 48, 64, 66, 68, 70, 72, 74, 76, 80, 96, 128, 256} {
		raise := leave(t, spare)
		u, err := w.move(from, to)
		raise()
		o := u.Outcomes["test/c"]
		switch {
		case err == nil && o.State == dag.Applied:
			applied++
			w.shows(key, "new", layers)
			check(t, w.Rollback(t.Context(), snapshotter.RollbackRequest{Update: u.ID}))
		case err == nil:
			starved++
			says(t, fmt.Sprintf("with %d descriptors: %v", spare, o.State), errors.New(fmt.Sprint(o.Reasons)), tooMany)
		default:
			starved++
			says(t, fmt.Sprintf("with %d descriptors", spare), err, tooMany)
		}
		w.shows(key, "old", layers)
		w.sound()
	}
	t.Logf("%d updates lacked descriptors, %d did not", starved, applied)
	if starved == 0 || applied == 0 {
		t.Error("the limits were not those that tell")
	}
}

// leave leaves this process no more than some descriptors to open, until what it returns is called.
func leave(t *testing.T, spare int) (raise func()) {
	t.Helper()
	open, err := os.ReadDir("/proc/self/fd")
	check(t, err)
	var limit unix.Rlimit
	check(t, unix.Getrlimit(unix.RLIMIT_NOFILE, &limit))
	// The highest descriptor counts, not how many there are: the first free ones fill the gaps.
	check(t, unix.Setrlimit(unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: uint64(len(open) - 1 + spare), Max: limit.Max}))
	return func() { check(t, unix.Setrlimit(unix.RLIMIT_NOFILE, &limit)) }
}
