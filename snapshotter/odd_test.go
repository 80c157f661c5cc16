// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package snapshotter_test

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containerd/errdefs"
	"golang.org/x/sys/unix"

	"github.com/molt-snapshotter/molt-snapshotter/dag"

	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/state"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/updates"
)

// newFixtureOnTmpfs is a fixture on a file system that holds more attributes than the kernel lists.
func newFixtureOnTmpfs(t *testing.T) *fixture {
	t.Helper()
	requireRoot(t)
	dir := t.TempDir()
	f := &fixture{
		t: t, root: filepath.Join(dir, "root"),
		host: &fakeHost{claims: map[string]string{}, running: map[string]bool{}},
	}
	f.must(unix.Mount("tmpfs", dir, "tmpfs", 0, ""))
	t.Cleanup(func() { f.must(unix.Unmount(dir, unix.MNT_DETACH)) })
	f.open()
	t.Cleanup(f.close)
	return f
}

// TestUnlistableAttributes: a file whose attributes nobody can list holds its storage, with the path and what to do,
// until it is mended. Until then everything but the update works.
func TestUnlistableAttributes(t *testing.T) {
	f := newFixtureOnTmpfs(t)
	one, two := f.bases()
	key := f.container("web", one, "web")
	f.write(key, "own", "mine")
	f.write(key, "etc/conf", "a = 9\n\nb = 1\n\nc = 1\n")
	odd := filepath.Join(f.dir(f.storage("web").Head), "fs/own")
	name := func(i int) string { return fmt.Sprintf("trusted.%0100d", i) }
	for i := range 700 {
		f.must(unix.Setxattr(odd, name(i), nil, 0))
	}

	f.must(second(f.Usage(t.Context(), key)))
	var seen []string
	f.must(f.State().Diff(t.Context(), "test/web", nil, func(d state.Difference) error { seen = append(seen, d.Path); return nil }))
	if got := strings.Join(seen, " "); got != ". etc etc/conf own" {
		t.Errorf("the diff shows %s", got)
	}
	f.must(second(f.Inspector().Audit(t.Context(), "test/web")))
	e, err := f.Inspector().Explain(t.Context(), "test/web", "own")
	f.must(err)
	if len(e.Stack) != 1 || e.Stack[0].Unread == "" {
		t.Errorf("explained: %+v", e)
	}
	request := updates.Request{From: f.node(one), To: f.node(two)}
	previews, err := f.PreviewUpdate(t.Context(), request)
	f.must(err)
	if len(previews) != 1 || previews[0].Err != nil || len(previews[0].Holds) != 1 || !strings.Contains(previews[0].Holds[0], `"/own"`) {
		t.Errorf("the dry run: %+v", previews)
	}
	u := f.update(one, two)
	f.expectState(u, "web", dag.Held)
	r, err := f.Report(u.ID, "test/web")
	f.must(err)
	if len(r.Holds) != 1 || r.Holds[0].Path != "own" || !strings.Contains(r.Holds[0].Do, "setfattr -x") {
		t.Errorf("the report: %+v", r.Holds)
	}
	err = f.Storages().Fork(t.Context(), "test/web", "test/other")
	refused(t, err, errdefs.ErrFailedPrecondition, `"/own" has more extended attributes`)
	f.expect(key, "version", "1")

	for i := range 700 {
		f.must(unix.Removexattr(odd, name(i)))
	}
	u = f.update(one, two)
	f.expectState(u, "web", dag.Applied)
	f.expect(key, "own", "mine")
}

func second[T any](_ T, err error) error { return err }
