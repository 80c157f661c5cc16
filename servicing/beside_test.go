// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package servicing

import (
	"debug/elf"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/molt-snapshotter/molt-snapshotter/servicing/elfdeps"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/elfdeps/elftest"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/sides"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/tree"
)

// TestK9 has both sides replace a library: the loader's links lead to the user's, whatever is beside.
func TestK9(t *testing.T) {
	library := func(needs string) string {
		return string(elftest.Build(elfdeps.File{Type: elf.ET_DYN, Soname: "libv.so.1", Needed: []string{needs}}))
	}
	const name = "usr/local/lib/libv.so.1.2.3"
	s := newScenario(t, files{name: library("old"), "var/lib": "dir"}, files{name: library("new"), "var/lib": "dir"}, func(root string) {
		sh{t, root}.put(name, library("mine"))
	})
	s.serviced(func(root string) {
		files{name: library("mine"), newTree + name: library("new")}.check(t, root)
		if ldconfig, err := exec.LookPath("ldconfig"); err == nil {
			run(t, ldconfig, "-r", root, "-C", "/cache", "/usr/local/lib")
			files{"usr/local/lib/libv.so.1": "-> libv.so.1.2.3"}.check(t, root)
		}
		entries, err := os.ReadDir(filepath.Join(root, "usr/local/lib"))
		must(t, err)
		for _, e := range entries {
			if e.Name() != "libv.so.1" && e.Name() != "libv.so.1.2.3" {
				t.Errorf("%s is live", e.Name())
			}
		}
	})
}

// TestBesideGivesNothing: what is put beside can be read by root alone and has no privilege; owner and mode stay.
func TestBesideGivesNothing(t *testing.T) {
	s := newScenario(t, files{"usr/bin/a": "4755 old", "usr/bin/b": "4755 old", "var/lib/molt": "dir 0755"}, files{"usr/bin/a": "6755 new", "usr/bin/b/c": "1", "var/lib/molt": "dir 0755"},
		func(root string) {
			u := sh{t, root}
			u.rm("usr/bin/a")
			u.put("usr/bin/a", "0755 mine")
			u.put("usr/bin/b", "4750 mine")
			u.chown("usr/bin/b", 5, 6)
			u.chmod("usr/bin/b", 0o6750)
			u.put("var/lib/molt/mine", "1")
			u.chmod("var/lib/molt", 0o777)
		})
	s.serviced(func(root string) {
		files{
			"usr/bin/a": "0755 mine", newTree + "usr/bin/a": "0755 new", oldTree + "usr/bin/b": "0750 mine", "var/lib/molt/mine": "1",
			"var/lib/molt": "dir 0700", "var/lib/molt/beside": "dir 0700", newTree + "usr/bin": "dir 0700", oldTree + "usr": "dir 0700",
		}.check(t, root)
		var st unix.Stat_t
		must(t, unix.Lstat(filepath.Join(root, oldTree, "usr/bin/b"), &st))
		if st.Uid != 5 || st.Gid != 6 {
			t.Errorf("what is set aside belongs to %d:%d", st.Uid, st.Gid)
		}
	})
}

