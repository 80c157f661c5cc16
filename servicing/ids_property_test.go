// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package servicing

import (
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
	"pgregory.net/rapid"
)

// accountsByName are ids by name, each id once.
type accountsByName map[string]int

// drawnAccounts changes accounts: some go, come, or get another id.
func drawnAccounts(t *rapid.T, from accountsByName, names []string) accountsByName {
	out := maps.Clone(from)
	for range rapid.IntRange(0, 4).Draw(t, "changes of accounts") {
		name, id := rapid.SampledFrom(names).Draw(t, "account"), rapid.IntRange(100, 104).Draw(t, "id")
		if rapid.IntRange(0, 2).Draw(t, "go") == 0 {
			delete(out, name)
			continue
		}
		for other, has := range out {
			if has == id {
				delete(out, other)
				if old, ok := out[name]; ok {
					out[other] = old // they swap
				}
			}
		}
		out[name] = id
	}
	return out
}

func (a accountsByName) list() []string {
	var out []string
	for _, name := range slices.Sorted(maps.Keys(a)) {
		out = append(out, fmt.Sprintf("%s:%d", name, a[name]))
	}
	return out
}

// drawnOwned gives files at a few paths to random ids.
func drawnOwned(t *rapid.T, root string) {
	for i := range rapid.IntRange(0, 5).Draw(t, "owned files") {
		name := rapid.SampledFrom([]string{"srv/d/x", "srv/d/y", "srv/e/x", "srv/z", "srv/d", "srv/e"}).Draw(t, "owned")
		full := filepath.Join(root, name)
		uid, gid := rapid.IntRange(99, 105).Draw(t, "uid"), rapid.IntRange(99, 105).Draw(t, "gid")
		if name == "srv/d" || name == "srv/e" {
			must(t, os.MkdirAll(full, 0o755))
		} else {
			must(t, os.MkdirAll(filepath.Dir(full), 0o755))
			must(t, os.WriteFile(full, []byte(rapid.SampledFrom([]string{"1", "2", fmt.Sprint("own", i)}).Draw(t, "content")), 0o600))
		}
		must(t, os.Lchown(full, uid, gid))
	}
}

// owned is who owns the files below a root, by number and by name.
type owned struct {
	files map[string][2]uint32
	names [2]map[uint32]string
}

func ownedIn(t tb, root string) owned {
	t.Helper()
	out := owned{files: map[string][2]uint32{}, names: [2]map[uint32]string{{}, {}}}
	must(t, filepath.WalkDir(root, func(full string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		var st unix.Stat_t
		name, _ := filepath.Rel(root, full)
		must(t, unix.Lstat(full, &st))
		out.files[name] = [2]uint32{st.Uid, st.Gid}
		return nil
	}))
	ids := []uint32{0, 99, 100, 101, 102, 103, 104, 105}
	for _, one := range out.files {
		ids = append(ids, one[:]...)
	}
	slices.Sort(ids)
	for _, id := range slices.Compact(ids) {
		for i, file := range []string{"etc/passwd", "etc/group"} {
			if name := nameOf(t, root, file, id); name != "" {
				out.names[i][id] = name
			}
		}
	}
	return out
}

// has reports whether there is such a name.
func (o owned) has(kind int, name string) bool {
	return slices.Contains(slices.Collect(maps.Values(o.names[kind])), name)
}

