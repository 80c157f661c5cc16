// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package servicing

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/molt-snapshotter/molt-snapshotter/servicing/ldcache"
	"github.com/molt-snapshotter/molt-snapshotter/servicing/tree"
)

// heldCases are storages that must be held, by the code of the reason.
var heldCases = []struct {
	name     string
	old, new files
	user     func(u sh)
	code     HoldCode // "" for not held
}{
	{
		name: "D11 rpm database changed on both sides", old: files{"var/lib/rpm/rpmdb.sqlite": "SQLite\x00 1"}, new: files{"var/lib/rpm/rpmdb.sqlite": "SQLite\x00 2"},
		user: func(u sh) { u.put("var/lib/rpm/rpmdb.sqlite", "SQLite\x00 3") }, code: "package-database",
	},
	{
		name: "D10 Alpine's database is no file any more", old: files{"lib/apk/db/installed": "P:a\nV:1\n"}, new: files{"lib/apk/db/installed": "P:a\nV:2\n"},
		user: func(u sh) { u.rm("lib/apk/db/installed"); u.put("lib/apk/db/installed", "-> /dev/null") }, code: "package-database",
	},
	{
		name: "D10 Alpine's scripts cannot be understood", old: files{"lib/apk/db/installed": "P:a\nV:1\n\n", "lib/apk/db/scripts.tar": "1"},
		new: files{"lib/apk/db/installed": "P:a\nV:2\n\n", "lib/apk/db/scripts.tar": "2"},
		user: func(u sh) {
			u.put("lib/apk/db/installed", "P:a\nV:1\n\nP:b\nV:1\n\n")
			u.put("lib/apk/db/scripts.tar", "3")
		}, code: "package-database",
	},
	{
		name: "D10 the new base has no database of Alpine's", old: files{"lib/apk/db/installed": "P:a\nV:1\n\n"}, new: files{"etc/x": "1"},
		user: func(u sh) { u.put("lib/apk/db/installed", "P:a\nV:1\n\nP:b\nV:1\n\n") }, code: "package-database",
	},
	{
		name: "H4 another distribution", old: files{"usr/lib/os-release": "NAME=x\nID=debian\n"}, new: files{"etc/os-release": "ID=\"alpine\"\n"},
		user: func(u sh) { u.put("etc/mine", "1") }, code: "other-distribution",
	},
	{
		name: "H4 another version of the distribution", old: files{"usr/lib/os-release": "ID=debian\nVERSION_ID=12\n"}, new: files{"usr/lib/os-release": "ID=debian\nVERSION_ID=13\n"},
		user: func(u sh) { u.put("etc/mine", "1") },
	},
	{
		name: "H4 another distribution, nothing in the storage", old: files{"usr/lib/os-release": "ID=debian\n"}, new: files{"usr/lib/os-release": "ID=alpine\n"},
	},
	{
		name: "H4 another architecture", old: files{dpkgStatus: stanza("dpkg", "1", "amd64")}, new: files{dpkgStatus: stanza("dpkg", "1", "arm64")},
		user: func(u sh) { u.put("etc/mine", "1") }, code: "other-architecture",
	},
	{
		name: "H4 another C library", old: files{"lib64": "-> usr/lib64", "usr/lib64/ld-linux-x86-64.so.2": "1"}, new: files{"lib/ld-musl-x86_64.so.1": "1"},
		user: func(u sh) { u.put("etc/mine", "1") }, code: "other-c-library",
	},
	{
		name: "H4 another architecture, without packages", old: files{"lib64/ld-linux-x86-64.so.2": "1"}, new: files{"lib/ld-linux-aarch64.so.1": "1"},
		user: func(u sh) { u.put("etc/mine", "1") }, code: "other-architecture",
	},
	{
		name: "H4 a further C library", old: files{"lib64/ld-linux-x86-64.so.2": "1"}, new: files{"usr/lib64/ld-linux-x86-64.so.2": "1", "lib/ld-musl-x86_64.so.1": "1"},
		user: func(u sh) { u.put("etc/mine", "1") },
	},
	{
		name: "H4 no program is started by a loader any more", old: files{"lib64/ld-linux-x86-64.so.2": "1"}, new: files{"bin/busybox": "1"},
		user: func(u sh) { u.put("etc/mine", "1") },
	},
	{
		name: "R12 package database damaged", old: files{dpkgStatus: stanza("a", "1", "all"), dpkgInfo + "/a.list": "/usr/a\n", "usr/a": "1"}, new: files{dpkgStatus: stanza("a", "2", "all"), "usr/a": "2"},
		user: func(u sh) { u.put(dpkgStatus, "") }, code: "package-database",
	},
	{
		name: "R12 package database that is none", old: files{dpkgStatus: stanza("a", "1", "all")}, new: files{dpkgStatus: stanza("a", "2", "all")},
		user: func(u sh) { u.rm(dpkgStatus); u.put(dpkgStatus, "-> /dev/null") }, code: "package-database",
	},
	{
		name: "R12 package database removed", old: files{dpkgStatus: stanza("a", "1", "all"), dpkgInfo + "/a.list": "/usr/a\n", "usr/a": "1"},
		new:  files{dpkgStatus: stanza("a", "2", "all"), dpkgInfo + "/a.list": "/usr/a\n/usr/b\n", "usr/a": "2", "usr/b": "2"},
		user: func(u sh) { u.rm("var/lib/dpkg") },
	},
}

