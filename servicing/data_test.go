// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package servicing

import "testing"

var dataCases = []fileCase{
	{
		name: "G1 a database directory that both sides changed", old: files{"var/lib/pg/PG_VERSION": "15\n", "var/lib/pg/base/1/PG_VERSION": "15\n", "var/lib/pg/base/1/a": "1", "var/lib/pg/base/1/b": "1", "var/lib/pg/conf": oldText, "var/lib/x": "1"},
		new: files{"var/lib/pg/PG_VERSION": "16\n", "var/lib/pg/base/1/PG_VERSION": "16\n", "var/lib/pg/base/1/a": "2", "var/lib/pg/base/1/b": "2", "var/lib/pg/base/2/c": "2", "var/lib/pg/conf": baseText, "var/lib/x": "2"},
		user: func(u sh) {
			u.put("var/lib/pg/base/1/a", "3")
			u.put("var/lib/pg/pg_wal/0001", "3")
			u.put("var/lib/pg/conf", userText)
			u.touch("var/lib/pg/base/1/b")
		},
		want: files{
			"var/lib/pg/PG_VERSION": "15\n", "var/lib/pg/base/1/PG_VERSION": "15\n", "var/lib/pg/base/1/a": "3", "var/lib/pg/base/1/b": "1", "var/lib/pg/base/2/c": "", "var/lib/pg/conf": userText, "var/lib/molt/beside/new/var/lib/pg/conf": "",
			"var/lib/molt/beside/new/var/lib/pg/base/1/a": "", "var/lib/pg/pg_wal/0001": "3", "var/lib/x": "2",
		},
		verdicts: map[string]Verdict{"var/lib/pg/base/1/a": Keep, "var/lib/pg/base/1/b": Keep, "var/lib/pg/PG_VERSION": Keep},
	},
	{
		name: "G1 a database directory that the user only touched", old: files{"var/lib/mysql/ibdata1": "1", "var/lib/mysql/a": "1"}, new: files{"var/lib/mysql/ibdata1": "2", "var/lib/mysql/a": "2", "var/lib/mysql/b": "2"},
		user: func(u sh) { u.touch("var/lib/mysql/ibdata1"); u.chmod("var/lib/mysql/a", 0o600) }, want: files{"var/lib/mysql/ibdata1": "2", "var/lib/mysql/a": "0600 2", "var/lib/mysql/b": "2"},
	},
	{
		name: "G1 a file deleted in a database directory", old: files{"var/lib/m/data.mdb": "1", "var/lib/m/lock.mdb": "1"}, new: files{"var/lib/m/data.mdb": "2", "var/lib/m/lock.mdb": "2"},
		user: func(u sh) { u.rm("var/lib/m/lock.mdb") }, want: files{"var/lib/m/data.mdb": "1", "var/lib/m/lock.mdb": ""},
	},
	{
		name: "G1 a database directory of the user's where the base brings a seed", old: files{"var/lib/pg": "dir", "etc/x": "1"}, new: files{"var/lib/pg/PG_VERSION": "16\n", "var/lib/pg/seed": "2", "etc/x": "1"},
		user: func(u sh) { u.put("var/lib/pg/PG_VERSION", "15\n"); u.put("var/lib/pg/a", "3") },
		want: files{"var/lib/pg/PG_VERSION": "15\n", "var/lib/molt/beside/new/var/lib/pg/PG_VERSION": "", "var/lib/pg/seed": "", "var/lib/pg/a": "3"},
	},
	{
		name: "G1 a database that only the user has", old: files{"etc/x": "1"}, new: files{"etc/x": "2"},
		user: func(u sh) { u.put("srv/db/ibdata1", "3") }, want: files{"srv/db/ibdata1": "3", "etc/x": "2"}, empty: true,
	},
	{
		name: "D11 rpm database changed by the base only", old: files{"var/lib/rpm/rpmdb.sqlite": "1", "var/lib/rpm/Packages": "1"}, new: files{"var/lib/rpm/rpmdb.sqlite": "2", "var/lib/rpm/Packages": "2"},
		user: func(u sh) {
			u.touch("var/lib/rpm/rpmdb.sqlite")
			u.put("var/lib/rpm/rpmdb.sqlite-shm", "shm")
			u.put("var/lib/rpm/rpmdb.sqlite-wal", "")
			u.put("var/lib/rpm/.rpm.lock", "")
		},
		want: files{"var/lib/rpm/rpmdb.sqlite": "2", "var/lib/rpm/Packages": "2", "var/lib/rpm/rpmdb.sqlite-shm": "", "var/lib/rpm/rpmdb.sqlite-wal": ""}, verdicts: map[string]Verdict{"var/lib/rpm/rpmdb.sqlite": Take},
	},
	{
		name: "D11 rpm database changed by the user only", old: files{"usr/lib/sysimage/rpm/rpmdb.sqlite": "1", "etc/x": "1"}, new: files{"usr/lib/sysimage/rpm/rpmdb.sqlite": "1", "etc/x": "2"},
		user: func(u sh) { u.put("usr/lib/sysimage/rpm/rpmdb.sqlite", "3") }, want: files{"usr/lib/sysimage/rpm/rpmdb.sqlite": "3"}, empty: true,
	},
	{
		name: "C2 a directory renamed by the base", old: files{"opt/app-1/bin": "0755 1", "opt/app-1/conf/a": "1", "opt/app-1/conf/b": "1", "opt/x": "1"}, new: files{"opt/app-2/bin": "0755 1", "opt/app-2/conf/a": "1", "opt/app-2/conf/b": "1", "opt/x": "1"},
		user: func(u sh) {
			u.put("opt/app-1/conf/a", "edited")
			u.rm("opt/app-1/conf/b")
			u.put("opt/app-1/data/mine", "1")
			u.chmod("opt/app-1/bin", 0o700)
		},
		want:     files{"opt/app-1": "", "opt/app-2/bin": "0700 1", "opt/app-2/conf/a": "edited", "opt/app-2/conf/b": "", "opt/app-2/data/mine": "1"},
		verdicts: map[string]Verdict{"opt/app-1": Take, "opt/app-2/conf/a": Relocate, "opt/app-2/data/mine": Relocate},
	},
	{
		name: "C2 a directory moved by the base", old: files{"opt/app/a": "1", "opt/app/b": "1", "usr/share/x": "1"}, new: files{"usr/share/app/a": "1", "usr/share/app/b": "1", "usr/share/x": "1", "opt": "dir"},
		user: func(u sh) { u.put("opt/app/mine", "1") }, want: files{"opt/app": "", "usr/share/app/a": "1", "usr/share/app/mine": "1"},
	},
	{
		name: "C2 no plain rename", old: files{"opt/app-1/a": "1", "opt/app-1/b": "1"}, new: files{"opt/app-2/a": "1", "opt/app-2/b": "2"},
		user: func(u sh) { u.put("opt/app-1/mine", "1"); u.put("opt/app-1/a", "edited") }, want: files{"opt/app-1/mine": "1", "opt/app-1/a": "edited", "opt/app-1/b": "", "opt/app-2/a": "1", "opt/app-2/mine": ""}, verdicts: map[string]Verdict{"opt/app-1": Keep}, empty: true,
	},
	{
		name: "C2 two directories that it could have become", old: files{"opt/app-1/a": "1"}, new: files{"opt/app-2/a": "1", "opt/app-3/a": "1"},
		user: func(u sh) { u.put("opt/app-1/mine", "1") }, want: files{"opt/app-1/mine": "1", "opt/app-2/mine": "", "opt/app-3/mine": ""}, verdicts: map[string]Verdict{"opt/app-1": Keep}, empty: true,
	},
	{
		name: "C2 directories with nothing in them are not the same", old: files{"opt/app-1": "dir", "opt/x": "1"}, new: files{"opt/app-2": "dir", "opt/x": "1"},
		user: func(u sh) { u.put("opt/app-1/mine", "1") }, want: files{"opt/app-1/mine": "1"}, verdicts: map[string]Verdict{"opt/app-1": Keep}, empty: true,
	},
}

