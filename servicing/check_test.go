// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package servicing

import (
	"maps"
	"path"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/molt-snapshotter/molt-snapshotter/servicing/driver"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/elfdeps"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/elfdeps/elftest"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/plan"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/sides"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/tree"
)

// program is an executable that needs libraries; library one that defines versions.
func program(needed ...string) string {
	return "0755 " + string(elftest.Build(elfdeps.File{Loader: "/lib64/ld.so", Needed: needed}))
}

func versioned(library string, versions ...string) string {
	return "0755 " + string(elftest.Build(elfdeps.File{Loader: "/lib64/ld.so", Needed: []string{library}, Requires: map[string][]string{library: versions}}))
}

func library(soname string, defines ...string) string {
	return string(elftest.Build(elfdeps.File{Soname: soname, Defines: defines}))
}

func with(f elfdeps.File) string { return "0755 " + string(elftest.Build(f)) }

// checkBase is a base on which programs find a loader.
func checkBase(more files) files {
	out := files{"lib64/ld.so": library("ld.so"), "usr/lib/x86_64-linux-gnu/libc.so.6": library("libc.so.6", "C_1"), "usr/bin/sh": "0755 \x00", "bin": "-> usr/bin"}
	maps.Copy(out, more)
	for name, what := range out {
		if what == "" {
			delete(out, name)
		}
	}
	return out
}