// TestBesideElsewhere: what a user has where versions are put is neither followed nor lost, and nothing is put into a live
// directory as long as another place is free.
func TestBesideElsewhere(t *testing.T) {
	const spare = ".molt/beside/new/"
	for name, c := range map[string]struct {
		old  files // of both bases
		path string
		user func(u sh)
		want files
	}{
		"a link at /var/lib/molt": {
			user: func(u sh) { u.put("var/lib/molt", "-> /etc") }, want: files{"var/lib/molt": "-> /etc", "etc/beside": "", spare + "etc/a": baseText, ".molt": "dir 0700"},
		},
		"a file at /var/lib/molt": {user: func(u sh) { u.put("var/lib/molt", "mine") }, want: files{"var/lib/molt": "mine", spare + "etc/a": baseText}},
		"a link at /var/lib":      {user: func(u sh) { u.put("var/lib", "-> /etc") }, want: files{"var/lib": "-> /etc", "etc/molt": "", spare + "etc/a": baseText}},
		"a link at /var in the base": {
			old: files{"var": "-> data", "data/lib": "dir"}, user: func(sh) {}, want: files{"var": "-> data", "data/lib/molt": "", spare + "etc/a": baseText},
		},
		"links in both places": {
			user: func(u sh) { u.put("var", "-> /etc"); u.put(".molt", "-> /etc") },
			want: files{"var": "-> /etc", ".molt": "-> /etc", "etc/lib": "", "etc/beside": "", "etc/a.molt-new": baseText},
		},
		"a link in the tree": {
			user: func(u sh) { u.put("var/lib/molt/beside/new/etc", "-> /etc") },
			want: files{"etc/a.molt-new": "", sides.BesideHashed(sides.BesideTree, "new", "etc/a"): baseText},
		},
		"a directory in the way": {
			user: func(u sh) { u.put("var/lib/molt/beside/new/etc/a/b", "1") },
			want: files{sides.BesideHashed(sides.BesideTree, "new", "etc/a"): baseText},
		},
		"a long name": {path: "etc/" + strings.Repeat("é", 127) + "a", user: func(sh) {}, want: files{newTree + "etc/" + strings.Repeat("é", 127) + "a": baseText}},
	} {
		t.Run(name, func(t *testing.T) {
			old, base := maps.Clone(c.old), maps.Clone(c.old)
			if old == nil {
				old, base = files{}, files{}
			}
			if c.path == "" {
				c.path = "etc/a"
			}
			old[c.path], base[c.path] = oldText, baseText
			s := newScenario(t, old, base, func(root string) {
				u := sh{t, root}
				u.put(c.path, clashText)
				c.user(u)
			})
			s.serviced(func(root string) {
				files{c.path: clashText}.check(t, root)
				c.want.check(t, root)
			})
		})
	}
}

// TestBesideDevices: a device of the user's whose directory is gone is not set aside, and the report says so.
func TestBesideDevices(t *testing.T) {
	s := newScenario(t, files{"opt/d/a": "1", "etc/n": "1"}, files{"opt/d": "file", "etc/n/x": "2"}, func(root string) {
		sh{t, root}.put("opt/d/mine", "1")
		sh{t, root}.rm("etc/n")
		for _, name := range []string{"opt/d/null", "etc/n"} {
			must(t, unix.Mknod(filepath.Join(root, name), unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))))
		}
		must(t, unix.Mknod(filepath.Join(root, "opt/d/s"), unix.S_IFSOCK|0o666, 0))
	})
	report := s.serviced(func(root string) {
		files{"opt/d": "file", "etc/n/x": "2", oldTree + "opt/d/mine": "1", oldTree + "opt/d/null": "", oldTree + "opt/d/s": "", oldTree + "etc/n": ""}.check(t, root)
	})
	if n := strings.Count(encoded(t, report), "is not set aside: a rollback brings it back"); n != 3 {
		t.Errorf("the report says %d times that something is not set aside:\n%s", n, encoded(t, report))
	}
}

// beside returns all that is in the place of versions that are not in force, without directories.
func beside(t tb, root string) []string {
	t.Helper()
	var out []string
	for name, what := range snapshot(t, root) {
		if sides.InBeside(name) && what != "dir" {
			out = append(out, fmt.Sprintf("%s=%s", strings.TrimPrefix(name, sides.BesideTree+"/"), what))
		}
	}
	slices.Sort(out)
	return out
}