func stanza(name, version, arch string) string {
	return "Package: " + name + "\nStatus: install ok installed\nArchitecture: " + arch + "\nVersion: " + version + "\n\n"
}

func TestHeld(t *testing.T) {
	for _, c := range heldCases {
		t.Run(c.name, func(t *testing.T) {
			s := newScenario(t, c.old, c.new, func(root string) {
				if c.user != nil {
					c.user(sh{t, root})
				}
			})
			p := s.plan(Options{})
			code := HoldCode("")
			if held := p.Held(); len(held) > 0 {
				code = held[0].Code
			}
			if code != c.code {
				t.Errorf("held: %v", p.Held())
			}
			err := p.Write(t.Context(), tempDir(t))
			if errors.Is(err, ErrHeld) != (c.code != "") {
				t.Errorf("write: %v", err)
			}
			unchangedBase(t, s)
		})
	}
}

func TestR6DatabaseRemovedByTheUser(t *testing.T) {
	c := heldCases[len(heldCases)-1]
	s := newScenario(t, c.old, c.new, func(root string) { c.user(sh{t, root}) })
	s.serviced(func(root string) { files{"usr/a": "2", "usr/b": "2", "var/lib/dpkg/status": ""}.check(t, root) })
}

// TestR5HiddenFixes checks that no change of a package is hidden without saying so, and that each is counted once.
func TestR5HiddenFixes(t *testing.T) {
	s := &scenario{t: t, old: debianRoot(t, lib("1.0"), conf("1.0", oldText)), base: debianRoot(t, lib("1.1"), conf("1.1", baseText))}
	s.work(s.old, func(root string) {
		u := sh{t, root}
		u.put("usr/lib/lib.so", "\x00mine")
		u.put("etc/conf", clashText)
		u.rm("usr/bin/conf", "usr/share/doc/lib")
		u.put("usr/share/doc/lib", "-> /srv")
	})
	report := s.serviced(func(string) {})
	if report.HiddenFixes != 2 {
		t.Errorf("%d fixes are hidden, want 2", report.HiddenFixes)
	}
	for name, want := range map[string]Fix{"usr/lib/lib.so": {Package: "lib", Version: "1.1"}, "etc/conf": {Package: "conf", Version: "1.1"}, "usr/bin/conf": {Package: "conf", Version: "1.1"}, "usr/share/doc/lib": {Package: "lib", Version: "1.1"}} {
		found := false
		for _, p := range report.Paths {
			if p.Path == name {
				found = true
				if len(p.Hidden) != 1 || p.Hidden[0] != want {
					t.Errorf("%s hides %v, want %v", name, p.Hidden, want)
				}
			}
		}
		if !found {
			t.Errorf("%s is not in the report", name)
		}
	}
}

// TestC1UsrMerge services a base that moves /lib into /usr, with packages whose lists still say /lib.
func TestC1UsrMerge(t *testing.T) {
	one := deb{name: "one", version: "1.0", files: files{"lib/one.so": "\x00one 1.0", "lib/only-1.0": "1"}}
	two := deb{name: "one", version: "1.1", files: files{"lib/one.so": "\x00one 1.1"}}
	s := &scenario{t: t, old: debianRoot(t), base: debianRoot(t)}
	install(t, s.old, one)
	files{"usr/lib/x": "1", "lib": "-> usr/lib"}.build(t, s.base)
	install(t, s.base, two)
	own := deb{name: "own", version: "1", files: files{"lib/own.so": "\x00own"}}
	s.work(s.old, func(root string) {
		u := sh{t, root}
		u.install(own)
		u.chmod("lib/one.so", 0o600)
	})
	report := s.serviced(func(root string) {
		files{"lib": "-> usr/lib", "usr/lib/own.so": "\x00own", "usr/lib/one.so": "0600 \x00one 1.1", "usr/lib/only-1.0": ""}.check(t, root)
		checkDebian(t, root, map[string]string{"one": "1.1", "own": "1"}, "")
	})
	if verdictOf(report, "usr/lib/own.so") != Relocate {
		t.Errorf("own.so: %s", verdictOf(report, "usr/lib/own.so"))
	}
	for _, p := range report.Paths {
		if p.Path == "usr/lib/one.so" && p.Package != "one" {
			t.Errorf("one.so belongs to %q", p.Package)
		}
	}
}