// checkCases are storages with something that the update may break. A finding is written as the check and the path.
var checkCases = []struct {
	name     string
	old, new files
	user     func(u sh)
	policy   Policy
	findings []string
	held     bool
}{
	{
		name: "D14 a library is gone", old: files{"usr/lib/libx.so.1": library("libx.so.1")}, new: files{"usr/lib/libx.so.2": library("libx.so.2")},
		user: func(u sh) {
			u.put("opt/x", program("libx.so.1", "libc.so.6"))
			u.put("opt/never", program("libnever.so", "libc.so.6"))
			u.put("opt/fine", program("libc.so.6"))
			u.put("opt/text", "0755 text")
			u.put("opt/broken", "0755 \x7fELF\x02\x01")
			u.put("opt/data", program("libx.so.1")[len("0755 "):])
		},
		findings: []string{"own-program opt/x"},
	},
	{
		name: "D14 by policy it holds", old: files{"usr/lib/libx.so.1": library("libx.so.1")}, new: files{"etc/x": "1"},
		user: func(u sh) { u.put("opt/x", program("libx.so.1")) }, policy: Policy{ConcernOwnProgram: ActionHold}, findings: []string{"own-program opt/x"}, held: true,
	},
	{
		name: "D14 by policy it is ignored", old: files{"usr/lib/libx.so.1": library("libx.so.1")}, new: files{"etc/x": "1"},
		user: func(u sh) { u.put("opt/x", program("libx.so.1")) }, policy: Policy{ConcernOwnProgram: ActionIgnore, ConcernPackagedProgram: ActionIgnore, ConcernReplacedLibrary: ActionIgnore},
	},
	{
		name: "D14 a symbol version is gone", old: files{"usr/lib/libx.so.1": library("libx.so.1", "X_1", "X_2")}, new: files{"usr/lib/libx.so.1": library("libx.so.1", "X_2")},
		user: func(u sh) {
			u.put("opt/one", versioned("libx.so.1", "X_1"))
			u.put("opt/two", versioned("libx.so.1", "X_2"))
			u.put("opt/three", versioned("libx.so.1", "X_3"))
		},
		findings: []string{"own-program opt/one"},
	},
	{
		name: "D14 without versions any library will do", old: files{"usr/lib/libx.so.1": library("libx.so.1", "X_1")}, new: files{"usr/lib/libx.so.1": library("libx.so.1")},
		user: func(u sh) { u.put("opt/one", versioned("libx.so.1", "X_1")) },
	},
	{
		name: "D14 the library is for another machine", old: files{"usr/lib/libx.so.1": library("libx.so.1")},
		new:  files{"usr/lib/libx.so.1": string(elftest.Build(elfdeps.File{Kind: elfdeps.Kind{Class: 1, Data: 1, Machine: 3}, Soname: "libx.so.1"}))},
		user: func(u sh) { u.put("opt/x", program("libx.so.1")) }, findings: []string{"own-program opt/x"},
	},
	{
		name: "D14 where libraries are looked for", old: files{"srv/a": "1"}, new: files{"srv/a": "2"},
		user: func(u sh) {
			u.touch("srv/a")
			u.put("opt/lib/libo.so", library("libo.so"))
			u.put("opt/bin/origin", with(elfdeps.File{RunPath: []string{"$ORIGIN/../lib"}, Needed: []string{"libo.so"}}))
			u.put("opt/bin/rpath", with(elfdeps.File{RPath: []string{"/nowhere:/opt/lib"}, Needed: []string{"libo.so"}}))
			u.put("opt/bin/absolute", with(elfdeps.File{Needed: []string{"/opt/lib/libo.so"}}))
			u.put("usr/local/lib/libl.so", library("libl.so"))
			u.put("etc/ld.so.conf", "include /etc/ld.so.conf.d/*.conf\n")
			u.put("etc/ld.so.conf.d/local.conf", "# local\n/usr/local/lib\n")
			u.put("opt/bin/local", program("libl.so"))
		},
	},
	{
		name: "D14 the directory is not looked in any more", old: files{"etc/ld.so.conf": "/opt/lib\n", "opt/lib/libo.so": library("libo.so")}, new: files{"etc/ld.so.conf": "/opt/other\n", "opt/lib/libo.so": library("libo.so")},
		user: func(u sh) { u.put("opt/bin/x", program("libo.so")) }, findings: []string{"own-program opt/bin/x"},
	},
	{
		name: "D14 the loader is gone", old: nil, new: files{"lib64/ld.so": ""}, user: func(u sh) { u.put("opt/x", program("libc.so.6")) }, findings: []string{"own-program opt/x"},
	},
	{
		name: "D14 what the user brought is there", old: files{"usr/lib/libx.so.1": library("libx.so.1")}, new: files{"etc/x": "1"},
		user: func(u sh) {
			u.put("opt/x", program("libx.so.1"))
			u.put("usr/lib/libx.so.1", library("libx.so.1", "MINE"))
		},
	},
	{
		name: "a library of the user's lacks what the new base's has", old: files{"usr/lib/libx.so.1": library("libx.so.1", "X_1")}, new: files{"usr/lib/libx.so.1": library("libx.so.1", "X_1", "X_2")},
		user: func(u sh) { u.put("usr/lib/libx.so.1", library("libx.so.1", "X_1", "MINE")) }, findings: []string{"replaced-library usr/lib/libx.so.1"},
	},
	{
		name: "scripts", old: files{"usr/bin/perl5": "0755 \x00", "usr/bin/ruby": "0755 \x00"}, new: files{"etc/x": "1"},
		user: func(u sh) {
			u.put("opt/perl", "0755 #!/usr/bin/perl5 -w\n")
			u.put("opt/ruby", "0755 #! /usr/bin/env -S ruby\n")
			u.put("opt/sh", "0755 #!/bin/sh\n")
			u.put("opt/never", "0755 #!/usr/bin/never\n")
			u.put("opt/text", "0644 #!/usr/bin/perl5\n")
			u.put("opt/empty", "0755 #!")
		},
		findings: []string{"script opt/perl", "script opt/ruby"},
	},
	{
		name: "modules of Python", old: files{"usr/bin/python3.11": "0755 \x00", "usr/bin/python3": "-> python3.11", "usr/lib/python3.11/os.py": "1"},
		new: files{"usr/bin/python3.12": "0755 \x00", "usr/bin/python3": "-> python3.12", "usr/lib/python3.12/os.py": "1"},
		user: func(u sh) {
			u.put("usr/local/lib/python3.11/dist-packages/mine/__init__.py", "1")
			u.put("usr/lib/python3.11/__pycache__/os.cpython-311.pyc", "1")
			u.put("srv/venv/bin/python3.11", "-> python3")
			u.put("srv/venv/bin/python3", "-> /usr/bin/python3")
			u.put("srv/venv/lib/python3.11/site-packages/a.py", "1")
			u.put("srv/other/lib/python3.9/site-packages/a.py", "1")
			u.put("usr/local/lib/python3.12/dist-packages/b.py", "1")
		},
		findings: []string{"modules srv/venv/lib/python3.11", "modules usr/local/lib/python3.11"},
	},
	{
		name: "modules of Ruby, Perl and Node",
		old: files{
			"usr/bin/ruby3.1": "0755 \x00", "usr/bin/perl5.36.0": "0755 \x00", "usr/local/include/node/node_version.h": "#define X 1\n#define NODE_MODULE_VERSION 108\n",
		},
		new: files{
			"usr/bin/ruby3.3": "0755 \x00", "usr/bin/perl5.38.2": "0755 \x00", "usr/local/include/node/node_version.h": "#define X 1\n#define NODE_MODULE_VERSION 115\n",
		},
		user: func(u sh) {
			u.put("var/lib/gems/3.1.0/gems/rack-3.0/lib/rack.rb", "1")
			u.put("var/lib/gems/3.3.0/gems/rack-3.0/lib/rack.rb", "1")
			u.put("usr/local/share/perl/5.36.0/Mine.pm", "1")
			u.put("usr/local/lib/x86_64-linux-gnu/perl/5.36.0/auto/Mine/Mine.so", "1")
			u.put("opt/app/node_modules/native/build/Release/native.node", "1")
			u.put("opt/app/node_modules/native/index.js", "1")
		},
		findings: []string{
			"modules opt/app/node_modules/native", "modules usr/local/lib/x86_64-linux-gnu/perl/5.36.0", "modules usr/local/share/perl/5.36.0",
			"modules var/lib/gems/3.1.0",
		},
	},
	{
		name: "servers",
		old: files{
			"usr/libexec/postgresql15/postgres": "0755 \x00", "usr/local/bin/postgres": "0755 \x00", "usr/local/share/postgresql/postgres.bki": "# PostgreSQL 14\nx\n",
			"usr/sbin/mariadbd": "0755 \x00", "usr/bin/redis-server": "0755 \x00",
		},
		new: files{
			"usr/libexec/postgresql16/postgres": "0755 \x00", "usr/local/bin/postgres": "0755 \x00", "usr/local/share/postgresql/postgres.bki": "# PostgreSQL 16\nx\n",
			"usr/bin/redis-server": "0755 \x00",
		},
		user: func(u sh) {
			u.put("srv/a/PG_VERSION", "15\n")
			u.put("srv/a/base/1/PG_VERSION", "15\n")
			u.put("srv/b/PG_VERSION", "14\n")
			u.put("srv/c/PG_VERSION", "13\n") // never had a server
			u.put("srv/d/PG_VERSION", "16\n")
			u.put("var/lib/mysql/ibdata1", "1")
			u.put("var/lib/redis/dump.rdb", "1")
		},
		findings: []string{"server-data srv/a", "server-data srv/b", "server-data var/lib/mysql"},
	},
	{
		name: "links", old: files{"usr/share/a": "1"}, new: files{"usr/share/b": "1"},
		user: func(u sh) {
			u.put("etc/a", "-> ../usr/share/a")
			u.put("etc/b", "-> a")
			u.put("etc/never", "-> nowhere")
		},
		findings: []string{"link etc/a", "link etc/b"},
	},
	{
		name: "accounts", old: files{"etc/passwd": "root:x:0:0::/:/bin/sh\nwww:x:33:33::/:/bin/sh\n", "etc/group": "root:x:0:\nwww:x:33:\n"}, new: files{"etc/passwd": "root:x:0:0::/:/bin/sh\n", "etc/group": "root:x:0:\nwww:x:33:\n"},
		user: func(u sh) {
			u.put("srv/a", "1")
			u.chown("srv/a", 33, 33)
			u.put("srv/b", "1")
			u.chown("srv/b", 4242, 0)
		},
		findings: []string{"account etc/passwd"},
	},
	{
		name: "excluded and deleted", old: files{"usr/lib/libx.so.1": library("libx.so.1"), "opt/gone": program("libx.so.1")}, new: files{"opt/gone": program("libx.so.1")},
		user: func(u sh) { u.put("mnt/x", program("libx.so.1")); u.rm("opt/gone") },
	},
}