// TestBesideEnds updates again and again, rolls back and carries over: of one path there is one version, or none.
func TestBesideEnds(t *testing.T) {
	needRoot(t)
	bases := make([]string, 4)
	for i := range bases {
		bases[i] = tempDir(t)
		files{"etc/a": fmt.Sprintf("base %d\n", i), "etc/x/y": fmt.Sprint(i), "var/lib": "dir"}.build(t, bases[i])
	}
	s := &scenario{t: t, old: bases[0]}
	s.work(s.old, func(root string) { sh{t, root}.put("etc/a", "mine\n"); sh{t, root}.put("etc/x/y", "mine") })
	in := func(old, base int, nodes tree.Stack) Input {
		return Input{Old: tree.Stack{bases[old]}, New: tree.Stack{bases[base]}, User: nodes}
	}
	expect := func(what string, stack tree.Stack, want ...string) {
		t.Helper()
		s.mounted("", stack, func(root string) {
			checkReadable(t, root)
			if got := beside(t, root); !slices.Equal(got, want) {
				t.Errorf("%s: there is %q, want %q", what, got, want)
			}
			if len(want) == 0 {
				files{"var/lib/molt": ""}.check(t, root)
			}
		})
	}
	_, _, first := s.result(in(0, 1, s.nodes))
	expect("updated", slices.Concat(first, tree.Stack{bases[1]}), "new/etc/a=base 1\n", "new/etc/x/y=1")
	_, _, second := s.result(in(1, 2, first))
	expect("updated twice", slices.Concat(second, tree.Stack{bases[2]}), "new/etc/a=base 2\n", "new/etc/x/y=2")

	written := &scenario{t: t, nodes: second}
	written.work(bases[2], func(root string) {
		u := sh{t, root}
		u.put("etc/a", "base 2\n")
		u.rm(newTree + "etc/x/y")
		u.put("etc/b", "mine")
		u.chmod("var/lib/molt", 0o777)
		u.chmod(newTree, 0o777)
	})
	since := written.nodes[:1]
	_, _, third := s.result(in(2, 3, written.nodes))
	expect("taken", slices.Concat(third, tree.Stack{bases[3]}), "new/etc/x/y=3")
	s.mounted("", slices.Concat(third, tree.Stack{bases[3]}), func(root string) {
		files{"var/lib/molt": "dir 0700", newTree: "dir 0700"}.check(t, root)
	})
	_, _, carried := s.result(Input{
		Old: slices.Concat(second, tree.Stack{bases[2]}), New: slices.Concat(s.nodes, tree.Stack{bases[0]}), User: since,
	})
	expect("carried over", slices.Concat(carried, s.nodes, tree.Stack{bases[0]}))
	_, _, again := s.result(in(0, 1, slices.Concat(carried, s.nodes)))
	expect("updated again", slices.Concat(again, tree.Stack{bases[1]}), "new/etc/a=base 1\n", "new/etc/x/y=1")
}

// TestBesideEarlier brings what an earlier version of molt put into the directories of the paths.
func TestBesideEarlier(t *testing.T) {
	s := newScenario(t, files{"etc/a": oldText, "etc/b": "2", "etc/c": "2", "etc/d": "1", "etc/x.molt-new": "1"}, files{"etc/a": baseText, "etc/b": "2", "etc/c": "3", "etc/d": "2", "etc/x.molt-new": "2"},
		func(root string) {
			files{
				"etc/a": clashText, "etc/a.molt-new": oldText, // a newer one comes
				"etc/b": "mine", "etc/b.molt-new": "2", // still not in force
				"etc/c.molt-new": "2", "etc/c": "2", // over
				"etc/d.molt-old": "set aside", "etc/d.molt-old.1": "another", "etc/e.molt-new": "of nothing", "etc/x.molt-new": "mine",
			}.build(t, root)
		})
	s.serviced(func(root string) {
		files{
			"etc/a": clashText, "etc/a.molt-new": "", newTree + "etc/a": baseText, "etc/b": "mine", "etc/b.molt-new": "", newTree + "etc/b": "2",
			"etc/c": "3", "etc/c.molt-new": "", newTree + "etc/c": "", "etc/d": "2", "etc/d.molt-old": "", oldTree + "etc/d": "set aside",
			"etc/d.molt-old.1": "", oldTree + "etc/d.molt-old.1": "another",
			"etc/e.molt-new": "of nothing", "etc/x.molt-new": "mine", newTree + "etc/x.molt-new": "2",
		}.check(t, root)
	})
}

