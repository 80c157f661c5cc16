// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package servicing

import (
	"testing"
)

const (
	oldText   = "1\n2\n3\n4\n5\n6\n7\n8\n"
	baseText  = "one\n2\n3\n4\n5\n6\n7\n8\n" // the first line changed
	userText  = "1\n2\n3\n4\n5\n6\n7\neight\n"
	bothText  = "one\n2\n3\n4\n5\n6\n7\neight\n"
	clashText = "ONE\n2\n3\n4\n5\n6\n7\n8\n" // the first line changed to something else
	sqlite    = "SQLite format 3\x00"
	elfOld    = "\x7fELF\x00old"
	elfNew    = "\x7fELF\x00new"
	elfOwn    = "\x7fELF\x00own"
)

// fileCase is a case of the list of cases, on real stacks.
type fileCase struct {
	name     string
	old, new files
	user     func(u sh)
	want     files              // what is seen afterwards
	verdicts map[string]Verdict // of paths in the report; "" for none
	empty    bool               // no side effects
}

var fileCases = []fileCase{
	{
		name: "R3 nothing in the storage", old: files{"etc/a": "1", "etc/b": "1"}, new: files{"etc/a": "2", "etc/c": "1"},
		want: files{"etc/a": "2", "etc/b": "", "etc/c": "1"}, empty: true,
	},
	{
		name: "A1 touched, not changed", old: files{"etc/a": "old"}, new: files{"etc/a": "new"},
		user: func(u sh) { u.touch("etc/a") }, want: files{"etc/a": "new"}, verdicts: map[string]Verdict{"etc/a": Take},
	},
	{
		name: "A1 of the same size", old: files{"etc/a": "old"}, new: files{"etc/a": "odd"},
		user: func(u sh) { u.touch("etc/a") }, want: files{"etc/a": "odd"}, verdicts: map[string]Verdict{"etc/a": Take},
	},
	{
		name: "A2 changed by the user", old: files{"etc/a": "old", "etc/b": "1"}, new: files{"etc/a": "old", "etc/b": "2"},
		user: func(u sh) { u.put("etc/a", "mine") }, want: files{"etc/a": "mine", "etc/b": "2"}, verdicts: map[string]Verdict{"etc/a": Keep}, empty: true,
	},
	{
		name: "A2 changed by the user, mode by the base", old: files{"etc/a": "0644 old"}, new: files{"etc/a": "0600 old"},
		user: func(u sh) { u.put("etc/a", "0644 mine") }, want: files{"etc/a": "0600 mine"}, verdicts: map[string]Verdict{"etc/a": Keep},
	},
	{
		name: "A3 changed to the same", old: files{"etc/a": "old"}, new: files{"etc/a": "new"},
		user: func(u sh) { u.put("etc/a", "new") }, want: files{"etc/a": "new"}, verdicts: map[string]Verdict{"etc/a": Take}, empty: true,
	},
	{
		name: "A3 made by both", old: files{"etc/x": ""}, new: files{"etc/a": "0644 new"},
		user: func(u sh) { u.put("etc/a", "0600 new") }, want: files{"etc/a": "0600 new"}, empty: true,
	},
	{
		name: "A4 hunks apart", old: files{"etc/a": oldText}, new: files{"etc/a": baseText},
		user: func(u sh) { u.put("etc/a", userText) }, want: files{"etc/a": bothText, "var/lib/molt/beside/new/etc/a": ""}, verdicts: map[string]Verdict{"etc/a": Merge},
	},
	{
		name: "A4 hunks apart and modes changed", old: files{"etc/a": "0644 " + oldText}, new: files{"etc/a": "0640 " + baseText},
		user: func(u sh) { u.put("etc/a", userText); u.chmod("etc/a", 0o664) }, want: files{"etc/a": "0660 " + bothText}, verdicts: map[string]Verdict{"etc/a": Merge},
	},
	{
		name: "A5 hunks overlap", old: files{"etc/a": oldText}, new: files{"etc/a": baseText},
		user: func(u sh) { u.put("etc/a", clashText) }, want: files{"etc/a": clashText, "var/lib/molt/beside/new/etc/a": baseText}, verdicts: map[string]Verdict{"etc/a": Beside},
	},
	{
		name: "A5 made by both", old: files{"etc/x": "1"}, new: files{"etc/x": "1", "etc/a": "new"},
		user: func(u sh) { u.put("etc/a", "mine") }, want: files{"etc/a": "mine", "var/lib/molt/beside/new/etc/a": "new"}, verdicts: map[string]Verdict{"etc/a": Beside},
	},
	{
		name: "R11 data", old: files{"var/log/a": oldText, "home/x/a": "1"}, new: files{"var/log/a": baseText, "home/x/a": "2"},
		user: func(u sh) { u.put("var/log/a", clashText); u.put("home/x/a", "3") },
		want: files{"var/log/a": clashText, "var/lib/molt/beside/new/var/log/a": "", "home/x/a": "3", "var/lib/molt/beside/new/home/x/a": ""}, verdicts: map[string]Verdict{"var/log/a": Keep}, empty: true,
	},
	{
		name: "A6 binary of no package", old: files{"opt/a": elfOld}, new: files{"opt/a": elfNew},
		user: func(u sh) { u.put("opt/a", elfOwn) }, want: files{"opt/a": elfOwn, "var/lib/molt/beside/new/opt/a": elfNew}, verdicts: map[string]Verdict{"opt/a": Beside},
	},
	{
		name: "A7 only the mode changed", old: files{"usr/bin/a": "0755 old"}, new: files{"usr/bin/a": "0755 new"},
		user: func(u sh) { u.chmod("usr/bin/a", 0o700) }, want: files{"usr/bin/a": "0700 new"}, verdicts: map[string]Verdict{"usr/bin/a": Take},
	},
	{
		name: "R5 tightening arrives", old: files{"usr/bin/a": "4755 old", "usr/bin/b": "4755 old"}, new: files{"usr/bin/a": "0755 new", "usr/bin/b": "0750 old"},
		user: func(u sh) { u.chmod("usr/bin/a", 0o4775); u.chmod("usr/bin/b", 0o4711) },
		want: files{"usr/bin/a": "0775 new", "usr/bin/b": "0710 old"},
	},
	{
		name: "B1 deleted, changed", old: files{"etc/a": "old", "etc/b": "1"}, new: files{"etc/a": "new", "etc/b": "1"},
		user: func(u sh) { u.rm("etc/a", "etc/b") }, want: files{"etc/a": "", "etc/b": ""}, verdicts: map[string]Verdict{"etc/a": Keep, "etc/b": ""}, empty: true,
	},
	{
		name: "R6 deleted by the base", old: files{"etc/a": "old", "etc/b": "1"}, new: files{"etc/b": "1"},
		user: func(u sh) { u.touch("etc/a") }, want: files{"etc/a": ""}, verdicts: map[string]Verdict{"etc/a": Take},
	},
	{
		name: "B3 edited, deleted by the base", old: files{"etc/a": "old"}, new: files{"etc/b": "1"},
		user: func(u sh) { u.put("etc/a", "mine") }, want: files{"etc/a": "mine"}, verdicts: map[string]Verdict{"etc/a": Keep}, empty: true,
	},
	{
		name: "B4 directory deleted", old: files{"etc/d/a": "1", "etc/d/s/b": "1", "etc/d/t/c": "1"},
		new:  files{"etc/d/a": "2", "etc/d/s/b": "1", "etc/d/s/new": "1", "etc/d/t/c": "1", "etc/d/n/x/y": "1", "etc/d": "dir 0750"},
		user: func(u sh) { u.rm("etc/d") },
		want: files{"etc/d": "dir 0750", "etc/d/a": "", "etc/d/s/b": "", "etc/d/s/new": "1", "etc/d/t": "", "etc/d/n/x/y": "1"}, verdicts: map[string]Verdict{"etc/d": Take, "etc/d/a": Keep, "etc/d/n": Take},
	},
	{
		name: "B4 directory deleted, nothing new", old: files{"etc/d/a": "1", "etc/d/b": "1"}, new: files{"etc/d/a": "2"},
		user: func(u sh) { u.rm("etc/d") }, want: files{"etc/d": ""}, empty: true,
	},
	{
		name: "B5 directory made anew", old: files{"etc/d/a": "1", "etc/d/b": "1", "etc/d/c": "1"}, new: files{"etc/d/a": "2", "etc/d/b": "1", "etc/d/new": "1", "etc/d/c": "2"},
		user: func(u sh) { u.rm("etc/d"); u.put("etc/d/mine", "1"); u.put("etc/d/c", "1") },
		want: files{"etc/d/a": "", "etc/d/b": "", "etc/d/c": "2", "etc/d/new": "1", "etc/d/mine": "1"},
	},
	{
		name: "B5 directory made anew, with a directory in it", old: files{"etc/d/a": "1"}, new: files{"etc/d/a": "1", "etc/d/s/t/new": "1"},
		user: func(u sh) { u.rm("etc/d"); u.put("etc/d/s/t/mine", "1") }, want: files{"etc/d/a": "", "etc/d/s/t/mine": "1", "etc/d/s/t/new": "1"},
	},
	{
		name: "B5 directory made where the base had none", old: files{"etc/x": "1"}, new: files{"etc/x": "1", "etc/d/new": "1", "etc/d": "dir 0755"},
		user: func(u sh) { u.put("etc/d/mine", "1"); u.chmod("etc/d", 0o700) }, want: files{"etc/d/new": "1", "etc/d/mine": "1", "etc/d": "dir 0700"}, empty: true,
	},
	{
		name: "C1 usrmerge", old: files{"lib/a": "1", "lib/b": "1", "lib/d/e": "1", "usr/lib/x": "1"}, new: files{"lib": "-> usr/lib", "usr/lib/a": "2", "usr/lib/b": "1", "usr/lib/d/e": "2", "usr/lib/x": "2"},
		user: func(u sh) {
			u.touch("lib/a")
			u.put("lib/mine", "1")
			u.put("lib/d/mine", "1")
			u.put("lib/d/e", "edited")
			u.rm("lib/b")
		},
		want:     files{"lib": "-> usr/lib", "usr/lib/a": "2", "usr/lib/b": "", "usr/lib/mine": "1", "usr/lib/d/mine": "1", "usr/lib/d/e": "edited", "usr/lib/x": "2"},
		verdicts: map[string]Verdict{"lib": Take, "usr/lib/mine": Relocate, "usr/lib/d/mine": Relocate},
	},
	{
		name: "C1 both directories had a file of the name", old: files{"etc/b/x": "1", "etc/b/y": "1", "etc/b/z": "1", "etc/a/x": "one", "etc/a/y": "one", "etc/a/z": "one"},
		new:  files{"etc/b": "-> a", "etc/a/x": "one", "etc/a/y": "two", "etc/a/z": "two"},
		user: func(u sh) { u.rm("etc/b/x"); u.put("etc/b/y", "mine"); u.touch("etc/b/z") },
		want: files{"etc/b": "-> a", "etc/a/x": "one", "etc/a/y": "two", "var/lib/molt/beside/old/etc/a/y": "mine", "etc/a/z": "two", "var/lib/molt/beside/old/etc/a/z": ""},
	},
	{
		name: "C3 file replaced by a link", old: files{"etc/a": "old"}, new: files{"etc/a": "new"},
		user: func(u sh) { u.rm("etc/a"); u.put("etc/a", "-> b") }, want: files{"etc/a": "-> b", "var/lib/molt/beside/new/etc/a": ""}, verdicts: map[string]Verdict{"etc/a": Keep}, empty: true,
	},
	{
		name: "C4 directory replaced by a link", old: files{"var/www/a": "1"}, new: files{"var/www/a": "2", "var/www/b": "1"},
		user: func(u sh) { u.rm("var/www"); u.put("var/www", "-> /srv") }, want: files{"var/www": "-> /srv"}, verdicts: map[string]Verdict{"var/www": Keep}, empty: true,
	},
	{
		name: "C5 directory became a file", old: files{"etc/d/a": "1", "etc/d/b": "1", "etc/d/s/c": "1"}, new: files{"etc/d": "file"},
		user: func(u sh) { u.touch("etc/d/a"); u.put("etc/d/b", "edited"); u.put("etc/d/s/mine", "1") },
		want: files{"etc/d": "file", "var/lib/molt/beside/old/etc/d/a": "", "var/lib/molt/beside/old/etc/d/b": "edited", "var/lib/molt/beside/old/etc/d/s/mine": "1"}, verdicts: map[string]Verdict{"etc/d": Take},
	},
	{
		name: "C5 directory became a file, nothing of the user's inside", old: files{"etc/d/a": "1"}, new: files{"etc/d": "file"},
		user: func(u sh) { u.touch("etc/d/a") }, want: files{"etc/d": "file", "var/lib/molt/beside/old/etc/d": ""},
	},
	{
		name: "C7 file became a directory", old: files{"etc/a": "1", "etc/b": "1"}, new: files{"etc/a/x/y": "1", "etc/b/z": "1"},
		user: func(u sh) { u.put("etc/a", "edited"); u.touch("etc/b") },
		want: files{"etc/a/x/y": "1", "var/lib/molt/beside/old/etc/a": "edited", "etc/b/z": "1", "var/lib/molt/beside/old/etc/b": ""}, verdicts: map[string]Verdict{"etc/a": Take},
	},
	{
		name: "C11 special files", old: files{"etc/x": "1"}, new: files{"etc/x": "2"},
		user: func(u sh) { u.put("run/fifo", "fifo"); u.put("run/socket", "socket") }, want: files{"run/fifo": "fifo"}, verdicts: map[string]Verdict{"run/socket": Drop}, empty: true,
	},
	{
		name: "F8 identity", old: files{"etc/machine-id": "aaaa\n", "etc/ssh/ssh_host_rsa_key": "0600 old"}, new: files{"etc/machine-id": "bbbb\n", "etc/ssh/ssh_host_rsa_key": "0600 new"},
		user: func(u sh) { u.put("etc/ssh/ssh_host_rsa_key", "0600 mine") }, want: files{"etc/machine-id": "aaaa\n", "etc/ssh/ssh_host_rsa_key": "0600 mine"}, verdicts: map[string]Verdict{"etc/machine-id": Keep},
	},
	{
		name: "F8 identity to be made at the first start", old: files{"etc/machine-id": ""}, new: files{"etc/machine-id": "uninitialized\n"}, want: files{"etc/machine-id": "uninitialized\n"}, empty: true,
	},
	{
		name: "F9 stubs of the runtime", old: files{"etc/x": "1"}, new: files{"etc/hosts": "127.0.0.1 localhost\n", "etc/x": "1"},
		user: func(u sh) { u.put("etc/hosts", ""); u.put("etc/resolv.conf", "") }, want: files{"etc/hosts": "127.0.0.1 localhost\n", "var/lib/molt/beside/new/etc/hosts": ""}, verdicts: map[string]Verdict{"etc/hosts": Take},
	},
	{
		name: "F3 derived", old: files{"usr/share/mime/mime.cache": "1"}, new: files{"usr/share/mime/mime.cache": "2"},
		user: func(u sh) { u.put("usr/share/mime/mime.cache", "3") }, want: files{"usr/share/mime/mime.cache": "", "var/lib/molt/beside/new/usr/share/mime/mime.cache": ""}, verdicts: map[string]Verdict{"usr/share/mime/mime.cache": Drop},
	},
	{
		name: "F3 derived, needed", old: files{"usr/share/glib-2.0/schemas/gschemas.compiled": "1", "usr/lib/locale/locale-archive": "1"}, new: files{"usr/share/glib-2.0/schemas/gschemas.compiled": "2", "usr/lib/locale/locale-archive": "1"},
		user: func(u sh) {
			u.put("usr/share/glib-2.0/schemas/gschemas.compiled", "3")
			u.put("usr/lib/locale/locale-archive", "3")
		},
		want: files{"usr/share/glib-2.0/schemas/gschemas.compiled": "3", "var/lib/molt/beside/new/usr/share/glib-2.0/schemas/gschemas.compiled": "", "usr/lib/locale/locale-archive": "3"}, verdicts: map[string]Verdict{"usr/share/glib-2.0/schemas/gschemas.compiled": Keep}, empty: true,
	},
	{
		name: "F3 derived, changed by the base only", old: files{"usr/share/mime/mime.cache": "1"}, new: files{"usr/share/mime/mime.cache": "2"},
		user: func(u sh) { u.touch("usr/share/mime/mime.cache") }, want: files{"usr/share/mime/mime.cache": "2"}, verdicts: map[string]Verdict{"usr/share/mime/mime.cache": Take},
	},
	{
		name: "F5 package lists and caches", old: files{"var/lib/apt/lists/a": "1", "var/cache/apt/archives/x.deb": "1"}, new: files{"var/lib/apt/lists/a": "2", "var/lib/apt/lists/b": "2", "var/cache/apt/archives/x.deb": "2"},
		user: func(u sh) { u.put("var/lib/apt/lists/a", "3"); u.put("var/cache/apt/archives/x.deb", "3") },
		want: files{"var/lib/apt/lists/a": "3", "var/lib/apt/lists/b": "2", "var/lib/molt/beside/new/var/lib/apt/lists/a": "", "var/lib/molt/beside/new/var/cache/apt/archives/x.deb": ""}, empty: true,
	},
	{
		name: "G1 database changed on both sides", old: files{"var/lib/a.db": sqlite + "1"}, new: files{"var/lib/a.db": sqlite + "2"},
		user: func(u sh) { u.put("var/lib/a.db", sqlite+"3") }, want: files{"var/lib/a.db": sqlite + "3", "var/lib/molt/beside/new/var/lib/a.db": ""}, verdicts: map[string]Verdict{"var/lib/a.db": Keep}, empty: true,
	},
	{
		name: "G1 only the journal of a database is in the storage", old: files{"var/lib/a.db": sqlite + "1", "var/lib/b.db": sqlite + "1"}, new: files{"var/lib/a.db": sqlite + "2", "var/lib/b.db": sqlite + "2"},
		user: func(u sh) {
			u.put("var/lib/a.db-wal", "1")
			u.touch("var/lib/b.db")
			u.put("var/lib/b.db-journal", "1")
		},
		want: files{"var/lib/a.db": sqlite + "1", "var/lib/a.db-wal": "1", "var/lib/b.db": sqlite + "1"}, verdicts: map[string]Verdict{"var/lib/a.db": Keep, "var/lib/b.db": Keep},
	},
	{
		name: "R6 a directory that the base does not have any more", old: files{"opt/d/a": "1", "opt/d/b": "1", "opt/e/a": "1"}, new: files{"opt/x": "1"},
		user: func(u sh) { u.rm("opt/d/a"); u.put("opt/d/mine", "1"); u.rm("opt/e/a"); u.chmod("opt/e", 0o700) },
		want: files{"opt/d": "dir", "opt/d/mine": "1", "opt/d/b": "", "opt/e": ""},
	},
	{
		name: "R2 directory modes", old: files{"opt": "dir 0755", "srv": "dir 0755", "srv/a": "1"}, new: files{"opt": "dir 0750", "srv": "dir 0755", "srv/a": "1"},
		user: func(u sh) { u.put("opt/mine", "1"); u.chmod("srv", 0o700) }, want: files{"opt": "dir 0750", "opt/mine": "1", "srv": "dir 0700"},
	},
	{
		name: "R14 hard links of the base", old: files{"usr/bin/a": "old", "usr/bin/b": "= usr/bin/a"}, new: files{"usr/bin/a": "new", "usr/bin/b": "= usr/bin/a", "usr/bin/c": "= usr/bin/a"},
		user: func(u sh) { u.touch("usr/bin/a") }, want: files{"usr/bin/a": "new", "usr/bin/b": "= usr/bin/a", "usr/bin/c": "= usr/bin/a"},
	},
	{
		name: "R14 hard links of the user, mode changed by the base", old: files{"etc/a": "0644 1"}, new: files{"etc/a": "0600 1"},
		user: func(u sh) { u.put("etc/a", "0644 mine"); must(u.t, linkIn(u.root, "etc/a", "etc/mine")) }, want: files{"etc/a": "0600 mine", "etc/mine": "= etc/a"},
	},
	{
		name: "R14 hard links of the user, replaced by the base", old: files{"etc/a": "1"}, new: files{"etc/a": "2"},
		user: func(u sh) { must(u.t, linkIn(u.root, "etc/a", "etc/mine")) }, want: files{"etc/a": "2", "etc/mine": "1"},
	},
	{
		name: "R14 hard links of the user, kept", old: files{"etc/a": "1"}, new: files{"etc/a": "1", "etc/b": "1"},
		user: func(u sh) { u.put("etc/a", "mine"); must(u.t, linkIn(u.root, "etc/a", "etc/mine")) }, want: files{"etc/mine": "= etc/a"}, empty: true,
	},
	{
		name: "R14 hard links of the user", old: files{"etc/a": oldText}, new: files{"etc/a": baseText},
		user: func(u sh) { u.put("etc/a", userText); must(u.t, linkIn(u.root, "etc/a", "etc/mine")) }, want: files{"etc/a": bothText, "etc/mine": "= etc/a"},
	},
}