// TestOwnersKeepTheirNames checks, with accounts that come, go and change their ids on all sides, that files of the user's keep
// the names that their owners had for the user, files of the base those that they have in the base, and ids without a name
// stay as they are; else the storage is held.
func TestOwnersKeepTheirNames(t *testing.T) {
	needRoot(t)
	checked, moved := 0, 0
	rapid.Check(t, func(rt *rapid.T) {
		s := &scenario{t: rt, old: tempDir(rt), base: tempDir(rt)}
		names := []string{"a", "b", "c", "d"}
		inOld := drawnAccounts(rt, accountsByName{"a": 100, "b": 101}, names)
		inNew := drawnAccounts(rt, inOld, names)
		accountsOnly(nil, inOld.list()...).build(rt, s.old)
		drawnOwned(rt, s.old)
		run(rt, "cp", "-a", s.old+"/.", s.base)
		accountsOnly(nil, inNew.list()...).build(rt, s.base)
		drawnOwned(rt, s.base)
		s.work(s.old, func(root string) {
			if rapid.Bool().Draw(rt, "user's accounts") {
				setAccounts(sh{rt, root}, drawnAccounts(rt, inOld, append(names, "mine")).list()...)
			}
			drawnOwned(rt, root)
		})
		p := s.plan(Options{})
		if len(p.Held()) > 0 {
			return
		}
		checked++
		moved += len(p.Report().IDs)
		var o, n, u, r owned
		stack := s.nodes
		s.mounted("", []string{s.old}, func(root string) { o = ownedIn(rt, root) })
		s.mounted("", []string{s.base}, func(root string) { n = ownedIn(rt, root) })
		s.mounted("", slices.Concat(stack, []string{s.old}), func(root string) { u = ownedIn(rt, root) })
		s.mounted("", slices.Concat(s.delta(p), stack, []string{s.base}), func(root string) { r = ownedIn(rt, root) })
		for _, name := range slices.Sorted(maps.Keys(r.files)) {
			_, stat := os.Lstat(filepath.Join(s.nodes[0], name))
			for kind := range 2 {
				if why := wrongOwner(kind, name, stat == nil, o, n, u, r); why != "" {
					rt.Fatalf("%s (%d): %s\nold %v\nnew %v\nuser %v\nresult %v\n%s", name, kind, why, o, n, u, r, encoded(rt, p.Report()))
				}
			}
		}
	})
	if checked == 0 || moved == 0 {
		t.Errorf("checked %d, in which %d ids moved", checked, moved)
	}
}

// wrongOwner returns what is wrong with the owner (0) or the group (1) of a file of the result; stored is for a file that the
// storage has.
func wrongOwner(kind int, name string, stored bool, o, n, u, r owned) string {
	inOld, wasOld := o.files[name]
	inNew, isNew := n.files[name]
	inUser := u.files[name]
	is := r.files[name][kind]
	ofUser := u.names[kind][inUser[kind]] == r.names[kind][is] && (u.names[kind][inUser[kind]] != "" || is == inUser[kind])
	if u.names[kind][inUser[kind]] == "" && is == inUser[kind] {
		ofUser = true // it may have a name now
	}
	base := n.names[kind][inNew[kind]]
	ofBase := base != "" && base == r.names[kind][is] || base == "" && is == inNew[kind]
	if base != "" && is == inNew[kind] && o.has(kind, base) && !u.has(kind, base) {
		ofBase = true // the user removed the account
	}
	asSeen := wasOld && inOld[kind] == inNew[kind] && o.names[kind][inOld[kind]] == base && is == inUser[kind]
	switch {
	case stored && !isNew, stored && (!wasOld || inOld[kind] != inUser[kind]):
		if !ofUser {
			return "the user's is no longer the user's"
		}
	case stored:
		if !ofUser && !ofBase {
			return "it is neither the user's nor the base's"
		}
	case !ofBase && !asSeen:
		return "the base's is not the base's"
	}
	return ""
}

// TestNamesOfAccounts checks what the property relies on.
func TestNamesOfAccounts(t *testing.T) {
	root := tempDir(t)
	accountsOnly(nil, "a:100", "b:101").build(t, root)
	got := ownedIn(t, root)
	if want := "map[0:root 100:a 101:b]"; fmt.Sprint(got.names[0]) != want || !strings.Contains(fmt.Sprint(got.names[1]), "101:b") {
		t.Errorf("names %v, want %s", got.names, want)
	}
}
