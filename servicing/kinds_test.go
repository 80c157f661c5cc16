// Copyright The molt Authors.
// SPDX-License-Identifier: Apache-2.0

package servicing

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// kindCase is a case of a kind of conflict that strangers met.
type kindCase struct {
	name     string
	old, new files
	user     func(u sh)
	want     files    // through the mount
	told     []string // what the report says, somewhere
	held     bool
}

func (c kindCase) run(t *testing.T) {
	s := newScenario(t, c.old, c.new, func(root string) { c.user(sh{t, root}) })
	p := s.plan(Options{})
	text := encoded(t, p.Report())
	for _, told := range c.told {
		if !strings.Contains(text, told) {
			t.Errorf("the report does not say %q:\n%s", told, text)
		}
	}
	if held := len(p.Held()) > 0; held != c.held {
		t.Fatalf("held: %v", p.Held())
	}
	if !c.held {
		s.serviced(func(root string) { c.want.check(t, root) })
	}
}

const (
	cdn    = "https://cdn/"
	mirror = "https://mirror/"
)

func repositories(host, release string) string {
	return host + release + "/main\n" + host + release + "/community\n"
}

func aptLines(host, release, components string) string {
	return "deb " + host + "debian " + release + " " + components + "\ndeb " + host + "debian " + release + "-updates " + components + "\n"
}

func aptStanza(host, release, components string) string {
	return "Types: deb\nURIs: " + host + "debian\nSuites: " + release + " " + release + "-updates\nComponents: " + components + "\n"
}

// keyCases are keys that the base has under another name.
var keyCases = []kindCase{
	{
		name: "K23 a key renamed, without a word", old: files{"etc/app.ini": "OldName = 1\nother = a\n"}, new: files{"etc/app.ini": "NewName = 1\nother = b\n"},
		user: func(u sh) { u.put("etc/app.ini", "OldName = 7\nother = a\n") },
		want: files{"etc/app.ini": "OldName = 7\nother = a\n"}, told: []string{"no OldName any longer, and NewName with the value that it had"},
	},
	{
		name: "K23 a key renamed, and declared", old: files{"etc/app.ini": "OldName = 1\nother = a\n"},
		new: files{
			"etc/app.ini": "NewName = 1\nother = b\n", "usr/share/molt/renames.d/app": "# of the second version\n/etc/app.ini OldName -> NewName\n",
		},
		user: func(u sh) { u.put("etc/app.ini", "OldName = 7\nother = a\n") }, want: files{"etc/app.ini": "NewName = 7\nother = b\n"},
	},
	{
		name: "K23 a key renamed in a section, and declared", old: files{"etc/app.ini": "[s]\nold = 1\nx = 1\n[t]\nold = 3\n"},
		new: files{
			"etc/app.ini": "[s]\nnew = 1\nx = 1\n[t]\nold = 4\n", "usr/share/molt/renames.d/app": "/etc/app.ini [s] old -> new\n/etc/app.ini nonsense\n",
		},
		user: func(u sh) { u.put("etc/app.ini", "[s]\nold = 7\nx = 2\n[t]\nold = 3\n") },
		want: files{"etc/app.ini": "[s]\nnew = 7\nx = 2\n[t]\nold = 4\n"},
	},
}

// databaseCases are databases of package managers that are not understood.
var databaseCases = []kindCase{
	{
		name: "J4 pacman, installed on both sides", old: files{"var/lib/pacman/local/a-1/desc": "a 1"}, new: files{"var/lib/pacman/local/a-2/desc": "a 2"},
		user: func(u sh) { u.put("var/lib/pacman/local/b-1/desc", "b 1") }, held: true, told: []string{"the package database of pacman"},
	},
	{
		name: "J4 dpkg in pieces, installed on both sides", old: files{"var/lib/dpkg/status.d/a": "1"}, new: files{"var/lib/dpkg/status.d/a": "2"},
		user: func(u sh) { u.put("var/lib/dpkg/status.d/b", "1") }, held: true, told: []string{"package-database"},
	},
	{
		name: "J4 opkg, installed by the user only", old: files{"usr/lib/opkg/status": "a 1", "etc/x": "1"}, new: files{"usr/lib/opkg/status": "a 1", "etc/x": "2"},
		user: func(u sh) { u.put("usr/lib/opkg/status", "a 1\nb 1") }, want: files{"usr/lib/opkg/status": "a 1\nb 1", "etc/x": "2"},
	},
	{
		name: "J4 Portage, touched by the user", old: files{"var/db/pkg/c/a-1/CONTENTS": "1"}, new: files{"var/db/pkg/c/a-2/CONTENTS": "2"},
		user: func(u sh) { u.touch("var/db/pkg/c/a-1/CONTENTS") },
		want: files{"var/db/pkg/c/a-2/CONTENTS": "2", "var/db/pkg/c/a-1/CONTENTS": ""},
	},
}