func TestFileCases(t *testing.T) { checkFileCases(t, fileCases) }

func checkFileCases(t *testing.T, cases []fileCase) {
	t.Helper()
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			var user func(string)
			if c.user != nil {
				user = func(root string) { c.user(sh{t, root}) }
			}
			s := newScenario(t, c.old, c.new, user)
			report := s.serviced(func(root string) { c.want.check(t, root) })
			if empty := len(report.Effects) == 0; empty != c.empty {
				t.Errorf("empty is %v: %v", empty, report.Effects)
			}
			for name, want := range c.verdicts {
				if got := verdictOf(report, name); got != want {
					t.Errorf("the verdict on %s is %q, want %q", name, got, want)
				}
			}
			unchangedBase(t, s)
		})
	}
}

func verdictOf(r *Report, name string) Verdict {
	for _, p := range r.Paths {
		if p.Path == name {
			return p.Verdict
		}
	}
	return ""
}

// unchangedBase checks that a base that did not change needs no side effects.
func unchangedBase(t *testing.T, s *scenario) {
	t.Helper()
	same := *s
	same.base = s.old
	if p := same.plan(s.options); !p.Empty() || len(p.Held()) > 0 {
		t.Errorf("the base did not change, but there are side effects: %v %v", p.Report().Effects, p.Held())
	}
}
