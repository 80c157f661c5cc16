// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package servicing

import (
	"os/exec"
	"slices"
	"strings"
	"testing"

	"github.com/molt-snapshotter/molt-snapshotter/servicing/unit"
)

// keepNeeded is the policy that keeps what the user's packages need.
func keepNeeded() Options { return Options{Policy: Policy{ConcernDependency: ActionKeep}} }

// TestDependencyPolicy: what a package of the user's needs in one version stays at that version, and so does what does not go
// with it; all else follows the base, and what is hidden is told. The next update starts from there.
func TestDependencyPolicy(t *testing.T) {
	if _, err := exec.LookPath("dpkg-deb"); err != nil {
		t.Skip(err)
	}
	tools := func(version string) deb {
		return deb{name: "tools", version: version, fields: "Depends: lib (>= " + version + ")\n", files: files{"usr/bin/tools": "0755 tools " + version}}
	}
	s := &scenario{
		t: t, options: keepNeeded(),
		old:  debianRoot(t, lib("1.0"), tools("1.0"), conf("1.0", oldText)),
		base: debianRoot(t, lib("1.1"), tools("1.1"), conf("1.1", baseText)),
	}
	s.work(s.old, func(root string) { sh{t, root}.install(app("1.0", "lib (= 1.0)")) })
	if held := s.plan(Options{}).Held(); len(held) != 1 || held[0].Code != HoldDependency || held[0].Package != "app" {
		t.Fatalf("without the policy it is held: %v", held)
	}
	check := func(root, conf string) {
		files{
			"usr/lib/lib.so": "\x00lib 1.0", "usr/lib/lib-1.0": "1.0", "usr/lib/lib-" + conf: "", "usr/bin/tools": "0755 tools 1.0",
			"usr/bin/app": "0755 app 1.0", "usr/bin/conf": "0755 conf " + conf,
		}.check(t, root)
		checkDebian(t, root, map[string]string{"lib": "1.0", "tools": "1.0", "app": "1.0", "conf": conf}, "")
	}
	report := s.serviced(func(root string) { check(root, "1.1") })
	reasons := map[string]string{"lib": "kept for app, which needs lib (= 1.0)", "tools": "kept, because the new version needs lib (>= 1.1)"}
	for _, p := range report.Packages {
		if want, ok := reasons[p.Name]; ok && (p.Side != unit.User || p.Reason != want) {
			t.Errorf("%s is on the side of the %s: %s", p.Name, p.Side, p.Reason)
		}
	}
	hidden := 0
	for _, p := range report.Paths {
		for _, fix := range p.Hidden {
			if fix.Package == "lib" && fix.Version == "1.1" {
				hidden++
			}
		}
	}
	if hidden == 0 {
		t.Errorf("nothing tells that the new version is hidden: %s", encoded(t, report))
	}
	unchangedBase(t, s)
	next := &scenario{
		t: t, options: keepNeeded(), old: s.base, base: debianRoot(t, lib("1.2"), tools("1.2"), conf("1.2", baseText)),
		nodes: slices.Concat(s.delta(s.plan(keepNeeded())), s.nodes),
	}
	next.serviced(func(root string) { check(root, "1.2") })
}

// TestDependencyPolicyOfAlpine is the same for apk, where the need is for what a package provides.
func TestDependencyPolicyOfAlpine(t *testing.T) {
	s := &scenario{
		t: t, options: keepNeeded(), old: alpineRoot(t, "lib scripted", alpineLib("1.0"), scripted("1", oldText)),
		base: alpineRoot(t, "lib scripted", alpineLib("1.1"), scripted("2", baseText)),
	}
	s.work(s.old, func(root string) { apkTree{t, root}.add(alpineApp("1", "so:lib.so.1=1.0")) })
	s.serviced(func(root string) {
		files{"lib/lib.so.1": "0755 \x00lib 1.0", "usr/lib/lib-1.1": "", "usr/bin/app": "0755 app 1"}.check(t, root)
		apkTree{t, root}.verify(map[string]string{"lib": "1.0", "app": "1", "scripted": "2"})
	})
}

// TestDependencyThatNothingHelps is held all the same: no version of anything else makes the user's package fit.
func TestDependencyThatNothingHelps(t *testing.T) {
	s := &scenario{t: t, old: debianRoot(t, lib("1.0")), base: debianRoot(t, lib("1.0"), deb{name: "new", version: "1"})}
	s.work(s.old, func(root string) { sh{t, root}.install(deb{name: "own", version: "1", fields: "Conflicts: new\n"}) })
	held := s.plan(keepNeeded()).Held()
	if len(held) != 1 || held[0].Code != HoldDependency || !strings.Contains(held[0].Message, "own") {
		t.Errorf("held: %v", held)
	}
}

// TestKeptPackageKeepsDirectories: a package that the new base does not have, and that is kept for one of the user's, keeps its
// directories, too, with nothing in them or with what only the user had in them.
func TestKeptPackageKeepsDirectories(t *testing.T) {
	if _, err := exec.LookPath("dpkg-deb"); err != nil {
		t.Skip(err)
	}
	helper := deb{name: "helper", version: "1", files: files{"usr/bin/helper": "0755 helper", "var/cache/helper": "dir", "var/lib/helper/deep": "dir"}}
	for name, c := range map[string]struct {
		user   func(u sh)
		want   files
		verify string // what dpkg says
	}{
		"untouched": {user: func(sh) {}, want: files{"var/cache/helper": "dir", "var/lib/helper/deep": "dir"}},
		"mode changed": {
			user: func(u sh) { u.chmod("var/cache/helper", 0o700) },
			want: files{"var/cache/helper": "dir 0700", "var/lib/helper/deep": "dir"},
		},
		"something in it": {
			user: func(u sh) { u.put("var/lib/helper/deep/mine", "mine") },
			want: files{"var/cache/helper": "dir", "var/lib/helper/deep/mine": "mine"},
		},
		"deleted": {
			user: func(u sh) { u.rm("var/cache/helper") },
			want: files{"var/cache/helper": "", "var/lib/helper/deep": "dir"}, verify: "missing     /var/cache/helper\n",
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := &scenario{t: t, options: keepNeeded(), old: debianRoot(t, helper), base: debianRoot(t)}
			s.work(s.old, func(root string) {
				sh{t, root}.install(app("1", "helper"))
				c.user(sh{t, root})
			})
			s.serviced(func(root string) {
				files{"usr/bin/helper": "0755 helper", "usr/bin/app": "0755 app 1"}.check(t, root)
				c.want.check(t, root)
				checkDebian(t, root, map[string]string{"helper": "1", "app": "1"}, c.verify)
			})
		})
	}
}