// wantFindings compares the findings of a report.
func wantFindings(t tb, r *Report, want ...string) {
	t.Helper()
	got := []string{}
	for _, f := range r.Findings {
		got = append(got, string(f.Check)+" "+f.Path)
	}
	if !slices.Equal(got, want) {
		t.Errorf("found %q, want %q\n%v", got, want, r.Findings)
	}
}

func TestChecks(t *testing.T) {
	for _, c := range checkCases {
		t.Run(c.name, func(t *testing.T) {
			s := newScenario(t, checkBase(c.old), checkBase(c.new), func(root string) { c.user(sh{t, root}) })
			s.options = Options{Policy: c.policy, Exclude: []string{"mnt"}}
			p := s.plan(s.options)
			wantFindings(t, p.Report(), c.findings...)
			if held := len(p.Held()) > 0; held != c.held {
				t.Errorf("held: %v", p.Held())
			}
			s.delta(s.plan(Options{Policy: c.policy, Exclude: s.options.Exclude, Force: true}))
			unchangedBase(t, s)
		})
	}
}

// TestK13 has the base bring the next major version of PostgreSQL, and data of the one before: the data stay whole, which is told,
// or holds by policy.
func TestK13(t *testing.T) {
	postgres := func(major string) deb {
		return deb{name: "postgresql-" + major, version: major + ".1", files: files{"usr/lib/postgresql/" + major + "/bin/postgres": "0755 \x00" + major}}
	}
	const data = "var/lib/postgresql/15/main/"
	s := &scenario{t: t, old: debianRoot(t, postgres("15")), base: debianRoot(t, postgres("16"))}
	for name, what := range (files{data + "PG_VERSION": "15\n", data + "global/pg_control": "\x00seed", data + "base/1/PG_VERSION": "15\n"}) {
		sh{t, s.old}.put(name, what)
	}
	s.work(s.old, func(root string) {
		sh{t, root}.put(data+"base/5/1000", "\x00rows")
		sh{t, root}.put(data+"global/pg_control", "\x00mine")
	})
	report := s.serviced(func(root string) {
		files{
			data + "PG_VERSION": "15\n", data + "base/1/PG_VERSION": "15\n", data + "base/5/1000": "\x00rows", data + "global/pg_control": "\x00mine",
			"usr/lib/postgresql/16/bin/postgres": "0755 \x0016",
		}.check(t, root)
	})
	wantFindings(t, report, "server-data var/lib/postgresql/15/main")
	held := s.plan(Options{Policy: Policy{ConcernServerData: ActionHold}}).Held()
	if len(held) != 1 || held[0].Code != "check" || !strings.Contains(held[0].Message, "PostgreSQL 15, whose server is not there any more") {
		t.Errorf("held: %v", held)
	}
}