func TestDataCases(t *testing.T) { checkFileCases(t, dataCases) }

// TestC1TargetUnderAWhiteout has the base replace a directory by a link to a new one, whose name an old whiteout in the
// storage still hides: it hides nothing, and the user's files follow all the same.
func TestC1TargetUnderAWhiteout(t *testing.T) {
	s := newScenario(t, files{"etc/b/x": "1"}, files{"etc/b": "-> a", "etc/a/x": "2"}, func(root string) { sh{t, root}.put("etc/a", "mine") })
	s.work(s.old, func(root string) {
		u := sh{t, root}
		u.rm("etc/a")
		u.put("etc/b/y", "1")
	})
	s.serviced(func(root string) {
		files{"etc/b": "-> a", "etc/a/x": "2", "etc/a/y": "1", "var/lib/molt/beside/old/etc/b": ""}.check(t, root)
	})
	unchangedBase(t, s)
}

// TestC1DeletedAtTheTarget has the user delete a file in a directory to which the files of another one follow: it stays
// deleted, although in the other one there never was a file of that name.
func TestC1DeletedAtTheTarget(t *testing.T) {
	s := newScenario(t, files{"etc/b/y": "1", "etc/a/y/y": "1"}, files{"etc/b": "-> a", "etc/a/y/y": "1"}, func(root string) {
		u := sh{t, root}
		u.rm("etc/b/y")
		u.put("etc/b/y/x", "2")
	})
	s.work(s.old, func(root string) {
		u := sh{t, root}
		u.rm("etc/a")
		u.put("etc/a/x", "mine")
	})
	s.serviced(func(root string) {
		files{"etc/b": "-> a", "etc/a/x": "mine", "etc/a/y/x": "2", "etc/a/y/y": ""}.check(t, root)
	})
}