// TestF6Alternatives lets both sides add an alternative with the real update-alternatives.
func TestF6Alternatives(t *testing.T) {
	if _, err := exec.LookPath("update-alternatives"); err != nil {
		t.Skip("update-alternatives is not installed")
	}
	add := func(root, name, priority string) {
		files{"usr/bin/" + name: "0755 x", "usr/share/" + name + ".1": "x"}.build(t, root)
		run(t, "update-alternatives", "--root", root, "--log", "/dev/null", "--install", "/usr/bin/editor", "editor", "/usr/bin/"+name, priority,
			"--slave", "/usr/share/editor.1", "editor.1", "/usr/share/"+name+".1")
	}
	for _, c := range []struct {
		name      string
		user      func(root string)
		best      string
		priority  string
		alternate string // what the user had
	}{
		{"automatic, the base's is better", func(root string) { add(root, "mine", "20") }, "better", "30", "mine"},
		{"automatic, the user's is better", func(root string) { add(root, "mine", "40") }, "mine", "30", "mine"},
		{"chosen by hand", func(root string) {
			add(root, "mine", "10")
			run(t, "update-alternatives", "--root", root, "--log", "/dev/null", "--set", "editor", "/usr/bin/mine")
		}, "mine", "30", "mine"},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := &scenario{t: t, old: debianRoot(t), base: debianRoot(t)}
			for _, root := range []string{s.old, s.base} {
				files{"var/lib/dpkg/alternatives": "dir", "etc/alternatives": "dir", "usr/share": "dir"}.build(t, root)
				add(root, "old", "5")
			}
			add(s.base, "better", c.priority)
			s.work(s.old, c.user)
			s.serviced(func(root string) {
				files{
					"etc/alternatives/editor": "-> /usr/bin/" + c.best, "etc/alternatives/editor.1": "-> /usr/share/" + c.best + ".1",
					"usr/bin/editor": "-> /etc/alternatives/editor", "var/lib/molt/beside/new/var/lib/dpkg/alternatives/editor": "",
				}.check(t, root)
				before := content(t, root, alternativeRecords+"/editor")
				out := run(t, "update-alternatives", "--root", root, "--log", "/dev/null", "--query", "editor")
				for _, want := range []string{"Value: /usr/bin/" + c.best, "Alternative: /usr/bin/mine", "Alternative: /usr/bin/better", "Alternative: /usr/bin/old"} {
					if !strings.Contains(out, want) {
						t.Errorf("no %q in\n%s\n%s", want, out, before)
					}
				}
				// What was written is what update-alternatives itself writes.
				run(t, "update-alternatives", "--root", root, "--log", "/dev/null", "--install", "/usr/bin/editor", "editor", "/usr/bin/old", "5",
					"--slave", "/usr/share/editor.1", "editor.1", "/usr/share/old.1")
				if after := content(t, root, alternativeRecords+"/editor"); after != before {
					t.Errorf("update-alternatives writes %q, not %q", after, before)
				}
			})
			unchangedBase(t, s)
		})
	}
}

// TestF1LoaderCache has both sides install libraries, in a directory that the loader knows from the cache alone.
func TestF1LoaderCache(t *testing.T) {
	cache := func(libraries ...string) string {
		var c ldcache.Cache
		for _, name := range libraries {
			c = append(c, ldcache.Library{Name: name, Path: "/usr/local/lib/" + name, Flags: 0x303})
		}
		return string(c.Render())
	}
	s := newScenario(t, files{libraryCache: cache("libold.so.1", "libc.so.6"), "usr/local/lib/libold.so.1": "1", "usr/local/lib/libc.so.6": "1"},
		files{libraryCache: cache("libnew.so.2", "libc.so.6"), "usr/local/lib/libnew.so.2": "1", "usr/local/lib/libc.so.6": "1"}, func(root string) {
			u := sh{t, root}
			u.put("usr/local/lib/libmine.so.1", "1")
			u.put(libraryCache, cache("libold.so.1", "libmine.so.1", "libgone.so.1", "libc.so.6"))
		})
	report := s.serviced(func(root string) {
		files{libraryCache: cache("libnew.so.2", "libmine.so.1", "libc.so.6"), newTree + libraryCache: ""}.check(t, root)
	})
	if verdictOf(report, libraryCache) != Regenerate {
		t.Errorf("the verdict is %s", verdictOf(report, libraryCache))
	}
	unchangedBase(t, s)
}