// TestServerOfAnEarlierRelease has data that a later release wrote than the base's server is of.
func TestServerOfAnEarlierRelease(t *testing.T) {
	mariadb := func(version string) deb {
		return deb{name: "mariadb-server", version: version, files: files{"usr/sbin/mariadbd": "0755 \x00" + version}}
	}
	s := &scenario{t: t, old: debianRoot(t, mariadb("1:11.4.2")), base: debianRoot(t, mariadb("1:10.11.6"))}
	s.work(s.old, func(root string) {
		files{"var/lib/mysql/ibdata1": "1", "var/lib/mysql/mariadb_upgrade_info": "11.4.2-MariaDB\n"}.build(t, root)
	})
	wantFindings(t, s.plan(Options{}).Report(), "server-data var/lib/mysql")
}

// TestD14PackagedPrograms checks that what belongs to a package holds the storage.
func TestD14PackagedPrograms(t *testing.T) {
	libx := func(version string) deb {
		return deb{name: "libx", version: version, files: files{"usr/lib/libx.so." + version: library("libx.so." + version), "opt/mine/x": "1"}}
	}
	for _, c := range []struct {
		name    string
		new     deb
		mine    deb
		finding string
	}{
		{"a dependency that the package does not tell of", libx("2"), deb{name: "mine", version: "1", files: files{"usr/bin/mine": program("libx.so.1")}}, "packaged-program usr/bin/mine"},
		{"a file where a package has a directory", deb{name: "libx", version: "2", files: files{"opt/mine": "file"}}, deb{name: "mine", version: "1", files: files{"opt/mine/a": "1", "opt/mine/b": "1"}}, "package-files opt/mine/a"},
		{"nothing", libx("2"), deb{name: "mine", version: "1", files: files{"usr/bin/mine": program()}}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			loader := deb{name: "loader", version: "1", files: files{"lib64/ld.so": library("ld.so")}}
			s := &scenario{t: t, old: debianRoot(t, libx("1"), loader), base: debianRoot(t, c.new, loader)}
			s.work(s.old, func(root string) { sh{t, root}.install(c.mine) })
			p := s.plan(Options{})
			if c.finding == "" {
				wantFindings(t, p.Report())
				return
			}
			wantFindings(t, p.Report(), c.finding)
			if held := p.Held(); len(held) != 1 || held[0].Code != "check" || held[0].Package != "mine" {
				t.Errorf("held: %v", held)
			}
			warned := s.plan(Options{Policy: Policy{ConcernPackagedProgram: ActionWarn, ConcernPackageFiles: ActionWarn}})
			if held := warned.Held(); len(held) > 0 {
				t.Errorf("held, but it should warn: %v", held)
			}
		})
	}
}