// renameCases are files that the base has under another name.
var renameCases = []kindCase{
	{
		name: "K25 a file renamed by the base", old: files{"etc/app/old.conf": oldText, "etc/app/x": "1"}, new: files{"etc/app/new.conf": oldText, "etc/app/x": "2"},
		user: func(u sh) { u.put("etc/app/old.conf", userText) },
		want: files{"etc/app/new.conf": userText, "etc/app/old.conf": "", "etc/app/x": "2"}, told: []string{"renamed to \\\"/etc/app/new.conf\\\" by the base"},
	},
	{
		name: "K25 only its mode was changed", old: files{"etc/app/old.conf": oldText}, new: files{"etc/app/new.conf": oldText},
		user: func(u sh) { u.chmod("etc/app/old.conf", 0o600) },
		want: files{"etc/app/new.conf": "0600 " + oldText, "etc/app/old.conf": ""},
	},
	{
		name: "K25 two that could be it", old: files{"etc/app/old.conf": oldText}, new: files{"etc/app/a.conf": oldText, "etc/app/b.conf": oldText},
		user: func(u sh) { u.put("etc/app/old.conf", userText) },
		want: files{"etc/app/old.conf": userText, "etc/app/a.conf": oldText, "etc/app/b.conf": oldText},
	},
	{
		name: "K25 the user has a file there", old: files{"etc/app/old.conf": oldText}, new: files{"etc/app/new.conf": oldText},
		user: func(u sh) { u.put("etc/app/old.conf", userText); u.put("etc/app/new.conf", "mine") },
		want: files{"etc/app/old.conf": userText, "etc/app/new.conf": "mine"},
	},
	{
		name: "K25 a few bytes say nothing", old: files{"etc/app/old.conf": "1\n"}, new: files{"etc/app/new.conf": "1\n"},
		user: func(u sh) { u.put("etc/app/old.conf", userText) },
		want: files{"etc/app/old.conf": userText, "etc/app/new.conf": "1\n"},
	},
	{
		name: "K25 it was there before", old: files{"etc/app/old.conf": oldText, "etc/app/new.conf": oldText}, new: files{"etc/app/new.conf": oldText},
		user: func(u sh) { u.put("etc/app/old.conf", userText) },
		want: files{"etc/app/old.conf": userText, "etc/app/new.conf": oldText},
	},
}

