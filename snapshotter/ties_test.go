// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package snapshotter_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/containerd/containerd/v2/core/mount"

	"github.com/molt-snapshotter/molt-snapshotter/dag"
	"github.com/molt-snapshotter/molt-snapshotter/servicing"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter"
	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/updates"
)

// dpkgRecords is a status file in which packages of one source have a version each.
func dpkgRecords(packages ...string) string {
	var out []string
	for _, one := range packages {
		name, version, _ := strings.Cut(one, " ")
		record := "Package: " + name + "\nStatus: install ok installed\nArchitecture: all\nSource: tied\nVersion: " + version + "\n"
		if name == "whole" {
			record += "Depends: small (= " + version + ")\n"
		}
		out = append(out, record)
	}
	return strings.Join(out, "\n")
}

// small are the files of a base with the package small in a version.
func small(version string) map[string]string {
	return map[string]string{
		"var/lib/dpkg/status": dpkgRecords("small " + version), "usr/bin/small": version, "version": version,
		"var/lib/dpkg/info/small.list": "/.\n/usr\n/usr/bin\n/usr/bin/small\n",
	}
}

// TestFixesWait: the outcome of an update counts the fixes that wait, and the next update brings them when nothing needs the old
// version any longer. A rollback keeps what an earlier update withheld.
func TestFixesWait(t *testing.T) {
	f := newFixture(t)
	one, two, three := f.layer("one", "", small("1")), f.layer("two", "", small("2")), f.layer("three", "", small("3"))
	key := f.container("web", one, "web")
	f.in(key, func(dir string) {
		f.must(os.WriteFile(filepath.Join(dir, "var/lib/dpkg/status"), []byte(dpkgRecords("small 1", "whole 1")), 0o644))
		f.must(os.WriteFile(filepath.Join(dir, "var/lib/dpkg/info/whole.list"), []byte("/.\n"), 0o644))
	})
	u := f.update(one, two)
	f.expectState(u, "web", dag.Applied)
	if n := u.Outcomes["test/web"].FixesWaiting; n != 1 {
		t.Errorf("%d fixes wait, want 1", n)
	}
	f.expect(key, "version", "2")
	f.expect(key, "usr/bin/small", "1")
	audited := func() (waits []servicing.Waiting) {
		r, err := f.Inspector().Audit(t.Context(), "test/web")
		f.must(err)
		for _, p := range r.Packages {
			if p.Waits != nil {
				waits = append(waits, *p.Waits)
			}
		}
		return waits
	}
	if waits := audited(); len(waits) != 1 || waits[0].Package != "small" || waits[0].Base != "2" || waits[0].For[0].Package != "whole" {
		t.Errorf("the audit says that these wait: %+v", waits)
	}
	f.in(key, func(dir string) {
		f.must(os.WriteFile(filepath.Join(dir, "var/lib/dpkg/status"), []byte(dpkgRecords("small 1")), 0o644))
		f.must(os.Remove(filepath.Join(dir, "var/lib/dpkg/info/whole.list")))
	})
	u = f.update(two, three)
	f.expectState(u, "web", dag.Applied)
	if n := u.Outcomes["test/web"].FixesWaiting; n != 0 {
		t.Errorf("%d fixes still wait", n)
	}
	f.expect(key, "usr/bin/small", "3")
	if waits := audited(); len(waits) > 0 {
		t.Errorf("the audit says that these wait: %+v", waits)
	}
	f.must(f.Rollbacks().Rollback(t.Context(), updates.RollbackRequest{Update: u.ID, Carry: true}))
	f.expect(key, "usr/bin/small", "1")
}

// TestFixesWaitWhenStaged: a move to what was staged ahead of time counts the fixes that wait, as the staging did.
func TestFixesWaitWhenStaged(t *testing.T) {
	f := newFixture(t, snapshotter.WithOnCommit(updates.CommitPolicy{Client: "stage", Image: "notify", Written: "stage"}))
	one := f.layer("one", "", small("1"))
	key := f.container("web", one, "web")
	f.in(key, func(dir string) {
		f.must(os.WriteFile(filepath.Join(dir, "var/lib/dpkg/status"), []byte(dpkgRecords("small 1", "whole 1")), 0o644))
	})
	active := f.key("write-two")
	mounts, err := f.Prepare(t.Context(), active, one)
	f.must(err)
	f.must(mount.WithTempMount(t.Context(), mounts, func(dir string) error {
		for name, content := range small("2") {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
				return err
			}
		}
		return nil
	}))
	f.must(f.Commit(t.Context(), f.key("two"), active))
	u := f.byCommit()
	for _, state := range []dag.State{dag.Staged, dag.Applied} {
		f.expectState(f.get(u.ID), "web", state)
		if n := f.get(u.ID).Outcomes["test/web"].FixesWaiting; n != 1 {
			t.Errorf("%s: %d fixes wait, want 1", state, n)
		}
		if state == dag.Staged {
			f.must(f.Updates().Apply(t.Context(), u.ID, nil))
			f.applied(u.ID)
		}
	}
	f.expect(key, "usr/bin/small", "1")
}
