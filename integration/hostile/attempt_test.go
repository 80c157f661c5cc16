// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package hostile

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/molt-snapshotter/molt-snapshotter/servicing"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/tree"
)

// patience is how long an attempt may take before it counts as hanging: a watchdog, far more than any needs.
const patience = 5 * time.Minute

// stage holds the directories of one attempt.
type stage struct {
	t                     *testing.T
	old, base, user, into string
}

func newStage(t *testing.T, dir string) *stage {
	t.Helper()
	s := &stage{t: t, old: dir + "/old", base: dir + "/new", user: dir + "/user", into: dir + "/into"}
	for _, d := range []string{s.old, s.base, s.user, s.into} {
		check(t, os.MkdirAll(d, 0o755))
	}
	return s
}

// sides are the directories of the old base, the new one and the storage.
func (s *stage) sides() [3]string { return [3]string{s.old, s.base, s.user} }

func (s *stage) input() servicing.Input {
	return servicing.Input{Old: tree.Stack{s.old}, New: tree.Stack{s.base}, User: tree.Stack{s.user}}
}

// outcome is what servicing made of an attempt.
type outcome struct {
	Held   []string
	Error  string
	Report []byte
}

// service plans and writes in this process, and ends the test if that hangs. Opening a FIFO cannot be cancelled: so the
// test does not wait for what it watches.
func (s *stage) service() outcome {
	s.t.Helper()
	ctx, cancel := context.WithTimeout(s.t.Context(), patience)
	defer cancel()
	done := make(chan outcome, 1)
	go func() { done <- service(ctx, s.input(), s.into) }()
	select {
	case o := <-done:
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			s.t.Fatal("servicing did not end by itself")
		}
		return o
	case <-time.After(patience + time.Minute):
		s.t.Fatal("servicing hangs")
		return outcome{}
	}
}

func service(ctx context.Context, in servicing.Input, into string) (o outcome) {
	p, err := servicing.NewPlan(ctx, in)
	if err != nil {
		return outcome{Error: err.Error()}
	}
	for _, r := range p.Held() {
		o.Held = append(o.Held, string(r.Code)+": "+r.Message)
	}
	if len(o.Held) == 0 {
		err = p.Write(ctx, into)
	}
	report, marshal := json.Marshal(p.Report())
	if err = errors.Join(err, marshal, p.Close()); err != nil {
		o.Error = err.Error()
	}
	o.Report = report
	return o
}

// tmpfs mounts a file system of its own, which is gone with the test.
func tmpfs(t *testing.T) string {
	t.Helper()
	needRoot(t)
	dir := t.TempDir()
	check(t, unix.Mount("tmpfs", dir, "tmpfs", 0, "size=3g,nr_inodes=2m"))
	t.Cleanup(func() { check(t, unix.Unmount(dir, unix.MNT_DETACH)) })
	return dir
}

// put writes a file with the directories that it is in.
func put(t *testing.T, root, name, content string, mode os.FileMode) {
	t.Helper()
	full := filepath.Join(root, name)
	check(t, os.MkdirAll(filepath.Dir(full), 0o755))
	check(t, os.WriteFile(full, []byte(content), 0o600))
	check(t, os.Chmod(full, mode))
}