// kindCases are those that need nothing but files.
var kindCases = []kindCase{
	{
		name: "K8 a directory of which every file counts", old: files{"etc/logrotate.d/app": "/var/log/app {\n rotate 4\n}\n", "var/lib": "dir"},
		new:  files{"etc/logrotate.d/app": "/var/log/app {\n rotate 8\n}\n", "var/lib": "dir"},
		user: func(u sh) { u.put("etc/logrotate.d/app", "/var/log/app {\n rotate 90\n}\n") },
		want: files{
			"etc/logrotate.d/app": "/var/log/app {\n rotate 90\n}\n", "etc/logrotate.d/app.molt-new": "",
			newTree + "etc/logrotate.d/app": "/var/log/app {\n rotate 8\n}\n",
		},
		told: []string{`"beside": "/var/lib/molt/beside/new/etc/logrotate.d/app"`},
	},
	{
		name: "K8 a file of the base's that is not in force stays beside", old: files{"etc/a": "1", "etc/apt/sources.list": aptLines(cdn, "bookworm", "main")},
		new: files{"etc/a": "2", "etc/apt/sources.list.d/debian.sources": aptStanza(cdn, "trixie", "main")},
		user: func(u sh) {
			u.put("etc/apt/sources.list", aptLines(cdn, "bookworm", "main")+"deb https://x/apt stable main\n")
		},
		want: files{newTree + "etc/apt/sources.list.d/debian.sources": aptStanza(cdn, "trixie", "main"), "etc/apt/sources.list.d/debian.sources": ""},
	},
	{
		name: "K8 a site of which every file is a server", old: files{"etc/nginx/sites-enabled/default": "server {\n listen 80;\n}\n"},
		new:  files{"etc/nginx/sites-enabled/default": "server {\n listen 80 default_server;\n}\n"},
		user: func(u sh) { u.put("etc/nginx/sites-enabled/default", "server {\n listen 8080;\n}\n") },
		want: files{
			"etc/nginx/sites-enabled/default": "server {\n listen 8080;\n}\n", "etc/nginx/sites-enabled/default.molt-new": "",
			newTree + "etc/nginx/sites-enabled/default": "server {\n listen 80 default_server;\n}\n",
		},
	},
	{
		name: "K6 a repository appended", old: files{"etc/apk/repositories": repositories(cdn, "v3.19")}, new: files{"etc/apk/repositories": repositories(cdn, "v3.20")},
		user: func(u sh) { u.put("etc/apk/repositories", repositories(cdn, "v3.19")+cdn+"edge/testing\n") },
		want: files{"etc/apk/repositories": repositories(cdn, "v3.20") + cdn + "edge/testing\n"},
	},
	{
		name: "K6 a repository commented out", old: files{"etc/apk/repositories": repositories(cdn, "v3.19")}, new: files{"etc/apk/repositories": repositories(cdn, "v3.20")},
		user: func(u sh) { u.put("etc/apk/repositories", cdn+"v3.19/main\n#"+cdn+"v3.19/community\n") },
		want: files{"etc/apk/repositories": cdn + "v3.20/main\n#" + cdn + "v3.19/community\n"},
	},
	{
		name: "K6 another mirror", old: files{"etc/apk/repositories": repositories(cdn, "v3.19")}, new: files{"etc/apk/repositories": repositories(cdn, "v3.20")},
		user: func(u sh) { u.put("etc/apk/repositories", repositories(mirror, "v3.19")) },
		want: files{"etc/apk/repositories": repositories(mirror, "v3.20")},
	},
	{
		name: "K6 another mirror on both sides", old: files{"etc/apk/repositories": repositories(cdn, "v3.19")}, new: files{"etc/apk/repositories": repositories("https://new/", "v3.20")},
		user: func(u sh) { u.put("etc/apk/repositories", repositories(mirror, "v3.19")) },
		want: files{"etc/apk/repositories": repositories(mirror, "v3.19")}, told: []string{"other releases or mirrors"},
	},
	{
		name: "K7 another mirror and a component, in lines", old: files{"etc/apt/sources.list": aptLines(cdn, "bookworm", "main")},
		new: files{"etc/apt/sources.list": aptLines(cdn, "trixie", "main")}, user: func(u sh) { u.put("etc/apt/sources.list", aptLines(mirror, "bookworm", "main contrib")) },
		want: files{"etc/apt/sources.list": aptLines(mirror, "trixie", "main contrib")},
	},
	{
		name: "K7 another mirror and a component, in stanzas", old: files{"etc/apt/sources.list.d/debian.sources": aptStanza(cdn, "bookworm", "main")},
		new: files{"etc/apt/sources.list.d/debian.sources": aptStanza(cdn, "trixie", "main")},
		user: func(u sh) {
			u.put("etc/apt/sources.list.d/debian.sources", aptStanza(mirror, "bookworm", "main contrib"))
		},
		want: files{"etc/apt/sources.list.d/debian.sources": aptStanza(mirror, "trixie", "main contrib")},
	},
	{
		name: "K7 lines, and stanzas in the base", old: files{"etc/apt/sources.list": aptLines(cdn, "bookworm", "main")},
		new:  files{"etc/apt/sources.list.d/debian.sources": aptStanza(cdn, "trixie", "main")},
		user: func(u sh) { u.put("etc/apt/sources.list", aptLines(mirror, "bookworm", "main contrib")) },
		want: files{"etc/apt/sources.list.d/debian.sources": aptStanza(mirror, "trixie", "main contrib"), "etc/apt/sources.list": ""},
	},
	{
		name: "K7 lines that become a comment, and stanzas in the base", old: files{"etc/apt/sources.list": aptLines(cdn, "bookworm", "main")},
		new:  files{"etc/apt/sources.list": "# see debian.sources\n", "etc/apt/sources.list.d/debian.sources": aptStanza(cdn, "trixie", "main")},
		user: func(u sh) { u.put("etc/apt/sources.list", aptLines(mirror, "bookworm", "main")) },
		want: files{"etc/apt/sources.list.d/debian.sources": aptStanza(mirror, "trixie", "main"), "etc/apt/sources.list": "# see debian.sources\n"},
	},
	{
		name: "K7 lines with an archive of others, and stanzas in the base", old: files{"etc/apt/sources.list": aptLines(cdn, "bookworm", "main")},
		new: files{"etc/apt/sources.list.d/debian.sources": aptStanza(cdn, "trixie", "main")},
		user: func(u sh) {
			u.put("etc/apt/sources.list", aptLines(cdn, "bookworm", "main")+"deb https://x/apt stable main\n")
		},
		want: files{"etc/apt/sources.list": aptLines(cdn, "bookworm", "main") + "deb https://x/apt stable main\n", "etc/apt/sources.list.d/debian.sources": ""},
		told: []string{"stay in force"},
	},
}

