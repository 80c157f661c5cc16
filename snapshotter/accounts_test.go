// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package snapshotter_test

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/molt-snapshotter/molt-snapshotter/dag"

	"github.com/molt-snapshotter/molt-snapshotter/snapshotter/updates"
)

// TestK12RollbackCarries: what accounts wrote after an update, which had to give one of them another id, is still theirs when a
// rollback carries it over.
func TestK12RollbackCarries(t *testing.T) {
	f := newFixture(t)
	files := func(account string) map[string]string {
		return map[string]string{
			"etc/passwd": "root:x:0:0::/:/x\n" + account + ":x:105:105::/:/x\n", "etc/group": "root:x:0:\n" + account + ":x:105:\n",
		}
	}
	one := f.layer("sha256:svc", "", files("svc"))
	two := f.layer("sha256:other", "", files("other"))
	key := f.container("web", one, "web")
	f.own(key, map[string]string{"secret": "svc"})
	u := f.update(one, two)
	f.expectState(u, "web", dag.Applied)
	f.own(key, map[string]string{"theirs": "other", "later": "svc"})
	f.must(f.Rollbacks().Rollback(t.Context(), updates.RollbackRequest{Update: u.ID, Carry: true}))
	f.in(key, func(dir string) {
		for name, want := range map[string]string{"secret": "svc", "theirs": "other", "later": "svc"} {
			var st unix.Stat_t
			f.must(unix.Lstat(filepath.Join(dir, name), &st))
			if id := f.account(dir, want); st.Uid != id {
				t.Errorf("%s belongs to %d, %s is %d", name, st.Uid, want, id)
			}
		}
	})
}

// own writes files and gives them to accounts, by their names.
func (f *fixture) own(key string, owners map[string]string) {
	f.t.Helper()
	for name, account := range owners {
		f.write(key, name, account)
		f.in(key, func(dir string) {
			id := int(f.account(dir, account))
			f.must(os.Chmod(filepath.Join(dir, name), 0o600))
			f.must(os.Chown(filepath.Join(dir, name), id, id))
		})
	}
}

// account returns the id of an account.
func (f *fixture) account(dir, name string) uint32 {
	f.t.Helper()
	content, err := os.ReadFile(filepath.Join(dir, "etc/passwd"))
	f.must(err)
	for line := range strings.SplitSeq(string(content), "\n") {
		if fields := strings.Split(line, ":"); fields[0] == name {
			id, err := strconv.ParseUint(fields[2], 10, 32)
			f.must(err)
			return uint32(id)
		}
	}
	f.t.Fatalf("there is no account %s in %q", name, content)
	return 0
}