// TestBesideIsListed: what is beside is listed with the path that it is a version of, can be read, and is explained; nothing else
// can be read that way.
func TestBesideIsListed(t *testing.T) {
	s := newScenario(t, files{"etc/a": oldText, "opt/d/x": "1"}, files{"etc/a": baseText, "opt/d": "file"}, func(root string) {
		u := sh{t, root}
		u.put("etc/a", clashText)
		u.put("opt/d/mine", "-> /etc/shadow")
		u.put("var/lib/molt/beside/new/odd", "fifo")
	})
	in := s.input(Options{})
	in.User = slices.Concat(s.delta(s.plan(Options{})), s.nodes)
	list := func(under string) (out []string) {
		must(t, ListBeside(t.Context(), in, under, func(v BesideVersion) error {
			out = append(out, fmt.Sprintf("%s %s %s %s", v.Kind, v.Path, v.What, v.At))
			return nil
		}))
		return out
	}
	etc, opt := "new etc/a regular file "+newTree+"etc/a", "old opt/d/mine symbolic link "+oldTree+"opt/d/mine"
	for under, want := range map[string][]string{".": {etc, opt}, "etc": {etc}, "etc/a": {etc}, "opt/d": {opt}, "etc/b": nil, "var": nil} {
		if got := list(under); !slices.Equal(got, want) {
			t.Errorf("below %s: %q, want %q", under, got, want)
		}
	}
	var content strings.Builder
	must(t, ReadBeside(t.Context(), in, newTree+"etc/a", &content))
	if content.String() != baseText {
		t.Errorf("read %q", &content)
	}
	for _, other := range []string{"etc/a", oldTree + "opt/d/mine", oldTree + "opt", newTree + "odd", newTree + "etc/none"} {
		if err := ReadBeside(t.Context(), in, other, &content); !errors.Is(err, os.ErrNotExist) {
			t.Errorf("%s: %v", other, err)
		}
	}
	names := make([]string, len(in.User)+len(in.New))
	e, err := Explain(t.Context(), in, "etc/a", names)
	must(t, err)
	if len(e.Beside) != 1 || e.Beside[0].At != newTree+"etc/a" {
		t.Errorf("explained as %+v", e.Beside)
	}
}

// TestBesideStays: what is still not in force stays beside when the base does not change it.
func TestBesideStays(t *testing.T) {
	stanza := aptStanza(cdn, "trixie", "main")
	const at = "etc/apt/sources.list.d/debian.sources"
	s := newScenario(t, files{"etc/apt/sources.list": aptLines(cdn, "bookworm", "main"), "etc/a": oldText}, files{at: stanza, "etc/a": baseText}, func(root string) {
		u := sh{t, root}
		u.put("etc/apt/sources.list", aptLines(cdn, "bookworm", "main")+"deb https://x/apt stable main\n")
		u.put("etc/a", clashText)
	})
	s.nodes = slices.Concat(s.delta(s.plan(Options{})), s.nodes)
	s.old, s.base = s.base, tempDir(t)
	files{at: stanza, "etc/a": baseText, "etc/b": "1"}.build(t, s.base)
	report := s.serviced(func(root string) {
		files{newTree + at: stanza, at: "", newTree + "etc/a": baseText, "etc/a": clashText}.check(t, root)
	})
	if !strings.Contains(encoded(t, report), `"beside": "/var/lib/molt/beside/new/etc/a"`) {
		t.Error("the second report does not name what is beside")
	}
}
