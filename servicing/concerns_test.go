// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package servicing

import (
	"slices"
	"testing"
)

// findingPolicyCases are storages with something that the update breaks, a kind of finding each.
var findingPolicyCases = []struct {
	concern  Concern
	old, new files
	debs     [3][]deb // of the old base, the new one, and the user
	user     func(u sh)
}{
	{concern: ConcernOwnProgram, old: files{"usr/lib/libx.so.1": library("libx.so.1")}, new: files{"etc/x": "1"}, user: func(u sh) { u.put("opt/x", program("libx.so.1")) }},
	{
		concern: ConcernReplacedLibrary, old: files{"usr/lib/libx.so.1": library("libx.so.1", "X_1")}, new: files{"usr/lib/libx.so.1": library("libx.so.1", "X_1", "X_2"), "usr/bin/n": versioned("libx.so.1", "X_2")},
		user: func(u sh) { u.put("usr/lib/libx.so.1", library("libx.so.1", "X_1")+"mine") },
	},
	{concern: ConcernScript, old: files{"usr/bin/perl5": "0755 \x00"}, new: files{"etc/x": "1"}, user: func(u sh) { u.put("opt/x", "0755 #!/usr/bin/perl5\n") }},
	{
		concern: ConcernModules, old: files{"usr/bin/python3.11": "0755 \x00", "usr/lib/python3.11/os.py": "1"}, new: files{"usr/bin/python3.12": "0755 \x00", "usr/lib/python3.12/os.py": "1"},
		user: func(u sh) { u.put("usr/local/lib/python3.11/dist-packages/mine.py", "1") },
	},
	{
		concern: ConcernServerData, old: files{"usr/lib/postgresql/15/bin/postgres": "0755 \x00"}, new: files{"usr/lib/postgresql/16/bin/postgres": "0755 \x00"},
		user: func(u sh) { u.put("srv/pg/PG_VERSION", "15\n") },
	},
	{concern: ConcernLink, old: files{"usr/share/a": "1"}, new: files{"usr/share/b": "1"}, user: func(u sh) { u.put("etc/l", "-> ../usr/share/a") }},
	{
		concern: ConcernAccount, old: files{"etc/passwd": rootUser + "www:x:33:0::/:/x\n", "etc/group": rootGroup}, new: files{"etc/passwd": rootUser, "etc/group": rootGroup},
		user: func(u sh) { u.put("srv/x", "1"); u.chown("srv/x", 33, 0) },
	},
	{
		concern: ConcernPackagedProgram, old: checkBase(nil), new: checkBase(nil),
		debs: [3][]deb{
			{{name: "libx", version: "1", files: files{"usr/lib/libx.so.1": library("libx.so.1")}}},
			{{name: "libx", version: "2", files: files{"usr/lib/libx.so.2": library("libx.so.2")}}},
			{{name: "mine", version: "1", files: files{"usr/bin/mine": program("libx.so.1")}}},
		},
	},
	{
		concern: ConcernPackageFiles, old: files{"etc/x": "1"}, new: files{"etc/x": "1"},
		debs: [3][]deb{
			{{name: "libx", version: "1", files: files{"opt/mine/x": "1"}}},
			{{name: "libx", version: "2", files: files{"opt/mine": "file"}}},
			{{name: "mine", version: "1", files: files{"opt/mine/a": "1"}}},
		},
	},
}

// TestFindingPolicies tries each action on each kind of finding: hold holds, warn tells, ignore does neither.
func TestFindingPolicies(t *testing.T) {
	for _, c := range findingPolicyCases {
		s := &scenario{t: t, old: debianRoot(t, c.debs[0]...), base: debianRoot(t, c.debs[1]...)}
		checkBase(c.old).build(t, s.old)
		checkBase(c.new).build(t, s.base)
		s.work(s.old, func(root string) {
			if c.user != nil {
				c.user(sh{t, root})
			}
			if len(c.debs[2]) > 0 {
				install(t, root, c.debs[2]...)
			}
		})
		for _, action := range []Action{ActionHold, ActionWarn, ActionIgnore} {
			t.Run(string(c.concern)+"/"+string(action), func(t *testing.T) {
				s := *s
				s.t = t
				p := s.plan(Options{Policy: Policy{c.concern: action}})
				found := slices.ContainsFunc(p.Report().Findings, func(f CheckFinding) bool { return f.Check == c.concern })
				held := slices.ContainsFunc(p.Held(), func(r Reason) bool { return r.Code == "check" })
				if found != (action != ActionIgnore) || held != (action == ActionHold) {
					t.Errorf("found %v, held %v: %s", found, p.Held(), encoded(t, p.Report()))
				}
			})
		}
	}
}

// TestPackageFilePolicies tries each action on a program of a package that the user replaced.
func TestPackageFilePolicies(t *testing.T) {
	s := &scenario{t: t, old: debianRoot(t, lib("1.0")), base: debianRoot(t, lib("1.1"))}
	s.work(s.old, func(root string) { sh{t, root}.put("usr/lib/lib.so", "\x00mine") })
	for action, want := range map[Action]files{
		ActionKeep:   {"usr/lib/lib.so": "\x00mine", "var/lib/molt/beside/new/usr/lib/lib.so": "", "var/lib/molt/beside/old/usr/lib/lib.so": ""},
		ActionTake:   {"usr/lib/lib.so": "\x00lib 1.1", "var/lib/molt/beside/old/usr/lib/lib.so": "\x00mine"},
		ActionBeside: {"usr/lib/lib.so": "\x00mine", "var/lib/molt/beside/new/usr/lib/lib.so": "\x00lib 1.1"},
		ActionHold:   nil,
	} {
		t.Run(string(action), func(t *testing.T) {
			s := *s
			s.t, s.options = t, Options{Policy: Policy{ConcernPackageFile: action}}
			if action == ActionHold {
				if held := s.plan(s.options).Held(); len(held) != 1 || held[0].Code != "conflict" || held[0].Path != "usr/lib/lib.so" {
					t.Errorf("held: %v", held)
				}
				return
			}
			s.serviced(func(root string) { want.check(t, root) })
		})
	}
}

// TestEveryConcern checks that each concern is tried with each of its actions.
func TestEveryConcern(t *testing.T) {
	tried := map[Concern]bool{ConcernPackageFile: true, ConcernDependency: true} // TestPackageFilePolicies, TestDependencyPolicy
	for _, c := range policyCases {
		tried[c.concern] = true
	}
	for _, c := range findingPolicyCases {
		tried[c.concern] = true
	}
	for _, info := range Concerns() {
		if !tried[info.Concern] {
			t.Errorf("nothing tries %s", info.Concern)
		}
	}
}