func TestD8ExtendedStates(t *testing.T) {
	state := func(name string) string { return "Package: " + name + "\nArchitecture: amd64\nAuto-Installed: 1\n\n" }
	s := newScenario(t, files{aptStates: state("a")}, files{aptStates: state("a") + state("n")}, func(root string) { sh{t, root}.put(aptStates, state("a")+state("u")) })
	s.serviced(func(root string) { files{aptStates: state("a") + state("u") + state("n")}.check(t, root) })
}

// TestR1SeveralUpdates services one storage again and again: what was put beside is renewed and goes when it is settled, and
// what was decided stays decided.
func TestR1SeveralUpdates(t *testing.T) {
	s := newScenario(t, files{"etc/a": oldText, "etc/gone": "1", "etc/d/x": "1"}, files{"etc/a": baseText, "etc/d/x": "2", "etc/d/y": "1"}, func(root string) {
		u := sh{t, root}
		u.put("etc/a", clashText)
		u.touch("etc/gone")
		u.rm("etc/d")
	})
	next := func(base files, want files) *Report {
		t.Helper()
		p := s.plan(Options{})
		s.nodes = append(s.delta(p), s.nodes...)
		s.old, s.base = s.base, tempDir(t)
		base.build(t, s.base)
		return s.serviced(func(root string) { want.check(t, root) })
	}
	third := strings.Replace(baseText, "one", "1ne", 1)
	next(files{"etc/a": third, "etc/d/x": "3", "etc/d/y": "2", "etc/d/z": "1", "etc/gone": "again"},
		files{"etc/a": clashText, "var/lib/molt/beside/new/etc/a": third, "etc/gone": "again", "etc/d/x": "", "etc/d/y": "2", "etc/d/z": "1"})
	report := next(files{"etc/a": clashText, "etc/d/x": "3"}, files{"etc/a": clashText, "var/lib/molt/beside/new/etc/a": "", "etc/d/x": "", "etc/d/y": "", "etc/gone": ""})
	if verdictOf(report, "var/lib/molt/beside/new/etc/a") != Drop {
		t.Errorf("what was put beside: %s", encoded(t, report))
	}
}

func TestR13DanglingLink(t *testing.T) {
	s := newScenario(t, files{"usr/share/zone/A": "1", "etc/x": "-> usr"}, files{"usr/share/zone/B": "1", "etc/x": "-> usr"}, func(root string) {
		u := sh{t, root}
		u.put("etc/time", "-> ../usr/share/zone/A")
		u.put("etc/never", "-> nowhere")
		u.put("etc/fine", "-> time")
	})
	report := s.serviced(func(root string) { files{"etc/time": "-> ../usr/share/zone/A"}.check(t, root) })
	wantFindings(t, report, "link etc/fine", "link etc/time")
}

// TestReportEncoding checks that a report survives JSON, also with a name that is not text.
func TestReportEncoding(t *testing.T) {
	name := "etc/\xff\xfe"
	s := newScenario(t, files{name: "1", "etc/b": "1"}, files{name: "2", "etc/b": "1"}, func(root string) { sh{t, root}.touch(name) })
	report := s.serviced(func(root string) { files{name: "2"}.check(t, root) })
	var again Report
	must(t, json.Unmarshal([]byte(encoded(t, report)), &again))
	if encoded(t, &again) != encoded(t, report) {
		t.Errorf("got %s, want %s", encoded(t, &again), encoded(t, report))
	}
	if len(again.Paths) != 1 || string(again.Paths[0].PathBytes) != name || again.Paths[0].New == "" {
		t.Errorf("paths: %v", again.Paths)
	}
}

func TestErrors(t *testing.T) {
	missing := filepath.Join(tempDir(t), "missing")
	if _, err := NewPlan(t.Context(), Input{Old: tree.Stack{missing}}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a directory that is not there: %v", err)
	}
	s := newScenario(t, files{"etc/a": "1"}, files{"etc/a": "2"}, func(root string) { sh{t, root}.touch("etc/a") })
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := NewPlan(ctx, s.input(Options{})); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	p := s.plan(Options{})
	if err := p.Write(ctx, tempDir(t)); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	if err := p.Write(t.Context(), s.old); err == nil {
		t.Error("written into a directory that is not empty")
	}
}