// TestScene compares what a plan would show with what a mount of its result shows.
func TestScene(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		s := drawnScenario(rt, true)
		v, err := sides.Open(s.input(Options{}).Stacks())
		must(rt, err)
		defer func() { must(rt, v.Close()) }()
		_, effects, err := plan.Make(t.Context(), v, Input{}, make(sides.Passed), driver.Tools())
		must(rt, err)
		after, got := sides.NewScene(v.Plain, effects), files{}
		var walk func(dir string)
		walk = func(dir string) {
			names, err := after.Names(dir)
			must(rt, err)
			for _, name := range names {
				full := path.Join(dir, name)
				o, err := after.At(full)
				must(rt, err)
				got[full] = shownAs(rt, after, full, o)
				if o.Dir() {
					walk(full)
				}
			}
		}
		walk(".")
		plan := s.plan(Options{})
		want := s.shown(slices.Concat(s.delta(plan), s.nodes, []string{s.base})...)
		if !equal(got, want) {
			rt.Fatalf("the scene shows %v, a mount %v\n%s", got, want, encoded(rt, plan.Report()))
		}
	})
}

func shownAs(t tb, s *sides.Scene, name string, o sides.Outcome) string {
	switch {
	case o.Dir():
		return "dir"
	case o.Is(tree.Symlink):
		return "-> " + o.Link
	}
	content, err := s.Read(name, 1<<20)
	must(t, err)
	return string(content)
}