// git runs git in a directory, as somebody.
func git(t *testing.T, dir string, args ...string) string {
	t.Helper()
	who := []string{"-c", "user.name=somebody", "-c", "user.email=somebody@example.org", "-c", "safe.directory=*", "-c", "protocol.file.allow=always"}
	cmd := exec.CommandContext(t.Context(), "git", append(who, args...)...)
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "GIT_CONFIG_GLOBAL=/dev/null", "HOME=/nonexistent")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("git %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// TestK1 has both bases hold a shallow clone, at other commits, and a user who commits in it: all of the user's repository stays.
func TestK1(t *testing.T) {
	if _, err := exec.LookPath("git"); err != nil {
		t.Skip("needs git")
	}
	origin := tempDir(t)
	git(t, origin, "init", "-q", "-b", "main")
	s := &scenario{t: t, old: tempDir(t), base: tempDir(t)}
	for i, root := range []string{s.old, s.base} {
		for n := range 3 {
			files{fmt.Sprintf("src/%d.c", n): fmt.Sprintf("int f%d_%d;\n", n, i)}.build(t, origin)
			git(t, origin, "add", ".")
			git(t, origin, "commit", "-q", "-m", fmt.Sprintf("%d %d", i, n))
		}
		must(t, os.MkdirAll(filepath.Join(root, "opt"), 0o755))
		git(t, root, "clone", "-q", "--depth=1", "file://"+origin, filepath.Join(root, "opt/app"))
	}
	var commit, tree string
	s.work(s.old, func(root string) {
		app := filepath.Join(root, "opt/app")
		sh{t, root}.put("opt/app/src/1.c", "int mine;\n")
		git(t, app, "commit", "-q", "-a", "-m", "mine")
		commit, tree = git(t, app, "rev-parse", "HEAD"), git(t, app, "ls-tree", "-r", "HEAD")
	})
	report := s.serviced(func(root string) {
		app := filepath.Join(root, "opt/app")
		git(t, app, "fsck", "--full", "--strict")
		if got := git(t, app, "rev-parse", "HEAD"); got != commit {
			t.Errorf("HEAD is %s, want %s", got, commit)
		}
		if got := git(t, app, "ls-tree", "-r", "HEAD"); got != tree {
			t.Errorf("the tree is %s, want %s", got, tree)
		}
		if got := git(t, app, "status", "--porcelain"); got != "" {
			t.Errorf("the work tree is not as committed:\n%s", got)
		}
		if got := git(t, app, "for-each-ref", "--format=%(refname)"); strings.Contains(got, "molt") {
			t.Errorf("invented references: %s", got)
		}
	})
	if !strings.Contains(encoded(t, report), "(git work tree), which stays as the user left it") {
		t.Error("the report does not say that the repository stays as it is")
	}
}

// TestStoresOfManyKinds: of each kind of store all of the user's stays, with what only the old base had in it.
func TestStoresOfManyKinds(t *testing.T) {
	for _, names := range []string{
		"HEAD objects/ab/cd refs/heads/main", ".hg/store/00changelog.i src/a", ".svn/wc.db trunk/a", "segments_3 _0.cfs",
		"iamglass postlist.glass", "overlay2/l/x image/overlay2/distribution", "oci-layout blobs/sha256/aa", "content-v2/sha512/aa index-v5/aa",
		"CURRENT MANIFEST-000001 000003.ldb", "snap/db wal/0.wal", "chunks_head/000001 wal/0", "config data/aa index/aa snapshots/aa",
		"index/x cache/y CACHEDIR.TAG", "00000000000000000000.log 00000000000000000000.index", "blobs/sha256/aa repositories/x/_manifests",
	} {
		t.Run(names, func(t *testing.T) {
			old, base := files{"opt/x": "1"}, files{"opt/x": "2"}
			want := files{"opt/x": "2"}
			all := strings.Fields(names)
			for _, name := range all {
				old["var/lib/thing/"+name], base["var/lib/thing/"+name] = "old", "new"
				want["var/lib/thing/"+name] = "old"
			}
			old["var/lib/thing/only/old"], want["var/lib/thing/only/old"] = "old", "old"
			base["var/lib/thing/only/new"], want["var/lib/thing/only/new"] = "new", ""
			want["var/lib/thing/"+all[0]], want["var/lib/thing/mine"] = "mine", "mine"
			kindCase{
				old: old, new: base, want: want, told: []string{"which stays as the user left it"},
				user: func(u sh) { u.put("var/lib/thing/"+all[0], "mine"); u.put("var/lib/thing/mine", "mine") },
			}.run(t)
		})
	}
}

// TestK24 has a package move its configuration file, as its scripts say.
func TestK24(t *testing.T) {
	was := deb{name: "srv", version: "1", files: files{"etc/srv.conf": oldText, "usr/bin/srv": "0755 1"}, conffiles: []string{"etc/srv.conf"}}
	is := deb{name: "srv", version: "2", files: files{"etc/srv/main.conf": baseText, "usr/bin/srv": "0755 2"}, conffiles: []string{"etc/srv/main.conf"}}
	s := &scenario{t: t, old: debianRoot(t, was), base: debianRoot(t, is)}
	call := "#!/bin/sh\ndpkg-maintscript-helper mv_conffile /etc/srv.conf /etc/srv/main.conf 2~ srv -- \"$@\"\n"
	files{"var/lib/dpkg/info/srv.preinst": "0755 " + call, "var/lib/dpkg/info/srv.postinst": "0755 " + call}.build(t, s.base)
	s.work(s.old, func(root string) { sh{t, root}.put("etc/srv.conf", userText) })
	before := s.shown(s.nodes[0], s.old)
	report := s.serviced(func(root string) {
		files{"etc/srv.conf": "", "etc/srv/main.conf": bothText, "usr/bin/srv": "0755 2"}.check(t, root)
		checkDebian(t, root, map[string]string{"srv": "2"}, "??5?????? c /etc/srv/main.conf\n")
	})
	if verdictOf(report, "etc/srv.conf") != Relocate {
		t.Errorf("the report says %q", verdictOf(report, "etc/srv.conf"))
	}
	if !equal(before, s.shown(s.nodes[0], s.old)) {
		t.Error("what a rollback returns to has changed")
	}
}

// TestSameFileInTwoPackages has the base bring a package with a file that is in one of the user's: dpkg would refuse it.
func TestSameFileInTwoPackages(t *testing.T) {
	for name, c := range map[string]struct {
		fields string // of the base's package
		held   bool
	}{
		"without a word":      {"", true},
		"it replaces it":      {"Replaces: own\nConflicts: other\n", false},
		"it replaces another": {"Replaces: other\n", true},
		"it replaces earlier": {"Replaces: own (<< 1)\n", true},
	} {
		t.Run(name, func(t *testing.T) {
			s := &scenario{
				t: t, old: debianRoot(t, lib("1.0")),
				base: debianRoot(t, lib("1.1"), deb{name: "tool", version: "1", fields: c.fields, files: files{"usr/bin/tool": "0755 base"}}),
			}
			s.work(s.old, func(root string) {
				sh{t, root}.install(deb{name: "own", version: "1", files: files{"usr/bin/tool": "0755 own", "usr/share/doc/own/x": "1"}})
			})
			held := s.plan(Options{}).Held()
			if len(held) > 0 != c.held || c.held && (held[0].Code != HoldDependency || held[0].Package != "own") {
				t.Errorf("held: %v", held)
			}
		})
	}
}

// TestK17 has the base take the permissions of group and others from a file to which the user gave an access control list.
func TestK17(t *testing.T) {
	const list = "system.posix_acl_access"
	acl := func(mask, other byte) string {
		const any = "\xff\xff\xff\xff"
		return "\x02\x00\x00\x00" + "\x01\x00\x06\x00" + any + "\x02\x00\x06\x00\xe8\x03\x00\x00" + "\x04\x00\x04\x00" + any +
			"\x10\x00" + string([]byte{mask, 0}) + any + "\x20\x00" + string([]byte{other, 0}) + any
	}
	s := newScenario(t, files{"etc/a": "0644 1"}, files{"etc/a": "0600 1"}, func(root string) {
		must(t, unix.Setxattr(filepath.Join(root, "etc/a"), list, []byte(acl(6, 4)), 0))
	})
	s.serviced(func(root string) {
		files{"etc/a": "0600 1"}.check(t, root)
		buffer := make([]byte, 100)
		n, err := unix.Getxattr(filepath.Join(root, "etc/a"), list, buffer)
		if err != nil || string(buffer[:n]) != acl(0, 0) {
			t.Errorf("the list is %x, %v, want %x", buffer[:max(n, 0)], err, acl(0, 0))
		}
	})
}

// TestK10 has a record of an account with a high number in a file that both bases have: it says that it is 400 GiB large, and has a
// few blocks. Reading it would take minutes each time.
func TestK10(t *testing.T) {
	const at = 292 * 1_500_000_000
	s := newScenario(t, files{"var/log/lastlog": "old record", "etc/x": "1"}, files{"var/log/lastlog": "new record", "etc/x": "2"}, func(root string) {
		f, err := os.OpenFile(filepath.Join(root, "var/log/lastlog"), os.O_WRONLY, 0)
		must(t, err)
		_, err = f.WriteAt([]byte("a login"), at)
		must(t, errors.Join(err, f.Close()))
	})
	look := func(root string) {
		info, err := os.Stat(filepath.Join(root, "var/log/lastlog"))
		must(t, err)
		st, ok := info.Sys().(*syscall.Stat_t)
		if !ok || info.Size() != at+int64(len("a login")) || st.Blocks > 1000 {
			t.Errorf("it has %d bytes in %d blocks", info.Size(), st.Blocks)
		}
	}
	s.serviced(look)
	// Back, with what was written since: all of it is compared with a copy of itself.
	before := slices.Concat(s.nodes, []string{s.old})
	p := s.plan(Options{})
	now := slices.Concat(s.delta(p), s.nodes, []string{s.base})
	back := &scenario{t: t, old: "", base: ""}
	back.work(s.base, func(root string) { sh{t, root}.put("var/log/own", "1") })
	carried, err := NewPlan(t.Context(), Input{Old: now, New: before, User: back.nodes})
	must(t, err)
	defer func() { must(t, carried.Close()) }()
	if len(carried.Held()) > 0 {
		t.Errorf("held: %v", carried.Held())
	}
}

// TestPlanEnds: what reads a large content stops when the plan is no longer wanted.
func TestPlanEnds(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	s := newScenario(t, files{"srv/a": "1"}, files{"srv/a": "2"}, func(root string) {
		must(t, os.Truncate(filepath.Join(root, "srv/a"), 4<<30-1))
	})
	time.AfterFunc(50*time.Millisecond, cancel) // while four gigabytes are summed up for the report
	p, err := NewPlan(ctx, s.input(Options{}))
	if !errors.Is(err, context.Canceled) {
		if err == nil {
			must(t, p.Close())
		}
		t.Errorf("got %v", err)
	}
}

// TestK11 has Python compile a module whose next version is as long and as old: what was compiled goes.
func TestK11(t *testing.T) {
	same := func(root string) string { return filepath.Join(root, "usr/lib/python3/m.py") }
	at := time.Unix(1700000000, 0)
	s := &scenario{t: t, old: tempDir(t), base: tempDir(t)}
	for root, text := range map[string]string{s.old: "x = 'old'", s.base: "x = 'new'"} {
		files{"usr/lib/python3/m.py": text}.build(t, root)
		must(t, os.Chtimes(same(root), at, at))
	}
	s.work(s.old, func(root string) {
		header := make([]byte, 16)
		binary.LittleEndian.PutUint32(header[8:], uint32(at.Unix()))
		binary.LittleEndian.PutUint32(header[12:], 9)
		sh{t, root}.put("usr/lib/python3/__pycache__/m.cpython-311.pyc", string(header)+"old")
	})
	s.serviced(func(root string) {
		files{"usr/lib/python3/m.py": "x = 'new'", "usr/lib/python3/__pycache__/m.cpython-311.pyc": ""}.check(t, root)
	})
}

func TestKinds(t *testing.T) {
	for _, c := range slices.Concat(kindCases, renameCases, keyCases, databaseCases) {
		t.Run(c.name, c.run)
	}
}
